use std::net::SocketAddr;

use media_types::{CallId, Codec, NodeName};
use sans_io::Timestamp;
use sip::message::Uri;
use sip::{Message, Source};

use crate::cdr::{Transferred, bounded};
use crate::{Cause, Cdr, Quality, Stage, Times};

/// A call's record as far as it is known.
#[derive(Debug)]
pub(super) struct Record {
    cdr: Cdr,
}

impl Record {
    pub(super) fn new(now: Timestamp, call: CallId, invite: &Message, source: &Source) -> Self {
        let user = |address: Option<&str>| {
            let uri = address.and_then(|uri| Uri::parse(uri).ok());
            bounded(uri.and_then(|uri| uri.user()).unwrap_or(""))
        };
        Self {
            cdr: Cdr {
                stage: Stage::Ended,
                call,
                times: Times {
                    setup: now,
                    ringing: None,
                    answered: None,
                    ended: None,
                },
                caller: user(invite.from().ok().map(|from| from.uri)),
                callee: user(invite.to().ok().map(|to| to.uri)),
                request_uri: bounded(invite.request_uri().unwrap_or("")),
                caller_call_id: bounded(invite.call_id().unwrap_or("")),
                callee_call_id: None,
                source: source.remote,
                next_hop: None,
                cause: None,
                codec: None,
                node: None,
                quality: None,
                transferred: None,
            },
        }
    }

    pub(super) fn tried(&mut self, next_hop: SocketAddr, call_id: &str) {
        self.cdr.next_hop = Some(next_hop);
        self.cdr.callee_call_id = Some(call_id.to_owned());
    }

    pub(super) fn ringing(&mut self, now: Timestamp) {
        self.cdr.times.ringing.get_or_insert(now);
    }

    pub(super) fn placed(&mut self, node: &NodeName) {
        self.cdr.node = Some(node.clone());
    }

    pub(super) fn agreed(&mut self, codec: Option<&Codec>) {
        if let Some(codec) = codec.filter(|_| self.cdr.codec.is_none()) {
            self.cdr.codec = Some(bounded(&format!("{}/{}", codec.name, codec.clock_rate_hz)).into());
        }
    }

    /// Somebody else has a party's place.
    pub(super) fn transferred(&mut self, transferred: Transferred) {
        self.cdr.transferred = Some(Box::new(transferred));
    }

    /// What is known by now.
    pub(super) const fn so_far(&self) -> &Cdr {
        &self.cdr
    }

    /// The record of the answer.
    pub(super) fn answered(&mut self, now: Timestamp) -> Box<Cdr> {
        self.cdr.times.answered = Some(now);
        self.at(Stage::Answered)
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.cdr.times.answered.is_some()
    }

    /// The record of the end.
    pub(super) fn ended(&mut self, now: Timestamp, cause: Cause) -> Box<Cdr> {
        self.cdr.times.ended = Some(now);
        self.cdr.cause = Some(cause);
        self.at(Stage::Ended)
    }

    /// The record of the media.
    pub(super) fn measured(&mut self, quality: Option<Quality>) -> Box<Cdr> {
        self.cdr.quality = quality;
        self.at(Stage::Quality)
    }

    fn at(&mut self, stage: Stage) -> Box<Cdr> {
        self.cdr.stage = stage;
        Box::new(self.cdr.clone())
    }
}
