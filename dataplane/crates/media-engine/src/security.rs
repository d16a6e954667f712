use std::fmt;
use std::time::Duration;

use media_types::{Refusal, SrtpKey, SrtpReport, SrtpSpec, SrtpSuite};
use sans_io::Timestamp;
use srtp::{ContextState, KeyError, MasterKey, Receiver, Sender, Suite};

use crate::DropReason;

/// How long packets under the keys before are taken after new ones were signalled, unless the party uses these earlier.
const PREVIOUS_KEYS: Duration = Duration::from_secs(10);

/// Which of the two protocols a packet is of: they have indexes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rtp,
    Rtcp,
}

/// SRTP between the node and the party of one line (RFC 3711). While a key is not known nothing passes in its direction.
pub(crate) struct Security {
    spec: SrtpSpec,
    receiver: Option<Receiver>,
    previous: Option<Previous>,
    sender: Option<Sender>,
}

/// What the party protected with before it was told to use, or has said that it uses, other keys.
struct Previous {
    receiver: Receiver,
    /// Also moved into the past by the first packet under a new key: freeing memory is not for the packet path.
    until: Timestamp,
}

/// What a secured line needs to go on in another process, besides its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityState {
    /// Of the party's packets.
    pub receive: Option<ContextState>,
    /// Of ours.
    pub send: Option<ContextState>,
}

impl Security {
    /// With room for the indexes of `ssrcs_max` SSRCs a direction.
    pub(crate) fn new(spec: &SrtpSpec, ssrcs_max: usize) -> Result<Box<Self>, Refusal> {
        let mut receiver: Option<Receiver> = None;
        for key in &spec.receive {
            let key = master_key(key)?;
            match &mut receiver {
                None => receiver = Some(Receiver::new(&key, ssrcs_max).map_err(invalid)?),
                Some(receiver) => receiver.add_key(&key).map_err(invalid)?,
            }
        }
        let sender = match &spec.send {
            Some(key) => Some(Sender::new(&master_key(key)?, ssrcs_max).map_err(invalid)?),
            None => None,
        };
        Ok(Box::new(Self {
            spec: spec.clone(),
            receiver,
            previous: None,
            sender,
        }))
    }

    /// Takes the place of what the line had: where the keys are the same, so are indexes and replay windows.
    pub(crate) fn follow(&mut self, now: Timestamp, mut before: Self) {
        if self.spec.send == before.spec.send {
            self.sender = before.sender.take();
        }
        if self.spec.receive == before.spec.receive {
            self.receiver = before.receiver.take();
            self.previous = before.previous.take().filter(|previous| now < previous.until);
        } else if let Some(receiver) = before.receiver.take() {
            self.previous = Some(Previous {
                receiver,
                until: now + PREVIOUS_KEYS,
            });
        }
    }

    /// Unprotects a packet in place and returns its length. Refused, it is as it was. Does not allocate.
    pub(crate) fn unprotect(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        packet: &mut [u8],
    ) -> Result<usize, DropReason> {
        let Some(receiver) = &mut self.receiver else {
            return match &mut self.previous {
                Some(previous) if now < previous.until => {
                    Ok(unprotect(&mut previous.receiver, protocol, packet)?)
                }
                _ => Err(DropReason::NoKey),
            };
        };
        let refused = match (unprotect(receiver, protocol, packet), &mut self.previous) {
            (Ok(len), previous) => {
                if let Some(previous) = previous {
                    previous.until = now;
                }
                return Ok(len);
            }
            (Err(error), Some(previous)) if now < previous.until => {
                match unprotect(&mut previous.receiver, protocol, packet) {
                    Ok(len) => return Ok(len),
                    // The newer key's word counts, unless only the old one knows the packet.
                    Err(srtp::Error::Replayed) => srtp::Error::Replayed,
                    Err(_) => error,
                }
            }
            (Err(error), _) => error,
        };
        Err(refused.into())
    }

    /// Protects the packet in `buffer[..len]` in place and returns its new length. Does not allocate.
    pub(crate) fn protect(
        &mut self,
        protocol: Protocol,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, DropReason> {
        let sender = self.sender.as_mut().ok_or(DropReason::NoKey)?;
        let protected = match protocol {
            Protocol::Rtp => sender.protect_rtp(buffer, len),
            Protocol::Rtcp => sender.protect_rtcp(buffer, len),
        };
        Ok(protected?)
    }

    pub(crate) fn report(&self) -> SrtpReport {
        let suite = |suite: Suite| SrtpSuite::ALL.into_iter().find(|known| of(*known) == suite);
        SrtpReport {
            receive: self.receiver.as_ref().and_then(|it| suite(it.suite())),
            send: self.sender.as_ref().and_then(|it| suite(it.suite())),
        }
    }

    pub(crate) fn state(&self) -> SecurityState {
        SecurityState {
            receive: self.receiver.as_ref().map(Receiver::state),
            send: self.sender.as_ref().map(Sender::state),
        }
    }

    /// Goes on where [`state`](Self::state) was taken. False when it is not of these keys, and nothing is changed that a
    /// packet could show.
    pub(crate) fn restore(&mut self, state: &SecurityState) -> bool {
        let is_receiver = match (&mut self.receiver, &state.receive) {
            (Some(receiver), Some(state)) => receiver.restore(state).is_ok(),
            (None, None) => true,
            _ => false,
        };
        let is_sender = match (&mut self.sender, &state.send) {
            (Some(sender), Some(state)) => sender.restore(state).is_ok(),
            (None, None) => true,
            _ => false,
        };
        is_receiver && is_sender
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("suites", &self.report())
            .finish_non_exhaustive()
    }
}

fn unprotect(receiver: &mut Receiver, protocol: Protocol, packet: &mut [u8]) -> Result<usize, srtp::Error> {
    match protocol {
        Protocol::Rtp => receiver.unprotect_rtp(packet),
        Protocol::Rtcp => receiver.unprotect_rtcp(packet),
    }
}

fn master_key(key: &SrtpKey) -> Result<MasterKey, Refusal> {
    let made = MasterKey::new(of(key.suite()), key.key_and_salt())
        .and_then(|made| made.with_mki(key.mki()))
        .map_err(invalid)?;
    match key.lifetime_packets() {
        0 => Ok(made),
        packets => made.with_lifetime(packets).map_err(invalid),
    }
}

const fn of(suite: SrtpSuite) -> Suite {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        SrtpSuite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        SrtpSuite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
        SrtpSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    }
}

const fn invalid(error: KeyError) -> Refusal {
    Refusal::Invalid(match error {
        KeyError::Length { .. } => "an SRTP key has another length than its suite wants",
        KeyError::MkiTooLong(_) => "an SRTP master key identifier is too long",
        KeyError::Lifetime(_) => "an SRTP key has an impossible lifetime",
        KeyError::Mismatch => {
            "the SRTP keys of a party differ in their suite or in the length of their identifiers"
        }
        KeyError::MkiTaken => "two SRTP keys of a party have the same identifier",
        KeyError::TooMany => "a party has too many SRTP keys",
        KeyError::Streams(_) => "the node's limit of SSRCs of a secured line is impossible",
    })
}
