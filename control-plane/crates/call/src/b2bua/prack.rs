//! Reliable provisional responses (RFC 3262): towards the callee as a client, towards the caller as a server. Each side
//! is reliable or not by itself, so that a party with the extension talks to one without it.

use sans_io::Timestamp;
use sip::dialog::{ProvisionalStep, RELIABLE, Rack, ReliableProvisionals};
use sip::message::ResponseBuilder;
use sip::transaction::ServerKey;
use sip::{HeaderName, Message, Method, Source};

use super::call::{Call, Phase, Reliability};
use super::deadlines::Deadline;
use super::ending::Ending;
use super::exchange::Exchange;
use super::headers;
use super::hub::{Client, Hub};
use super::leg::{Leg, cseq};
use super::requests::{Refusal, check, offer};
use super::side::Side;
use super::trickle::Describe as _;
use crate::{Cause, Released};

impl Call {
    /// Acknowledges a reliable provisional response of the callee. The layer repeats the PRACK; nobody waits for its
    /// response, because a callee that does not get it sends its own again.
    pub(super) fn send_prack(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        fork: usize,
        response: &Message,
        rseq: u32,
        answer: Option<&str>,
    ) {
        let client = self.outbound.forks[fork].client;
        let Some(Client::Attempt(attempt)) = hub.clients.get(&client) else {
            return;
        };
        let invite_cseq = cseq(&attempt.invite);
        let leg = self.early_slot(fork, Side::Callee);
        match &mut *leg {
            // A Contact that cannot be read leaves the target as it was.
            Some(leg) => drop(leg.dialog().handle_response(response)),
            none => {
                let contact = hub.contact(&attempt.destination);
                *none = Leg::of_callee(&attempt.invite, response, attempt.destination, contact);
            }
        }
        let Some(leg) = leg else { return };
        let mut prack = leg
            .request("PRACK", hub.config.max_forwards)
            .header(HeaderName::RAck, format_args!("{rseq} {invite_cseq} INVITE"));
        if let Some(answer) = answer {
            prack = prack.describe(answer);
        }
        hub.send(now, prack, leg.destination(), |_| Client::Farewell);
    }

    /// The callee's answer in a reliable response stands from now on.
    pub(super) fn early_agreed(&mut self, fork: usize) {
        self.outbound.forks[fork].has_agreed = true;
        if let Some(leg) = self.early_slot(fork, Side::Callee) {
            // The INVITE had the offer, and this is the first answer.
            let _ = leg
                .negotiation
                .offer_sent()
                .and_then(|()| leg.negotiation.answer_received());
        }
    }

    /// Whether a provisional response goes to the caller reliably: always if the caller demands it, and else if it
    /// came so and the caller knows how. An INVITE without an offer wants one in the first (RFC 3261 §13.2.1).
    pub(super) fn provisional_is_reliable(&self, fork: usize, came_reliably: bool) -> bool {
        self.inbound.as_ref().is_some_and(|inbound| {
            (inbound.offer.is_some() || self.has_offered_early(fork))
                && match inbound.reliability {
                    Reliability::Unsupported => false,
                    Reliability::Supported => came_reliably,
                    Reliability::Required => true,
                }
        })
    }

    /// Passes a provisional response to the caller, to be sent again until its PRACK comes. A second description is
    /// left out: the first is the answer.
    pub(super) fn pass_reliably(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        fork: usize,
        response: &Message,
        body: Option<String>,
    ) {
        let Some(inbound) = &self.inbound else { return };
        let contact = hub.contact_at(&inbound.source);
        let place = fork;
        let fork = &mut self.outbound.forks[place];
        let first = hub.random.next_u64() >> 32;
        let timers = &hub.config.transactions.timers;
        let provisionals = fork.provisionals.get_or_insert_with(|| {
            let first = u32::try_from(first).unwrap_or(0);
            Box::new(ReliableProvisionals::new(first, timers))
        });
        let body = body.filter(|_| !provisionals.will_be_described());
        let phrase = headers::phrase(response);
        let status = response.status().unwrap_or(180);
        let passed = ResponseBuilder::for_request(&inbound.invite, status, &phrase)
            .to_tag(&fork.caller_tag)
            .record_routes()
            .header(HeaderName::Contact, &contact)
            .header(HeaderName::Allow, headers::ALLOW)
            .header(HeaderName::Require, RELIABLE)
            .header(HeaderName::RSeq, provisionals.next_rseq());
        let mut passed = headers::pass_back(passed, response);
        if let Some(body) = &body {
            passed = passed.describe(body);
        }
        let Ok(passed) = passed.build() else { return };
        let sent = match provisionals.push(now, passed) {
            Ok(sent) => sent,
            Err(error) => {
                tracing::debug!(%error, "a provisional response is left out");
                return;
            }
        };
        let leg = match self.outbound.adopted == Some(place) {
            true => &mut self.legs.caller,
            false => &mut fork.legs.caller,
        };
        if leg.is_none() {
            *leg = Leg::of_caller_early(&inbound.invite, &fork.caller_tag, &inbound.source, contact);
        }
        if body.is_some()
            && let Some(leg) = leg
        {
            // The INVITE had the offer, and this is the first answer; or it had none, and this is the offer.
            let _ = match inbound.offer {
                Some(_) => leg
                    .negotiation
                    .offer_received()
                    .and_then(|()| leg.negotiation.answer_sent()),
                None => leg.negotiation.offer_sent(),
            };
            if inbound.offer.is_none() {
                leg.description = body.map(Into::into);
            }
        }
        let server = inbound.server;
        if let Some(sent) = sent {
            hub.respond_with(now, server, sent);
        }
        self.await_prack(hub);
    }

    /// Sets the clock for what waits for a PRACK.
    pub(super) fn await_prack(&self, hub: &mut Hub) {
        let due = |fork: &super::call::Fork| fork.provisionals.as_ref()?.poll_timeout();
        match self.outbound.forks.iter().filter_map(due).min() {
            Some(at) if self.inbound.is_some() => hub.deadlines.set(self.key, Deadline::Provisional, at),
            _ => hub.deadlines.clear(self.key, Deadline::Provisional),
        }
    }

    /// Sends reliable responses again that have no PRACK, or gives the call up (RFC 3262 §3).
    pub(super) fn repeat_provisionals(&mut self, hub: &mut Hub, now: Timestamp) {
        let Some(server) = self.inbound.as_ref().map(|inbound| inbound.server) else {
            return;
        };
        let mut given_up = false;
        for fork in &mut self.outbound.forks {
            match fork.provisionals.as_mut().and_then(|it| it.handle_timeout(now)) {
                Some(ProvisionalStep::Send(response)) => hub.respond_with(now, server, response),
                Some(ProvisionalStep::GiveUp) => given_up = true,
                None => {}
            }
        }
        if given_up {
            let cause = Cause::failed(Released::Us, 504, "No PRACK for a reliable response");
            self.end(hub, now, Ending::of(cause));
        } else {
            self.await_prack(hub);
        }
    }

    /// The call is over: no reliable response is sent any more.
    pub(super) fn finish_provisionals(&mut self) {
        for fork in &mut self.outbound.forks {
            if let Some(provisionals) = &mut fork.provisionals {
                provisionals.finish();
            }
        }
    }

    /// A PRACK of the caller: for the response that waits for it, and for no other (RFC 3262 §3). An offer in it goes to the
    /// other party where an UPDATE's would, and is refused elsewhere; what it acknowledges is acknowledged all the same.
    pub(super) fn handle_prack(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        key: ServerKey,
        source: Source,
        request: &Message,
    ) -> Result<(), Refusal> {
        let max_forwards = check(hub, request, false)?;
        self.check_order(side, request)?;
        let rack = Rack::of(request).ok_or_else(|| Refusal::of(400))?;
        let place = self.early_fork(side, request);
        let invite_cseq = match (&self.inbound, &self.legs[side]) {
            (Some(inbound), _) => Some(cseq(&inbound.invite)),
            (None, Some(leg)) => leg.accept.as_ref().map(|accept| accept.cseq),
            (None, None) => None,
        };
        let is_of_invite = rack.cseq.method == Method::Invite && Some(rack.cseq.seq) == invite_cseq;
        let provisionals = match (place, &mut self.legs[side]) {
            (Some(place), _) => self.outbound.forks[place].provisionals.as_mut(),
            (None, Some(leg)) => leg
                .accept
                .as_mut()
                .and_then(|accept| accept.provisionals.as_mut()),
            (None, None) => None,
        };
        let next = provisionals
            .filter(|_| is_of_invite && side == Side::Caller)
            .and_then(|provisionals| provisionals.acknowledge(now, rack.rseq).ok())
            .ok_or_else(|| Refusal::of(481))?;
        let is_answer = place.is_some_and(|place| self.take_early_answer(hub, now, place, request));
        let reoffer = match is_answer {
            true => Ok(None),
            false => offer(hub, request),
        };
        let is_held = self
            .inbound
            .as_ref()
            .is_some_and(|inbound| inbound.held.is_some());
        let fork = place.filter(|_| self.phase == Phase::Calling && self.exchange.is_none() && !is_held);
        let status = match reoffer {
            Ok(None) => Some(200),
            Ok(Some(reoffer)) if max_forwards > 0 && fork.is_some_and(|fork| self.take_up(fork)) => {
                let exchange = Exchange::new(side, key, source, request, max_forwards);
                self.handle_exchange(hub, now, exchange, Some(reoffer));
                None
            }
            Ok(Some(_)) | Err(_) => Some(488),
        };
        if let Some(status) = status {
            let phrase = sip::message::reason_phrase(status);
            hub.respond(now, key, ResponseBuilder::for_request(request, status, phrase));
        }
        let server = self.inbound.as_ref().map(|inbound| inbound.server);
        if let (Some(server), Some(next)) = (server, next) {
            hub.respond_with(now, server, next);
        }
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.await_prack(hub);
        if let Some(body) = self.inbound.as_mut().and_then(|inbound| inbound.held.take()) {
            self.accept_invite(hub, now, &body);
        }
        Ok(())
    }
}
