//! Offers in a 2xx, whose answer comes in the ACK (RFC 3261 §13.2.1): of a callee that was asked for one, and of either party
//! in a re-INVITE without one.

use sans_io::Timestamp;
use sdp::Session;
use sip::Message;
use sip::transaction::ClientKey;

use super::call::{Call, Late, Phase};
use super::ending::Ending;
use super::exchange::keep_ack;
use super::headers;
use super::hub::{Client, Hub};
use super::leg::cseq;
use super::media::Step;
use super::offered::Offered;
use super::side::{Both, Side};
use super::trickle::Describe as _;
use crate::{Cause, Released};

impl Call {
    /// The offer in the 2xx to an INVITE without one: ports are asked for. `None` if there is no usable one.
    pub(super) fn take_late_offer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        fork: &str,
        response: &Message,
    ) -> Option<()> {
        headers::has_description(response).ok().filter(|&has| has)?;
        let offer = hub.read_session(response.body()).ok()?;
        if !offer.has_usable_line() {
            return None;
        }
        let offer = Offered::new(hub, offer, self.srtp.callee, &[], true).ok()?;
        let caller_ipv6 = self
            .inbound
            .as_ref()
            .is_some_and(|inbound| inbound.source.local.is_ipv6());
        let ipv6 = Both {
            caller: caller_ipv6,
            callee: offer.session.is_ipv6(),
        };
        // An offer in a response before it has had them reserved.
        let is_fitting = Side::BOTH
            .iter()
            .all(|&side| self.media.is_ipv6(side) == ipv6[side]);
        if !self.media.is_absent() && !is_fitting {
            return None;
        }
        if let Some(leg) = &mut self.legs.callee {
            leg.negotiation.offer_received().ok()?;
        }
        let lines = offer.proposal(Side::Callee, self.srtp.caller.is_secured());
        self.late = Some(Box::new(Late {
            offerer: Side::Callee,
            offer,
            offers: Vec::new(),
            client,
            cseq: 1,
            fork: fork.to_owned(),
        }));
        match self.media.is_absent() {
            true => self.media.create(hub, now, ipv6, lines),
            false => self.media.update(hub, now, Step::Answer, lines),
        }
        Some(())
    }

    /// The other party's offer in its 2xx to a re-INVITE without one.
    pub(super) fn take_late_reoffer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        side: Side,
        response: &Message,
        offer: Option<Session>,
    ) {
        let cseq = cseq(response);
        let fits = |offer: &Session| offer.line_count() >= self.agreed[side].len();
        let offer = offer
            .filter(fits)
            .and_then(|offer| self.take_offer(hub, offer, side).ok());
        let turn = self.legs[side]
            .as_mut()
            .map(|leg| leg.negotiation.offer_received());
        let (Some(offer), Some(Ok(()))) = (offer, turn) else {
            if let Some(leg) = &self.legs[side] {
                let sent = hub.send_ack(leg.ack(cseq, hub.config.max_forwards), leg.destination());
                keep_ack(hub, client, sent);
            }
            let cause = Cause::ended(Released::Us, 111, "A 2xx without a usable offer");
            self.end(hub, now, Ending::of(cause));
            return;
        };
        let lines = self.reservation(side, &offer);
        self.late = Some(Box::new(Late {
            offerer: side,
            offer,
            offers: Vec::new(),
            client,
            cseq,
            fork: String::new(),
        }));
        self.media.update(hub, now, Step::Extend, lines);
    }

    /// Passes the other party's late offer on in the 2xx to the re-INVITE.
    pub(super) fn offer_late(&mut self, hub: &mut Hub, now: Timestamp) {
        let (Some(mut late), Some(exchange)) = (self.late.take(), &self.exchange) else {
            return;
        };
        let from = exchange.from;
        let Ok(offers) = self.offers(hub, from) else {
            self.late = Some(late);
            let cause = Cause::ended(Released::Us, 41, "SRTP cannot be offered");
            self.end(hub, now, Ending::of(cause));
            return;
        };
        let body = self.describe_offer(from, &late.offer, &offers);
        late.offers = offers;
        self.late = Some(late);
        if let Some(leg) = &mut self.legs[from] {
            // Out of turn only if an offer crossed, and a crossing one was refused.
            let _ = leg.negotiation.offer_sent();
        }
        self.accept_exchange(hub, now, Some(body));
    }

    /// The answer to a late offer, in the ACK of `side`: passed on in the ACK to the offerer.
    pub(super) fn take_late_answer(&mut self, hub: &mut Hub, now: Timestamp, side: Side, ack: &Message) {
        let Some(late) = &self.late else { return };
        let answer = (headers::has_description(ack) == Ok(true))
            .then(|| hub.read_session(ack.body()).ok())
            .flatten()
            .map(|session| late.offer.answered(side.other(), &late.offers, session));
        let answer = match answer {
            Some(Ok(answer)) if self.phase == Phase::Answered => answer,
            unusable => {
                let text = match unusable {
                    Some(Err(misfit)) => {
                        misfit.count(hub);
                        misfit.to_string()
                    }
                    _ => "The offer in the 2xx was not answered".to_owned(),
                };
                self.acknowledge_late(hub, None);
                let cause = Cause::ended(side.released(), 111, text);
                self.end(hub, now, Ending::of(cause));
                return;
            }
        };
        let offerer = side.other();
        let body = self.describe_answer(offerer, &answer);
        self.acknowledge_late(hub, Some(&body));
        if let Some(leg) = &mut self.legs[side] {
            // Out of turn only if the offer was abandoned, and then nothing waits for the answer.
            let _ = leg.negotiation.answer_received();
        }
        if let Some(leg) = &mut self.legs[offerer] {
            let _ = leg.negotiation.answer_sent();
        }
        self.agree(&answer.lines);
        self.media.update(hub, now, Step::Settle, answer.lines);
    }

    /// Sends the ACK that waits for the answer to a late offer, if one does; without a body when there is none.
    pub(super) fn acknowledge_late(&mut self, hub: &mut Hub, body: Option<&str>) {
        let Some(late) = self.late.take() else { return };
        let Some(leg) = &mut self.legs[late.offerer] else {
            return;
        };
        leg.description = body.filter(|_| leg.needs_description()).map(Into::into);
        let mut builder = leg.ack(late.cseq, hub.config.max_forwards);
        if let Some(body) = body {
            builder = builder.describe(body);
        }
        let sent = hub.send_ack(builder, leg.destination());
        match hub.clients.get_mut(&late.client) {
            Some(Client::Attempt(attempt)) => attempt.acknowledged(&late.fork, sent),
            Some(Client::Exchange { ack, .. }) => *ack = sent.map(Box::new),
            _ => {}
        }
    }
}
