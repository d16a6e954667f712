use std::fmt;
use std::time::Duration;

use media_types::{Refusal, SrtpKey, SrtpReport, SrtpSpec};
use sans_io::Timestamp;
use srtp::{KeyError, MasterKey, Receiver, Sender};

use crate::DropReason;
use crate::key_history::{KeyHistory, Recalled};

/// How long packets under the keys before are taken after new ones were signalled, unless the party uses these earlier.
const PREVIOUS_KEYS: Duration = Duration::from_secs(10);

/// Which of the two protocols a packet is of: they have indexes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rtp,
    Rtcp,
}

/// What has become of a packet that was unprotected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unprotected {
    /// Its bytes now.
    pub(crate) len: usize,
    /// It shows only that its sender had the keys before, as another party may.
    pub(crate) is_by_previous: bool,
}

impl Unprotected {
    pub(crate) const fn of(len: usize) -> Self {
        Self {
            len,
            is_by_previous: false,
        }
    }
}

/// SRTP between the node and the party of one line (RFC 3711). While a key is not known nothing passes in its direction.
///
/// It lives as long as the line, also while that is in clear or disabled: keys may come back.
pub(crate) struct Security {
    spec: SrtpSpec,
    receiver: Option<Receiver>,
    previous: Option<Previous>,
    sender: Option<Sender>,
    received: KeyHistory,
    sent: KeyHistory,
}

/// What the party protected with before it was told to use, or has said that it uses, other keys.
struct Previous {
    receiver: Receiver,
    /// Also moved into the past by the first packet under a new key: freeing memory is not for the packet path.
    until: Timestamp,
}

/// A line's keys, checked, with contexts that have not been used.
#[derive(Debug)]
pub(crate) struct NewKeys {
    spec: SrtpSpec,
    receiver: Option<Receiver>,
    sender: Option<Sender>,
}

/// What a line that is or was secured needs to go on in another process: every key that it has had, and what was used under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityState {
    /// Of the party's packets.
    pub receive: KeyHistory,
    /// Of ours.
    pub send: KeyHistory,
}

impl NewKeys {
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
            sender,
        }))
    }

    /// What is known of these keys when nothing else is: that they were used.
    pub(crate) fn lost(&self) -> SecurityState {
        let mut state = SecurityState::default();
        state.receive.note(&self.spec.receive, None);
        state.send.note(self.spec.send.as_slice(), None);
        state
    }
}

impl Security {
    /// Without keys yet. `state` is what an earlier process says of the line.
    pub(crate) fn new(state: SecurityState) -> Box<Self> {
        Box::new(Self {
            spec: SrtpSpec::default(),
            receiver: None,
            previous: None,
            sender: None,
            received: state.receive,
            sent: state.send,
        })
    }

    /// Checks that a line that has had keys may have these, too.
    pub(crate) fn check(&self, keys: &NewKeys, keys_max: usize) -> Result<(), Refusal> {
        let (old, new) = (&self.spec, &keys.spec);
        let fits = self.received.has_room(&old.receive, &new.receive, keys_max)
            && self
                .sent
                .has_room(old.send.as_slice(), new.send.as_slice(), keys_max);
        match fits {
            true => Ok(()),
            false => Err(Refusal::Invalid(
                "a line has had more SRTP keys than the node's limit",
            )),
        }
    }

    /// Goes on with these keys; without any the line is in clear. Where a key stays, or comes back, so do indexes and replay
    /// windows.
    pub(crate) fn change(&mut self, now: Timestamp, keys: Option<NewKeys>) {
        let keys = keys.unwrap_or(NewKeys {
            spec: SrtpSpec::default(),
            receiver: None,
            sender: None,
        });
        if keys.spec.send != self.spec.send {
            let before = self.sender.take().map(|sender| sender.state());
            if before.is_some() {
                self.sent.note(self.spec.send.as_slice(), before);
            }
            let mut sender = keys.sender;
            self.sender = match self.sent.recall(keys.spec.send.as_slice()) {
                Recalled::New => sender,
                Recalled::Used(state) => sender.take_if(|sender| sender.restore(&state).is_ok()),
                Recalled::Lost => None,
            };
        }
        if keys.spec.receive != self.spec.receive {
            let before = self.receiver.take();
            if let Some(receiver) = &before {
                self.received.note(&self.spec.receive, Some(receiver.state()));
            }
            let mut receiver = keys.receiver;
            self.receiver = match self.received.recall(&keys.spec.receive) {
                Recalled::New => receiver,
                Recalled::Used(state) => receiver.take_if(|receiver| receiver.restore(&state).is_ok()),
                Recalled::Lost => None,
            };
            self.previous = match before {
                Some(receiver) => Some(Previous {
                    receiver,
                    until: now + PREVIOUS_KEYS,
                }),
                None => self.previous.take().filter(|previous| now < previous.until),
            };
        }
        self.spec = keys.spec;
    }

    /// Goes on without keys, and takes nothing under those before.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.change(now, None);
        self.previous = None;
    }

    /// Goes on with the keys that were in use last, of a handshake in an earlier process. False when they cannot be used.
    pub(crate) fn resume(&mut self, now: Timestamp, ssrcs_max: usize) -> bool {
        let spec = SrtpSpec {
            receive: self.received.latest().to_vec(),
            send: self.sent.latest().first().cloned(),
        };
        match NewKeys::new(&spec, ssrcs_max) {
            Ok(keys) if !spec.receive.is_empty() => {
                self.change(now, Some(*keys));
                self.receiver.is_some() && self.sender.is_some()
            }
            _ => false,
        }
    }

    /// Unprotects a packet in place. Refused, it is as it was. Does not allocate.
    pub(crate) fn unprotect(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        packet: &mut [u8],
    ) -> Result<Unprotected, DropReason> {
        let by_new = match &mut self.receiver {
            Some(receiver) => unprotect(receiver, protocol, packet).map_err(DropReason::from),
            None => Err(DropReason::NoKey),
        };
        match (by_new, &mut self.previous) {
            (Ok(len), previous) => {
                if let Some(previous) = previous {
                    previous.until = now;
                }
                Ok(Unprotected::of(len))
            }
            // What the new keys have seen the ones before must not take again.
            (Err(DropReason::SrtpReplayed), _) => Err(DropReason::SrtpReplayed),
            (Err(reason), Some(previous)) if now < previous.until => {
                match unprotect(&mut previous.receiver, protocol, packet) {
                    Ok(len) => Ok(Unprotected {
                        len,
                        is_by_previous: true,
                    }),
                    Err(srtp::Error::Replayed | srtp::Error::TooOld) => Err(DropReason::SrtpReplayed),
                    Err(_) => Err(reason),
                }
            }
            (Err(reason), _) => Err(reason),
        }
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
        SrtpReport {
            receive: self.receiver.as_ref().map(Receiver::suite),
            send: self.sender.as_ref().map(Sender::suite),
        }
    }

    pub(crate) fn state(&self) -> SecurityState {
        let mut state = SecurityState {
            receive: self.received.clone(),
            send: self.sent.clone(),
        };
        // A key that is there without a context is in the history already, as lost.
        if let Some(receiver) = &self.receiver {
            state.receive.note(&self.spec.receive, Some(receiver.state()));
        }
        if let Some(sender) = &self.sender {
            state.send.note(self.spec.send.as_slice(), Some(sender.state()));
        }
        state
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
    let made = MasterKey::new(key.suite(), key.key_and_salt())
        .and_then(|made| made.with_mki(key.mki()))
        .map_err(invalid)?;
    match key.lifetime_packets() {
        0 => Ok(made),
        packets => made.with_lifetime(packets).map_err(invalid),
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
