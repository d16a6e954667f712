use bytes::Bytes;
use guard::{Offence, Rank};
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
        let kind = DatagramKind::of(datagram);
        if kind == DatagramKind::KeepAlive {
            return self.counters.keep_alive();
        }
        if let Err(reason) = self.lets_in(source.remote.ip()) {
            return self.counters.drop(reason);
        }
        if kind == DatagramKind::Stun {
            return self.stun(&source, datagram);
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
        let mut class = Class::of(&message);
        if class == Class::New && self.is_scan(&source, &message) {
            self.counters.drop(Drop::Scanner);
            return Intake::Answered(None);
        }
        let fingerprint = (class == Class::New).then(|| self.answers.fingerprint(&source, &message));
        let before = fingerprint.and_then(|fingerprint| self.recent().of(fingerprint));
        if before == Some(Verdict::Refused) {
            return self.refuse(&source, &message, Drop::Overload);
        }
        let now = self.defence.now();
        let note = |verdict| {
            if let Some(fingerprint) = fingerprint {
                self.recent().note(fingerprint, verdict);
            }
        };
        if class == Class::New {
            let rank = self.rank(now, &source, &message);
            if rank == Rank::Emergency {
                class = Class::Emergency;
            }
            // A repetition of what was admitted is not decided on again.
            let first = self.inbox.first();
            if before.is_none() && !self.defence.admission().decide(now, rank, first) {
                note(Verdict::Refused);
                return self.refuse(&source, &message, Drop::QueueDelay);
            }
        }
        match self.inbox.push(now, class, Inbound::Message { source, message }) {
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
                self.refuse(&source, &message, Drop::Overload)
            }
            Err(Inbound::Failed(_)) => Intake::Answered(None),
        }
    }

    fn refuse(&self, source: &Source, message: &Message, reason: Drop) -> Intake {
        if !self.may_answer(source) {
            self.counters.drop(Drop::OverloadSilent);
            return Intake::Answered(None);
        }
        self.counters.drop(reason);
        // Who is told a share goes on with the rest. While calls do not wait long there is none, and the queues are full all the same.
        let retry_after_s = (!self.tells_a_share(source, message)).then_some(self.config.retry_after_s);
        Intake::Answered(self.answers.of(source, message, 503, retry_after_s))
    }

    /// Counts a malformed message; the answer if it is to have one.
    pub(crate) fn malformed(&self, source: &Source, failure: &ParseFailure) -> Option<Transmit> {
        self.counters.malformed(failure.error);
        self.speak_against(source, Offence::Malformed);
        tracing::debug!(remote = %source.remote, error = %failure, "malformed message");
        let (request, status) = failure.answer()?;
        self.answers.of(source, request, status, None)
    }
}
