//! Early dialogs: where they are kept, and UPDATE within them (RFC 3311).

use sans_io::Timestamp;
use sip::message::ResponseBuilder;
use sip::transaction::{ClientKey, ServerKey};
use sip::{HeaderName, Message, Source};

use super::call::{Call, Outbound, by_side};
use super::exchange::Exchange;
use super::headers;
use super::hub::{Hub, tag_of};
use super::leg::Leg;
use super::requests::{Refusal, check, offer};
use super::side::{Both, Side};

impl Outbound {
    /// The place of a fork that has sent a provisional response.
    pub(super) fn place(&self, client: ClientKey, callee_tag: &str) -> Option<usize> {
        self.forks
            .iter()
            .position(|fork| fork.client == client && fork.callee_tag == callee_tag)
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
        self.outbound.forks.iter().position(|fork| match side {
            Side::Caller => fork.caller_tag == ours,
            Side::Callee => fork.callee_tag == theirs,
        })
    }

    /// An UPDATE before the INVITE is answered. Without an offer it brings its sender's address, which is ours to know.
    /// An offer goes to the other party once the first one is answered reliably on both sides (RFC 3311 §5.1); else it
    /// is early for it. One pair of early dialogs may have such offers.
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
        let fork = &self.outbound.forks[place];
        let is_answered = fork
            .provisionals
            .as_ref()
            .is_some_and(|it| it.is_described() && !it.holds_success());
        let is_other = self.outbound.adopted.is_some_and(|adopted| adopted != place);
        let first = self.inbound.as_ref().and_then(|inbound| inbound.offer.as_ref());
        let first = first
            .zip(fork.answer.as_ref())
            .and_then(|(offer, answer)| sdp::agree(offer, answer).ok());
        let Some(first) = first.filter(|_| fork.has_agreed && is_answered && !is_other) else {
            return Err(Refusal::later(hub));
        };
        let lines = by_side(Side::Caller, &first);
        if self.outbound.adopted.is_none() {
            let fork = &mut self.outbound.forks[place];
            self.legs = std::mem::take(&mut fork.legs);
            self.outbound.adopted = Some(place);
            self.agreed = lines;
        }
        self.handle_exchange(
            hub,
            now,
            Exchange {
                from: side,
                server,
                source,
                request: request.clone(),
                max_forwards,
                offer: Some(offer),
                client: None,
                answer: None,
                sent: None,
                extended: false,
            },
        );
        Ok(())
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
