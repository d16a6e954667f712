//! Call pickup: an INVITE with `Replaces` for a call that still rings (RFC 3891 §3, §7.1). The callee is told to stop, the caller
//! gets an answer that holds its media (RFC 3725 §4.3), and when it has acknowledged that, the newcomer's offer.

use sans_io::Timestamp;

use super::Replaces;
use crate::b2bua::B2bua;
use crate::b2bua::call::{Call, Phase};
use crate::b2bua::deadlines::Deadline;
use crate::b2bua::hub::{CallKey, Hub};
use crate::b2bua::identity::Known;
use crate::b2bua::line::Lines;
use crate::b2bua::media::Step;
use crate::b2bua::offered::{Answer, Offered};
use crate::b2bua::requests::Refusal;
use crate::b2bua::side::{Both, Side};
use crate::{Asked, TransferError};

impl B2bua {
    /// The call that rings in an early dialog which the one who is asked to give it up has begun: we, to the callee; or,
    /// when the ids are those of the caller's dialog, the caller. One that it was called by is no such (RFC 3891 §3).
    pub(super) fn find_ringing(&self, replaces: &Replaces) -> Option<CallKey> {
        let rings = |ours: &str, side: Side| {
            let (key, found) = self.hub.dialog(&replaces.call_id, ours)?;
            let call = self.calls.get(&key)?;
            let is_it = found == side && call.phase == Phase::Calling;
            is_it.then_some((key, call))
        };
        let to_callee = rings(&replaces.to_tag, Side::Callee)
            .filter(|(_, call)| call.has_early(replaces, false))
            .map(|(key, _)| key);
        let of_caller = || {
            let (key, call) = rings(&replaces.from_tag, Side::Caller)?;
            let mut forks = call.outbound.forks.iter();
            let is_it = *call.caller_tag == replaces.to_tag
                && forks.any(|fork| !fork.is_over && fork.caller_tag == replaces.from_tag);
            is_it.then_some(key)
        };
        to_callee.or_else(of_caller)
    }

    /// Whether the dialog was one with a callee, or its call's, and is over: 603 for whoever comes second (RFC 3891 §3).
    pub(super) fn is_over(&self, replaces: &Replaces) -> bool {
        let known = |tag: &str| {
            let (key, side) = self.hub.dialog(&replaces.call_id, tag)?;
            Some((self.calls.get(&key)?, side))
        };
        if let Some((call, side)) = known(&replaces.to_tag) {
            return match call.phase {
                Phase::Ended => true,
                Phase::Reserving => false,
                Phase::Calling => call.has_early(replaces, true),
                // Of the forks of one that was answered nothing is known but our tag.
                Phase::Answering | Phase::Answered => {
                    side == Side::Callee && !call.stands(side, &replaces.to_tag)
                }
            };
        }
        // By the ids of the caller, one of whose early dialogs it was.
        known(&replaces.from_tag).is_some_and(|(call, side)| {
            side == Side::Caller
                && *call.caller_tag == replaces.to_tag
                && match call.phase {
                    Phase::Ended => true,
                    Phase::Reserving | Phase::Calling => false,
                    Phase::Answering | Phase::Answered => !call.stands(side, &replaces.from_tag),
                }
        })
    }
}

impl Call {
    /// Whether the ids are those of an early dialog with a callee: one that stands, or `is_over`.
    fn has_early(&self, replaces: &Replaces, is_over: bool) -> bool {
        self.outbound.forks.iter().any(|fork| {
            let ours = self.outbound.dialogs.get(fork.dialog);
            fork.is_over == is_over
                && fork.callee_tag == replaces.from_tag
                && ours.is_some_and(|(_, tag)| *tag == replaces.to_tag)
        })
    }

    /// Whether our tag is that of the party at `side`, of the newcomer, or of the target that is being called.
    fn stands(&self, side: Side, ours: &str) -> bool {
        if self.legs[side]
            .as_ref()
            .is_some_and(|leg| leg.local_tag() == ours)
        {
            return true;
        }
        let current = self.transfers.as_ref().and_then(|it| it.current.as_ref());
        current.is_some_and(|transfer| match &transfer.newcomer {
            Some(newcomer) => newcomer.leg.local_tag() == ours,
            // The latest dialog is the one with the target.
            None => self.outbound.dialogs.last().is_some_and(|(_, tag)| tag == ours),
        })
    }

    /// Takes the newcomer's INVITE in the place of whoever is called.
    pub(super) fn pick_up(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        asked: &Asked,
        offer: Option<sdp::Session>,
        known: Option<Box<Known>>,
    ) -> Result<(), Refusal> {
        // The caller waits for an offer when it made none, and its ports are not there yet.
        let wanted = self.inbound.as_ref().and_then(|inbound| inbound.offer.as_ref());
        let line_count = wanted.map(|offer| offer.session.line_count());
        let offer = line_count.zip(offer).and_then(|(line_count, offer)| {
            let fits = offer.has_usable_line()
                && offer.is_ipv6() == self.media.is_ipv6(Side::Callee)
                && offer.line_count() >= line_count;
            fits.then_some(offer)
        });
        let offer = offer.ok_or_else(|| Refusal::of(488))?;
        let count = self.transfers.as_ref().map_or(0, |transfers| transfers.count);
        if count >= hub.config.transfers_per_call_max {
            return Err(Refusal::of(TransferError::TooOften.sip_status()));
        }
        self.policies.callee = asked.transfer;
        self.take_newcomer(hub, now, Side::Callee, asked, offer, known)?;
        if let Some(transfer) = self.transfer() {
            transfer.has_left = true;
        }
        for deadline in [Deadline::NextHop, Deadline::Branch, Deadline::Ring] {
            hub.deadlines.clear(self.key, deadline);
        }
        self.cancel_losers(hub, now);
        self.leave_early(hub, now);
        // What it has counts for nobody any more.
        hub.trunks.release(self.key);
        self.phase = Phase::Answering;
        let held = self.inbound.as_mut().and_then(|inbound| {
            inbound.offers.clear();
            inbound.offer.take()
        });
        if let Some(held) = held {
            self.hold_caller(hub, now, held);
        }
        Ok(())
    }

    /// Answers the caller's offer by itself, without media: who is to answer it has an offer of its own.
    fn hold_caller(&mut self, hub: &mut Hub, now: Timestamp, offer: Offered) {
        let mut lines = Both::clone(&offer.proposal(Side::Caller, true));
        for line in lines.caller.iter_mut().chain(&mut lines.callee) {
            line.spec.direction = media_types::Direction::Inactive;
        }
        let lines = Lines::new(lines);
        let mut session = offer.session;
        session.hold();
        self.answer = Some(Box::new(Answer {
            session,
            lines: lines.clone(),
        }));
        self.media.relearn_callee();
        self.media.update(hub, now, Step::Answer, lines);
    }

    /// The caller has acknowledged the answer that holds its media: it is offered the newcomer's.
    pub(in crate::b2bua) fn join_picked_up(&mut self, hub: &mut Hub, now: Timestamp) {
        if self.legs.callee.is_none() {
            self.join(hub, now);
        }
    }
}
