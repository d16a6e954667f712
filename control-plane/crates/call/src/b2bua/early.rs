//! Early dialogs: where they are kept, and UPDATE within them (RFC 3311).

use sans_io::Timestamp;
use sip::message::ResponseBuilder;
use sip::transaction::{ClientKey, ServerKey};
use sip::{HeaderName, Message, Source};

use super::call::{Call, Fork, Inbound, Outbound, Reliability};
use super::exchange::Exchange;
use super::headers;
use super::hub::{Hub, tag_of};
use super::leg::Leg;
use super::line::Lines;
use super::media::Step;
use super::offered::Answer;
use super::requests::{Refusal, check, offer};
use super::side::{Both, Side};

impl Outbound {
    /// The place of a fork that has sent a provisional response.
    pub(super) fn place(&self, client: ClientKey, callee_tag: &str) -> Option<usize> {
        self.forks
            .iter()
            .position(|fork| fork.client == client && fork.callee_tag == callee_tag)
    }

    /// The place of the fork whose description the media node has.
    pub(super) fn relayed(&self) -> Option<usize> {
        self.forks.iter().position(|fork| fork.is_relayed)
    }
}

impl Call {
    /// Where the early dialog of a fork with one party is kept.
    pub(super) fn early_slot(&mut self, fork: usize, side: Side) -> &mut Option<Leg> {
        match self.outbound.adopted == Some(fork) {
            true => &mut self.legs[side],
            false => &mut self.outbound.forks[fork].legs[side],
        }
    }

    /// The early dialog of a request.
    pub(super) fn early_leg(&mut self, side: Side, request: &Message) -> Option<&mut Leg> {
        let place = self.early_fork(side, request)?;
        self.early_slot(place, side).as_mut()
    }

    /// The fork whose early dialog a request is in.
    pub(super) fn early_fork(&self, side: Side, request: &Message) -> Option<usize> {
        let (theirs, ours) = (tag_of(request, HeaderName::From), tag_of(request, HeaderName::To));
        let is_it = |fork: &Fork| match side {
            Side::Caller => fork.caller_tag == ours,
            // Two branches may have chosen one tag.
            Side::Callee => {
                let dialog = self.outbound.dialogs.get(fork.dialog);
                fork.callee_tag == theirs && dialog.is_some_and(|(_, tag)| tag == ours)
            }
        };
        self.outbound
            .forks
            .iter()
            .position(|fork| !fork.is_over && is_it(fork))
    }

    /// An UPDATE before the INVITE is answered. Without an offer it brings its sender's address, which is ours to know.
    /// An offer goes to the other party once the first one is answered reliably on both sides (RFC 3311 §5.1); else it
    /// is early for it. Each fork's early dialogs may have such offers, one at a time; the media node has the lines of the
    /// latest.
    pub(super) fn take_early_update(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        source: Source,
        request: &Message,
    ) -> Result<(), Refusal> {
        let max_forwards = check(hub, request, true)?;
        self.check_order(side, request)?;
        let place = self.early_fork(side, request).ok_or_else(|| Refusal::of(481))?;
        let Some(offer) = offer(hub, request)? else {
            let leg = self.early_slot(place, side).as_mut();
            let leg = leg.ok_or_else(|| Refusal::later(hub))?;
            leg.comes_by(&source);
            // A Contact that cannot be read leaves the target as it was.
            let _ = leg.dialog().refresh_target(request);
            let response = ResponseBuilder::for_request(request, 200, "OK")
                .header(HeaderName::Contact, leg.contact())
                .header(HeaderName::Allow, headers::ALLOW);
            hub.respond(now, server, response);
            return Ok(());
        };
        if let Some(exchange) = &self.exchange {
            return Err(match exchange.from == side {
                true => Refusal::later(hub),
                false => Refusal::of(491),
            });
        }
        if !self.take_up(place) {
            return Err(Refusal::later(hub));
        }
        if let Some(leg) = self.early_slot(place, side) {
            leg.comes_by(&source);
        }
        let exchange = Exchange::new(side, server, source, request, max_forwards);
        self.handle_exchange(hub, now, exchange, Some(offer));
        Ok(())
    }

    /// Makes a fork's early dialogs the call's, if another offer may be made in them: the first one is answered reliably on both
    /// sides (RFC 3311 §5.1).
    pub(super) fn take_up(&mut self, place: usize) -> bool {
        let fork = &self.outbound.forks[place];
        let is_answered = fork
            .provisionals
            .as_ref()
            .is_some_and(|it| it.is_described() && !it.holds_success());
        if self.has_agreed_early(place) && self.outbound.adopted == Some(place) {
            self.note_relayed(place);
            return is_answered;
        }
        let first = self.answer_of(fork).filter(|_| fork.has_agreed && is_answered);
        let Some(lines) = first.map(|first| first.lines) else {
            return false;
        };
        self.adopt(place, lines);
        self.note_relayed(place);
        true
    }

    /// What the description in a fork's provisional response makes of the caller's offer.
    fn answer_of(&self, fork: &Fork) -> Option<Answer> {
        let inbound = self.inbound.as_ref()?;
        let offer = inbound.offer.as_ref()?;
        let offers = inbound.offers.get(fork.dialog)?;
        offer.answered(Side::Caller, offers, fork.answer.clone()?).ok()
    }

    /// Makes the early dialogs of a fork those of the call. What it has agreed on is `lines`, unless an UPDATE has changed
    /// that.
    pub(super) fn adopt(&mut self, place: usize, lines: Lines) {
        if self.outbound.adopted == Some(place) {
            return;
        }
        if let Some(before) = self.outbound.adopted.replace(place) {
            let fork = &mut self.outbound.forks[before];
            fork.legs = std::mem::take(&mut self.legs);
            fork.agreed = Some(self.agreed.clone());
        }
        let client = self.outbound.forks[place].client;
        let hop = self.outbound.branch(client).map(|branch| branch.hop);
        if let Some(hop) = hop.and_then(|hop| self.outbound.hops.get(hop)) {
            self.srtp.callee = hop.srtp_terms();
        }
        let fork = &mut self.outbound.forks[place];
        self.legs = std::mem::take(&mut fork.legs);
        self.agreed = fork.agreed.take().unwrap_or(lines);
    }

    /// Notes that the media node is about to have the lines of a fork. When it had another one's, what it has learned of
    /// where that one sends from is no longer right, even if both say that they are at one address: two phones behind
    /// their NATs may.
    pub(super) fn note_relayed(&mut self, fork: usize) {
        if let Some(before) = self.outbound.relayed().filter(|&before| before != fork) {
            self.outbound.forks[before].is_relayed = false;
            self.media.relearn_callee();
        }
        self.outbound.forks[fork].is_relayed = true;
    }

    /// Has the media node relay a fork, if it does not already.
    pub(super) fn relay_fork(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        fork: usize,
        step: Step,
        lines: Lines,
    ) {
        self.note_relayed(fork);
        if !self.media.has(&lines) {
            self.media.update(hub, now, step, lines);
        }
    }

    /// An INVITE of ours has failed while others go on: its early dialogs are over, and the caller is told so if it wants
    /// to know (RFC 6228). When the media node relayed one of them, the next one with a description has its turn.
    pub(super) fn forks_over(&mut self, hub: &mut Hub, now: Timestamp, client: ClientKey, status: u16) {
        let is_of_it = |fork: &Fork| fork.client == client && !fork.is_over;
        if !self.outbound.forks.iter().any(is_of_it) {
            return;
        }
        let adopted = self.outbound.adopted;
        if adopted.is_some_and(|place| is_of_it(&self.outbound.forks[place])) {
            self.leave_early(hub, now);
        }
        for place in 0..self.outbound.forks.len() {
            let fork = &mut self.outbound.forks[place];
            if is_of_it(fork) {
                fork.is_over = true;
                fork.provisionals = None;
                fork.answer = None;
                fork.legs = Both::default();
                self.tell_gone(hub, now, place, status);
            }
        }
        self.await_prack(hub);
        let is_relayed_over = self
            .outbound
            .relayed()
            .is_some_and(|place| self.outbound.forks[place].is_over);
        let next = self
            .outbound
            .forks
            .iter()
            .enumerate()
            .filter(|_| is_relayed_over)
            .find_map(|(place, fork)| Some((place, fork.agreed.clone(), self.answer_of(fork)?)));
        if let Some((place, agreed, described)) = next {
            let lines = agreed.unwrap_or(described.lines);
            self.relay_fork(hub, now, place, Step::Early, lines);
        }
    }

    /// Tells the caller that the early dialog with a fork is over.
    fn tell_gone(&self, hub: &mut Hub, now: Timestamp, fork: usize, status: u16) {
        let wants = |inbound: &&Inbound| {
            // To a caller that demands it, it would have to be reliable; it has nothing that could get lost.
            inbound.reliability != Reliability::Required
                && inbound.invite.has_token(HeaderName::Supported, "199")
        };
        let Some(inbound) = self.inbound.as_deref().filter(wants) else {
            return;
        };
        let response = ResponseBuilder::for_request(&inbound.invite, 199, "Early Dialog Terminated")
            .to_tag(&self.outbound.forks[fork].caller_tag)
            .record_routes()
            .header(HeaderName::Contact, hub.contact_at(&inbound.source))
            .header(HeaderName::Reason, format_args!("SIP;cause={status}"));
        hub.respond(now, inbound.server, response);
    }

    /// The early dialogs that UPDATEs were in are no more: their INVITE failed, or another fork answered it. An UPDATE
    /// that is under way gets 487. Dialogs that are confirmed stay.
    pub(super) fn leave_early(&mut self, hub: &mut Hub, now: Timestamp) {
        if self.outbound.adopted.take().is_none() {
            return;
        }
        self.abandon_exchange(hub, now);
        let legs = std::mem::take(&mut self.legs);
        let confirmed = |leg: &Leg| !leg.is_early();
        self.legs = Both {
            caller: legs.caller.filter(confirmed),
            callee: legs.callee.filter(confirmed),
        };
    }
}
