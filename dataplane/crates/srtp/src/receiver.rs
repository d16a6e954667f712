use std::fmt;
use std::ops::Range;

use crate::context::Context;
use crate::layout::{ENCRYPTED, RTCP_HEADER, RTCP_INDEX, RtpHeader, rtcp_ssrc, rtp_header};
use crate::session::{Session, Suffix};
use crate::{ContextState, Error, Expected, ExpectedCode, ImportError, KeyError, MasterKey, Suite, index};

/// The cryptographic context of what one side receives.
pub struct Receiver {
    context: Context,
}

impl Receiver {
    /// With its first key and room for `streams_max` SSRCs.
    pub fn new(key: &MasterKey, streams_max: usize) -> Result<Self, KeyError> {
        Ok(Self {
            context: Context::new(key, streams_max)?,
        })
    }

    /// Unprotects the SRTP packet in place and returns the length of the RTP packet. Does not allocate.
    ///
    /// The tag is checked before a byte is decrypted: a refused packet is as it was.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Error> {
        self.unprotect_rtp_with(packet, None)
    }

    /// What the tag of a packet is made of as far as this context can tell now, so that [`Expected::two`] makes those of two
    /// packets at once. `None` for what is no SRTP packet of it, and with GCM. Nothing is changed.
    pub fn expect_rtp(&self, packet: &[u8]) -> Option<Expected<'_>> {
        let parts = self.parts(packet).ok()?;
        let session = self.context.sessions[parts.candidates].last()?;
        let known = self.context.known(parts.header.ssrc);
        let highest = known.and_then(|stream| stream.rtp.highest);
        let index = index::estimate(highest, parts.header.seq).ok()?;
        Expected::new(session, parts.len, (index >> 16) as u32)
    }

    /// [`unprotect_rtp`](Self::unprotect_rtp) of the packet that `code` was made of by [`expect_rtp`](Self::expect_rtp). It
    /// is made anew where it no longer fits, as when packets in between have changed the rollover counter.
    pub fn unprotect_rtp_with(
        &mut self,
        packet: &mut [u8],
        code: Option<&ExpectedCode>,
    ) -> Result<usize, Error> {
        let Parts {
            header,
            len,
            tag,
            candidates,
        } = self.parts(packet)?;
        let (at, mut stream) = self.context.stream(header.ssrc)?;
        let index = index::estimate(stream.rtp.highest, header.seq)?;
        stream.rtp.check(index)?;

        let roc = (index >> 16) as u32;
        let authentic = |session: &Session| {
            let made = code.and_then(|code| code.by(session, len, roc));
            let computed = made.copied().unwrap_or_else(|| {
                session
                    .rtp
                    .tag(header.ssrc, index, header.len, &packet[..len], Suffix::Roc(roc))
            });
            session.rtp.matches(&computed, &packet[tag.clone()])
        };
        let session = newest(&mut self.context.sessions[candidates], authentic)?;
        if session.rtp_used >= session.rtp_lifetime {
            return Err(Error::KeyExpired);
        }
        session
            .rtp
            .apply(header.ssrc, index, &mut packet[header.len..len]);
        session.rtp_used += 1;
        stream.rtp.accept(index);
        self.context.keep(at, stream);
        Ok(len)
    }

    /// What an SRTP packet consists of.
    #[inline]
    fn parts(&self, packet: &[u8]) -> Result<Parts, Error> {
        let header = rtp_header(packet)?;
        let tag_len = self.context.sessions[0].rtp.tag_len();
        let mki_len = self.context.mki_len();
        let len = packet
            .len()
            .checked_sub(tag_len + mki_len)
            .ok_or(Error::TooShort)?;
        if len < header.len {
            return Err(Error::TooShort);
        }
        let (mki, tag) = trailer(self.suite(), len, mki_len, tag_len);
        Ok(Parts {
            header,
            len,
            tag,
            candidates: self.candidates(&packet[mki])?,
        })
    }

    /// Unprotects the SRTCP packet in place and returns the length of the RTCP packet. Does not allocate.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Error> {
        let ssrc = rtcp_ssrc(packet)?;
        let tag_len = self.context.sessions[0].rtcp.tag_len();
        let mki_len = self.context.mki_len();
        let len = packet
            .len()
            .checked_sub(tag_len + mki_len + RTCP_INDEX)
            .ok_or(Error::TooShort)?;
        if len < RTCP_HEADER {
            return Err(Error::TooShort);
        }
        let (word_at, mki, tag) = if self.suite().is_aead() {
            let word_at = len + tag_len;
            (word_at, word_at + RTCP_INDEX..packet.len(), len..word_at)
        } else {
            let mki_at = len + RTCP_INDEX;
            (len, mki_at..mki_at + mki_len, mki_at + mki_len..packet.len())
        };
        let word = packet[word_at..].first_chunk().ok_or(Error::TooShort)?;
        let word = u32::from_be_bytes(*word);
        let index = u64::from(word & !ENCRYPTED);
        let candidates = self.candidates(&packet[mki])?;
        let (at, mut stream) = self.context.stream(ssrc)?;
        stream.rtcp.check(index)?;
        let encrypted = word & ENCRYPTED != 0;
        let clear = if encrypted { RTCP_HEADER } else { len };

        let authentic = |session: &Session| {
            let suffix = Suffix::RtcpIndex(word);
            let computed = session.rtcp.tag(ssrc, index, clear, &packet[..len], suffix);
            session.rtcp.matches(&computed, &packet[tag.clone()])
        };
        let session = newest(&mut self.context.sessions[candidates], authentic)?;
        if !encrypted {
            // Nobody agreed to UNENCRYPTED_SRTCP (RFC 4568 §6.3.2). The tag comes first, so that the reason is the
            // peer's doing and not anybody's who can flip a bit.
            return Err(Error::NotEncrypted);
        }
        if session.rtcp_used >= session.rtcp_lifetime {
            return Err(Error::KeyExpired);
        }
        session.rtcp.apply(ssrc, index, &mut packet[RTCP_HEADER..len]);
        session.rtcp_used += 1;
        stream.rtcp.accept(index);
        self.context.keep(at, stream);
        Ok(len)
    }

    /// Adds a master key: packets under it are taken from now on.
    pub fn add_key(&mut self, key: &MasterKey) -> Result<(), KeyError> {
        self.context.add_key(key)
    }

    /// Drops and wipes the oldest key, unless it is the only one. Returns whether it did.
    pub fn retire_oldest_key(&mut self) -> bool {
        let several = self.context.sessions.len() > 1;
        if several {
            self.context.sessions.remove(0);
        }
        several
    }

    /// The suite of its keys.
    pub fn suite(&self) -> Suite {
        self.context.sessions[0].suite
    }

    /// What another process needs to go on with the same keys.
    pub fn state(&self) -> ContextState {
        self.context.state(0)
    }

    /// Goes on where [`state`](Self::state) was taken. Packets that came since can be replayed to this context once.
    pub fn restore(&mut self, state: &ContextState) -> Result<(), ImportError> {
        self.context.restore(state)
    }

    /// The keys that a packet may be protected with: the one with its MKI, or all where there are no MKIs.
    #[inline]
    fn candidates(&self, mki: &[u8]) -> Result<Range<usize>, Error> {
        let sessions = &self.context.sessions;
        if mki.is_empty() {
            return Ok(0..sessions.len());
        }
        let at = sessions.iter().position(|session| session.mki.as_bytes() == mki);
        at.map(|at| at..at + 1).ok_or(Error::UnknownMki)
    }
}

struct Parts {
    header: RtpHeader,
    /// Bytes of the RTP packet.
    len: usize,
    tag: Range<usize>,
    /// The keys that it may be protected with.
    candidates: Range<usize>,
}

/// Where MKI and tag of an SRTP packet are, after `len` bytes of RTP.
#[inline]
fn trailer(suite: Suite, len: usize, mki_len: usize, tag_len: usize) -> (Range<usize>, Range<usize>) {
    if suite.is_aead() {
        (len + tag_len..len + tag_len + mki_len, len..len + tag_len)
    } else {
        (len..len + mki_len, len + mki_len..len + mki_len + tag_len)
    }
}

/// The newest key under which the packet is authentic.
#[inline]
fn newest(
    sessions: &mut [Session],
    mut authentic: impl FnMut(&Session) -> bool,
) -> Result<&mut Session, Error> {
    sessions
        .iter_mut()
        .rev()
        .find(|session| authentic(session))
        .ok_or(Error::AuthenticationFailed)
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
