use crate::key::Mki;
use crate::session::Session;
use crate::{Error, ImportError, KeyError, MasterKey, StreamState};

/// Master keys that a context holds at once.
pub const KEYS_MAX: usize = 4;
/// SSRCs that a context may be made for at most; they are searched one by one.
pub const STREAMS_MAX: usize = 256;

/// What the next process needs to go on, besides the keys: no secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextState {
    /// Each SSRC's indexes and replay windows.
    pub streams: Vec<StreamState>,
    /// Each key's use, oldest key first.
    pub keys: Vec<KeyUse>,
    /// Which of the keys the sender uses; of no meaning to a receiver.
    pub sending: usize,
}

/// Packets that were protected, or authenticated, under one master key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// SRTP packets.
    pub rtp: u64,
    /// SRTCP packets.
    pub rtcp: u64,
}

/// What sender and receiver share: keys and SSRCs.
pub(crate) struct Context {
    /// Oldest first; never empty.
    pub(crate) sessions: Vec<Session>,
    pub(crate) streams: Vec<StreamState>,
    streams_max: usize,
    /// Where the last packet's SSRC was found.
    recent: usize,
}

impl Context {
    pub(crate) fn new(key: &MasterKey, streams_max: usize) -> Result<Self, KeyError> {
        if streams_max == 0 || streams_max > STREAMS_MAX {
            return Err(KeyError::Streams(streams_max));
        }
        let mut sessions = Vec::with_capacity(KEYS_MAX);
        sessions.push(Session::new(key));
        Ok(Self {
            sessions,
            streams: Vec::with_capacity(streams_max),
            streams_max,
            recent: 0,
        })
    }

    pub(crate) fn add_key(&mut self, key: &MasterKey) -> Result<(), KeyError> {
        let first = &self.sessions[0];
        if first.suite != key.suite() || first.mki.len() != key.mki().len() {
            return Err(KeyError::Mismatch);
        }
        if self.mki_len() > 0 && self.sessions.iter().any(|session| session.mki == key.mki()) {
            return Err(KeyError::MkiTaken);
        }
        if self.sessions.len() == KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        self.sessions.push(Session::new(key));
        Ok(())
    }

    pub(crate) fn mki(&self) -> &Mki {
        &self.sessions[0].mki
    }

    pub(crate) fn mki_len(&self) -> usize {
        self.mki().len()
    }

    /// The entry of an SSRC, or one that is not in the table yet: [`keep`](Self::keep) puts it there.
    #[inline]
    pub(crate) fn stream(&mut self, ssrc: u32) -> Result<(usize, StreamState), Error> {
        if let Some(stream) = self.streams.get(self.recent)
            && stream.ssrc == ssrc
        {
            return Ok((self.recent, *stream));
        }
        if let Some(at) = self.streams.iter().position(|stream| stream.ssrc == ssrc) {
            self.recent = at;
            return Ok((at, self.streams[at]));
        }
        if self.streams.len() == self.streams_max {
            return Err(Error::TooManySsrcs);
        }
        let new = StreamState {
            ssrc,
            ..StreamState::default()
        };
        Ok((self.streams.len(), new))
    }

    /// The entry of an SSRC, if there is one.
    #[inline]
    pub(crate) fn known(&self, ssrc: u32) -> Option<&StreamState> {
        let recent = self.streams.get(self.recent);
        recent
            .filter(|stream| stream.ssrc == ssrc)
            .or_else(|| self.streams.iter().find(|stream| stream.ssrc == ssrc))
    }

    #[inline]
    pub(crate) fn keep(&mut self, at: usize, stream: StreamState) {
        match self.streams.get_mut(at) {
            Some(known) => *known = stream,
            None => self.streams.push(stream),
        }
    }

    pub(crate) fn state(&self, sending: usize) -> ContextState {
        ContextState {
            streams: self.streams.clone(),
            keys: self
                .sessions
                .iter()
                .map(|session| KeyUse {
                    rtp: session.rtp_used,
                    rtcp: session.rtcp_used,
                })
                .collect(),
            sending,
        }
    }

    pub(crate) fn restore(&mut self, state: &ContextState) -> Result<(), ImportError> {
        if state.keys.len() != self.sessions.len() || state.sending >= self.sessions.len() {
            return Err(ImportError::Keys);
        }
        if state.streams.len() > self.streams_max {
            return Err(ImportError::TooManySsrcs);
        }
        for (at, stream) in state.streams.iter().enumerate() {
            let twice = state.streams[..at].iter().any(|other| other.ssrc == stream.ssrc);
            let beyond =
                |highest: Option<u64>, bits: u32| highest.is_some_and(|highest| highest >> bits != 0);
            if twice || beyond(stream.rtp.highest, 48) || beyond(stream.rtcp.highest, 31) {
                return Err(ImportError::Stream);
            }
        }
        self.streams.clear();
        self.streams.extend_from_slice(&state.streams);
        for (session, used) in self.sessions.iter_mut().zip(&state.keys) {
            session.rtp_used = used.rtp;
            session.rtcp_used = used.rtcp;
        }
        Ok(())
    }
}
