use std::fmt;

use crate::context::Context;
use crate::layout::{ENCRYPTED, RTCP_HEADER, RTCP_INDEX, rtcp_ssrc, rtp_header};
use crate::session::{Session, Suffix};
use crate::{
    ContextState, Error, ImportError, KeyError, MasterKey, RTCP_LIFETIME_MAX, Suite, Unsigned, index,
};

/// The cryptographic context of what one side sends.
///
/// RTP may come reordered, as a relay's does; an index is never protected twice, since that would give two payloads one
/// keystream (RFC 3711 §9.1), and neither is one that the replay window no longer reaches.
pub struct Sender {
    context: Context,
    /// The key in use, in `context.sessions`.
    sending: usize,
}

impl Sender {
    /// With its first key and room for `streams_max` SSRCs.
    pub fn new(key: &MasterKey, streams_max: usize) -> Result<Self, KeyError> {
        Ok(Self {
            context: Context::new(key, streams_max)?,
            sending: 0,
        })
    }

    /// Protects the RTP packet in `buffer[..len]` in place and returns its new length. Does not allocate.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Error> {
        let unsigned = self.encrypt_rtp(buffer, len)?;
        Ok(unsigned.sign(buffer))
    }

    /// Does all of [`protect_rtp`](Self::protect_rtp) but the tag, which two packets get at once by
    /// [`Unsigned::sign_two`] in little more than the time of one. The packet must not be sent without it.
    pub fn encrypt_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<Unsigned, Error> {
        let packet = buffer.get(..len).ok_or(Error::TooShort)?;
        let header = rtp_header(packet)?;
        let session = &self.context.sessions[self.sending];
        let total = len + session.rtp.tag_len() + session.mki.len();
        if buffer.len() < total {
            return Err(Error::NoRoom);
        }
        if session.rtp_used >= session.rtp_lifetime {
            return Err(Error::KeyExpired);
        }
        let (at, mut stream) = self.context.stream(header.ssrc)?;
        let index = index::estimate(stream.rtp.highest, header.seq)?;
        stream.rtp.check(index)?;

        let session = &mut self.context.sessions[self.sending];
        session
            .rtp
            .apply(header.ssrc, index, &mut buffer[header.len..len]);
        let roc = (index >> 16) as u32;
        let tag_len = session.rtp.tag_len();
        let unsigned = match session.rtp.hmac() {
            Some(hmac) => {
                buffer[len..total - tag_len].copy_from_slice(session.mki.as_bytes());
                Unsigned::new(hmac, len, roc, total - tag_len..total)
            }
            None => {
                let tag = session
                    .rtp
                    .tag(header.ssrc, index, header.len, &buffer[..len], Suffix::Roc(roc));
                append(session, &tag[..tag_len], &mut buffer[len..total]);
                Unsigned::signed(total)
            }
        };
        session.rtp_used += 1;
        stream.rtp.accept(index);
        self.context.keep(at, stream);
        Ok(unsigned)
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place and returns its new length. Does not allocate.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Error> {
        let packet = buffer.get(..len).ok_or(Error::TooShort)?;
        let ssrc = rtcp_ssrc(packet)?;
        let session = &self.context.sessions[self.sending];
        let total = len + session.rtcp.tag_len() + RTCP_INDEX + session.mki.len();
        if buffer.len() < total {
            return Err(Error::NoRoom);
        }
        if session.rtcp_used >= session.rtcp_lifetime {
            return Err(Error::KeyExpired);
        }
        let (at, mut stream) = self.context.stream(ssrc)?;
        let index = stream.rtcp.highest.map_or(0, |highest| highest + 1);
        if index >= RTCP_LIFETIME_MAX {
            return Err(Error::IndexExhausted);
        }

        let session = &mut self.context.sessions[self.sending];
        session.rtcp.apply(ssrc, index, &mut buffer[RTCP_HEADER..len]);
        let word = index as u32 | ENCRYPTED;
        let tag = session
            .rtcp
            .tag(ssrc, index, RTCP_HEADER, &buffer[..len], Suffix::RtcpIndex(word));
        let tag = &tag[..session.rtcp.tag_len()];
        let end = if session.suite.is_aead() {
            // RFC 7714 §9.2: the tag belongs to the ciphertext, the index follows.
            buffer[len..len + tag.len()].copy_from_slice(tag);
            buffer[len + tag.len()..][..RTCP_INDEX].copy_from_slice(&word.to_be_bytes());
            buffer[len + tag.len() + RTCP_INDEX..total].copy_from_slice(session.mki.as_bytes());
            total
        } else {
            buffer[len..len + RTCP_INDEX].copy_from_slice(&word.to_be_bytes());
            append(session, tag, &mut buffer[len + RTCP_INDEX..total]);
            total
        };
        session.rtcp_used += 1;
        stream.rtcp.accept(index);
        self.context.keep(at, stream);
        Ok(end)
    }

    /// Adds a master key that is not used yet.
    pub fn add_key(&mut self, key: &MasterKey) -> Result<(), KeyError> {
        self.context.add_key(key)
    }

    /// Protects with the key that was added last from now on.
    pub fn use_newest_key(&mut self) {
        self.sending = self.context.sessions.len() - 1;
    }

    /// Drops and wipes the oldest key, unless it is the one in use. Returns whether it did.
    pub fn retire_oldest_key(&mut self) -> bool {
        let unused = self.sending > 0;
        if unused {
            self.context.sessions.remove(0);
            self.sending -= 1;
        }
        unused
    }

    /// SRTP packets that the key in use may still protect; time to rekey long before it is zero.
    pub fn rtp_packets_left(&self) -> u64 {
        let session = &self.context.sessions[self.sending];
        session.rtp_lifetime.saturating_sub(session.rtp_used)
    }

    /// SRTCP packets that the key in use may still protect.
    pub fn rtcp_packets_left(&self) -> u64 {
        let session = &self.context.sessions[self.sending];
        session.rtcp_lifetime.saturating_sub(session.rtcp_used)
    }

    /// The suite of its keys.
    pub fn suite(&self) -> Suite {
        self.context.sessions[0].suite
    }

    /// What another process needs to go on with the same keys.
    pub fn state(&self) -> ContextState {
        self.context.state(self.sending)
    }

    /// Goes on where [`state`](Self::state) was taken. See [`StreamState::skip_rtcp`](crate::StreamState::skip_rtcp)
    /// when packets may have been sent since.
    pub fn restore(&mut self, state: &ContextState) -> Result<(), ImportError> {
        self.context.restore(state)?;
        self.sending = state.sending;
        Ok(())
    }
}

/// MKI and tag in the order of the suite: HMAC puts the MKI before its tag (RFC 3711 §3.1), GCM after (RFC 7714 §8.2).
#[inline]
fn append(session: &Session, tag: &[u8], out: &mut [u8]) {
    let mki = session.mki.as_bytes();
    let (first, second) = if session.suite.is_aead() {
        (tag, mki)
    } else {
        (mki, tag)
    };
    out[..first.len()].copy_from_slice(first);
    out[first.len()..].copy_from_slice(second);
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
