//! An offer in a reliable provisional response to an INVITE without one, whose answer comes in the PRACK (RFC 3262 §5, pattern 4 of
//! RFC 6337 §2.2): the caller gets it in a reliable response of ours, and the callee the caller's answer. It is asked for where the
//! caller knows how to take it, and one next hop alone has the INVITE.

use sans_io::Timestamp;
use sip::Message;

use super::call::{Call, Reliability};
use super::ending::Ending;
use super::headers;
use super::hub::Hub;
use super::media::Step;
use super::offered::{Misfit, Offered, Ours};
use super::side::{Both, Side};
use crate::{Cause, MediaError, Released};

/// The callee's offer, until the INVITE has its final response.
#[derive(Debug)]
pub(super) struct EarlyOffer {
    offer: Offered,
    /// What of it was offered to the caller.
    offers: Vec<Ours>,
    /// The place of the fork that made it.
    fork: usize,
    /// The response with it, which has no PRACK before there is an answer.
    response: Message,
    rseq: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The media node is asked for ports.
    Reserving,
    /// The caller has it.
    Offered,
    /// It is answered.
    Agreed,
}

impl Call {
    /// Whether the callee may make its offer before its 2xx.
    pub(super) fn takes_early_offer(&self) -> bool {
        let inbound = self.inbound.as_ref();
        inbound.is_some_and(|it| it.offer.is_none() && it.reliability != Reliability::Unsupported)
            && self.outbound.hops.len() == 1
    }

    fn early_offer(&self) -> Option<&EarlyOffer> {
        self.inbound.as_ref()?.early_offer.as_deref()
    }

    fn stage_of_early_offer(&self, fork: usize) -> Option<Stage> {
        let early = self.early_offer().filter(|early| early.fork == fork)?;
        Some(early.stage)
    }

    /// Whether the caller has a fork's offer, so that what is reliable may follow it.
    pub(super) fn has_offered_early(&self, fork: usize) -> bool {
        let stage = self.stage_of_early_offer(fork);
        stage.is_some_and(|stage| stage != Stage::Reserving)
    }

    /// Whether a fork's offer was answered.
    pub(super) fn has_agreed_early(&self, fork: usize) -> bool {
        self.stage_of_early_offer(fork) == Some(Stage::Agreed)
    }

    /// The description in a fork's reliable response: ports are asked for if it is an offer. False if it is none, and the response
    /// is as any other.
    pub(super) fn take_early_offer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        fork: usize,
        response: &Message,
        rseq: u32,
    ) -> bool {
        if !self.takes_early_offer() || headers::has_description(response) != Ok(true) {
            return false;
        }
        if let Some(early) = self.early_offer() {
            // The media node has lines for one: another fork, whose offer nobody can answer, has no PRACK and gives up.
            return early.fork != fork;
        }
        let client = self.outbound.forks[fork].client;
        let hop = self.outbound.branch(client).map(|branch| branch.hop);
        if let Some(hop) = hop.and_then(|hop| self.outbound.hops.get(hop)) {
            self.srtp.callee = hop.srtp_terms();
        }
        let offer = hub.read_session(response.body()).ok();
        let offer = offer
            .filter(sdp::Session::has_usable_line)
            .and_then(|offer| Offered::new(hub, offer, self.srtp.callee, &[], true).ok());
        let (Some(offer), Some(inbound)) = (offer, &mut self.inbound) else {
            let text = "The callee's reliable response has no usable offer";
            self.end(hub, now, Ending::of(Cause::failed(Released::Us, 502, text)));
            return true;
        };
        let ipv6 = Both {
            caller: inbound.source.local.is_ipv6(),
            callee: offer.session.is_ipv6(),
        };
        let lines = offer.proposal(Side::Callee, self.srtp.caller.is_secured());
        inbound.early_offer = Some(Box::new(EarlyOffer {
            offer,
            offers: Vec::new(),
            fork,
            response: response.clone(),
            rseq,
            stage: Stage::Reserving,
        }));
        self.record.ringing(now);
        self.media.create(hub, now, ipv6, lines);
        true
    }

    /// The ports for it are there, or not.
    pub(super) fn early_offer_reserved(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        result: Result<(), MediaError>,
    ) {
        if let Err(error) = result {
            self.end_without_media(hub, now, error);
            return;
        }
        let early = self.inbound.as_mut().and_then(|it| it.early_offer.take());
        let Some(mut early) = early.filter(|early| !self.outbound.forks[early.fork].is_over) else {
            return;
        };
        let Ok(offers) = self.offers(hub, Side::Caller) else {
            let text = "SRTP cannot be offered to the caller";
            self.end(hub, now, Ending::of(Cause::failed(Released::Us, 502, text)));
            return;
        };
        let body = self.describe_offer(Side::Caller, &early.offer, &offers);
        early.offers = offers;
        early.stage = Stage::Offered;
        let (fork, response) = (early.fork, early.response.clone());
        if let Some(inbound) = &mut self.inbound {
            inbound.early_offer = Some(early);
        }
        self.pass_reliably(hub, now, fork, &response, Some(body));
    }

    /// The caller's answer, in its PRACK for what it was offered in a fork's response: the callee has it in ours. False if it waits
    /// for no answer.
    pub(super) fn take_early_answer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        fork: usize,
        prack: &Message,
    ) -> bool {
        if self.stage_of_early_offer(fork) != Some(Stage::Offered) {
            return false;
        }
        let early = self.inbound.as_mut().and_then(|it| it.early_offer.take());
        let Some(mut early) = early else { return false };
        let session = (headers::has_description(prack) == Ok(true))
            .then(|| hub.read_session(prack.body()).ok())
            .flatten();
        let answer = session.map(|session| early.offer.answered(Side::Callee, &early.offers, session));
        let answer = match answer.unwrap_or(Err(Misfit::Missing)) {
            Ok(answer) => answer,
            Err(misfit) => {
                misfit.count(hub);
                let cause = Cause::failed(Released::Caller, 488, misfit.to_string());
                self.end(hub, now, Ending::of(cause));
                return true;
            }
        };
        let body = self.describe_answer(Side::Callee, &answer);
        self.send_prack(hub, now, fork, &early.response, early.rseq, Some(&body));
        early.stage = Stage::Agreed;
        if let Some(inbound) = &mut self.inbound {
            inbound.early_offer = Some(early);
        }
        self.adopt(fork, answer.lines.clone());
        self.agree(&answer.lines);
        if let Some(leg) = &mut self.legs.caller {
            // In turn: each has this offer alone.
            let _ = leg.negotiation.answer_received();
        }
        if let Some(leg) = &mut self.legs.callee {
            let negotiation = &mut leg.negotiation;
            let _ = negotiation
                .offer_received()
                .and_then(|()| negotiation.answer_sent());
            leg.description = Some(body.into());
        }
        self.outbound.forks[fork].has_agreed = true;
        self.relay_fork(hub, now, fork, Step::Early, answer.lines);
        true
    }
}
