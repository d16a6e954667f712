use bytes::Bytes;
use sip::message::ParseFailure;
use sip::message::framing::DatagramKind;
use sip::{Message, Source, Transmit};

use crate::class::Class;
use crate::counters::{Direction, Drop};
use crate::inbox::Inbound;
use crate::recent::Verdict;
use crate::stun::{self, Stun};
use crate::transport::Shared;

/// What became of a message that came in.
pub(crate) enum Intake {
    /// It waits for the owner.
    Queued,
    /// It was refused; the answer, if there is one.
    Answered(Option<Transmit>),
    /// There is no room for it now, and it may not be refused.
    NoRoom(Message),
}

impl Shared {
    /// Takes one datagram. Answers go out through the socket that it came by.
    pub(crate) fn datagram(&self, source: Source, datagram: &[u8]) {
        match DatagramKind::of(datagram) {
            DatagramKind::KeepAlive => return self.counters.keep_alive(),
            DatagramKind::Stun => return self.stun(&source, datagram),
            DatagramKind::Sip => {}
        }
        // Copied to its own size: a message kept for a transaction's life shall not keep a whole read buffer.
        let parsed = Message::parse_datagram_with(Bytes::copy_from_slice(datagram), &self.config.message);
        let answer = match parsed {
            Err(failure) => self.malformed(&source, &failure),
            Ok(message) => match self.well_formed(source, message) {
                Intake::Queued => None,
                Intake::Answered(answer) => answer,
                // Its sender repeats it.
                Intake::NoRoom(_) => {
                    self.counters.drop(Drop::UrgentFull);
                    None
                }
            },
        };
        if let Some(transmit) = answer {
            self.send(transmit);
        }
    }

    /// Answers a STUN message, without state and at once.
    fn stun(&self, source: &Source, datagram: &[u8]) {
        match stun::take(datagram, source.remote) {
            Stun::Answer(answer) => {
                self.counters.binding();
                self.send_raw(source, &answer);
            }
            Stun::Indication => self.counters.keep_alive(),
            Stun::Unusable => self.counters.drop(Drop::Stun),
        }
    }

    /// Counts and queues a message, or refuses it.
    pub(crate) fn well_formed(&self, source: Source, message: Message) -> Intake {
        match (message.method(), message.status()) {
            (Some(method), _) => self.counters.request(Direction::Received, method.as_str()),
            (None, status) => self.counters.response(Direction::Received, status.unwrap_or(0)),
        }
        self.offer(source, message)
    }

    /// Queues a message that was counted already.
    pub(crate) fn offer(&self, source: Source, message: Message) -> Intake {
        let class = Class::of(&message);
        let fingerprint = (class == Class::New).then(|| self.answers.fingerprint(&source, &message));
        let before = fingerprint.and_then(|fingerprint| self.recent().of(fingerprint));
        if before == Some(Verdict::Refused) {
            return self.refuse(&source, &message);
        }
        let note = |verdict| {
            if let Some(fingerprint) = fingerprint {
                self.recent().note(fingerprint, verdict);
            }
        };
        match self.inbox.push(class, Inbound::Message { source, message }) {
            Ok(()) => {
                note(Verdict::Admitted);
                Intake::Queued
            }
            Err(Inbound::Message { message, .. }) if class == Class::Urgent => Intake::NoRoom(message),
            // It is being worked on, and this is a repetition.
            Err(_) if before == Some(Verdict::Admitted) => {
                self.counters.drop(Drop::Repetition);
                Intake::Answered(None)
            }
            Err(Inbound::Message { message, .. }) => {
                note(Verdict::Refused);
                self.refuse(&source, &message)
            }
            Err(Inbound::Failed(_)) => Intake::Answered(None),
        }
    }

    fn refuse(&self, source: &Source, message: &Message) -> Intake {
        self.counters.drop(Drop::Overload);
        Intake::Answered(
            self.answers
                .of(source, message, 503, Some(self.config.retry_after_s)),
        )
    }

    /// Counts a malformed message; the answer if it is to have one.
    pub(crate) fn malformed(&self, source: &Source, failure: &ParseFailure) -> Option<Transmit> {
        self.counters.malformed(failure.error);
        tracing::debug!(remote = %source.remote, error = %failure, "malformed message");
        let (request, status) = failure.answer()?;
        self.answers.of(source, request, status, None)
    }
}
