use std::borrow::Cow;

use sans_io::Timestamp;
use sip::dialog::AcceptStep;
use sip::message::ResponseBuilder;
use sip::transaction::ClientKey;
use sip::{HeaderName, Message, Transmit};

use super::attempt::{Attempt, hang_up_on};
use super::branch::Branch;
use super::call::{Call, Fork, Phase, Unacknowledged};
use super::deadlines::Deadline;
use super::ending::Ending;
use super::headers;
use super::hub::{Client, Hub, tag_of};
use super::leg::{Bye, Leg, cseq};
use super::media::Step;
use super::offered::{Misfit, Ours};
use super::session;
use super::side::Side;
use super::trickle::Describe as _;
use crate::{Cause, MediaError, Output, Released};

impl Call {
    /// Whether a 2xx of this transaction is the answer that the call waits for.
    pub(super) fn wants_answer(&self, client: ClientKey) -> bool {
        let is_of_it = |branch: &Branch| branch.client == client;
        self.phase == Phase::Calling && self.outbound.branches.iter().any(is_of_it)
    }

    /// The first 2xx of the callee. Gives the ACK if it was sent: it is, at once, unless the media node has to be told
    /// of the answer first, or it must carry the caller's answer to a late offer.
    pub(super) fn handle_success(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        attempt: &Attempt,
        response: &Message,
    ) -> Option<Transmit> {
        for deadline in [Deadline::NextHop, Deadline::Branch, Deadline::Ring] {
            hub.deadlines.clear(self.key, deadline);
        }
        self.phase = Phase::Answering;
        let offers = self.choose(hub, now, client);
        self.accepted = Some(Box::new(response.clone()));
        let fork = tag_of(response, HeaderName::To);
        let place = self.outbound.place(client, fork);
        let has_agreed = place.is_some_and(|place| self.outbound.forks[place].has_agreed);
        if self.outbound.adopted != place {
            self.abandon_exchange(hub, now);
            match place.and_then(|place| Some((place, self.outbound.forks[place].agreed.clone()?))) {
                Some((place, agreed)) => self.adopt(place, agreed),
                None => self.leave_early(hub, now),
            }
        }
        // The others were told to stop before the node hears of this one: whoever is behind a NAT is learned by what it
        // sends, and may still be sending.
        match place {
            Some(place) => self.note_relayed(place),
            None if self.outbound.relayed().is_some() => self.media.relearn_callee(),
            None => {}
        }
        let early_leg = place.and_then(|place| self.early_slot(place, Side::Callee).take());
        let (invite, destination) = (&attempt.invite, attempt.destination);
        let contact = hub.contact(&destination);
        let leg = match early_leg {
            Some(mut leg) => match leg.dialog().handle_response(response) {
                Ok(()) => Ok(leg),
                Err(_) => Err(Some(leg)),
            },
            None => Leg::of_callee(invite, response, destination, contact.clone())
                .ok_or_else(|| Leg::to_hang_up(invite, response, destination, contact)),
        };
        let mut leg = match leg {
            Ok(leg) => leg,
            Err(leg) => {
                // It has answered all the same, and waits for an ACK.
                let sent = leg.and_then(|leg| hang_up_on(hub, now, cseq(invite), leg));
                self.end_by_fault(hub, now, "The callee's answer makes no dialog");
                return sent;
            }
        };
        let offer = self.inbound.as_mut().and_then(|inbound| inbound.offer.take());
        let Some(offer) = offer else {
            let ack = leg.ack(cseq(&attempt.invite), hub.config.max_forwards);
            let destination = leg.destination();
            self.legs.callee = Some(leg);
            if place.is_some_and(|place| self.has_agreed_early(place)) {
                let sent = hub.send_ack(ack, destination);
                self.accept_invite(hub, now, "");
                return sent;
            }
            if self.take_late_offer(hub, now, client, fork, response).is_some() {
                return None;
            }
            let sent = hub.send_ack(ack, destination);
            self.end_by_fault(hub, now, "The callee's answer has no usable offer");
            return sent;
        };
        if !attempt.invite.body().is_empty() {
            leg.description = Some(String::from_utf8_lossy(attempt.invite.body()).into());
        }
        let unacknowledged = Unacknowledged {
            client,
            cseq: cseq(&attempt.invite),
            fork: fork.to_owned(),
        };
        if !has_agreed {
            // Every order is known to be right here: the dialog is new.
            let _ = leg
                .negotiation
                .offer_sent()
                .and_then(|()| leg.negotiation.answer_received());
        }
        self.legs.callee = Some(leg);
        if self.exchange.is_some() {
            // What it changes comes with its own answer; what was agreed before is agreed.
            let sent = self.send_ack(hub, &unacknowledged);
            self.accept_invite(hub, now, "");
            return sent;
        }
        let early = self
            .outbound
            .forks
            .iter()
            .find(|it| it.client == client && it.callee_tag == fork);
        let session = match headers::has_description(response) {
            // What a 2xx repeats of a reliable response is no new answer (RFC 6337 §2.2).
            _ if has_agreed => early.and_then(|fork| fork.answer.clone()),
            Ok(true) => hub.read_session(response.body()).ok(),
            Ok(false) => early.and_then(|fork| fork.answer.clone()),
            Err(_) => None,
        };
        let answer = session.map(|session| offer.answered(Side::Caller, &offers, session));
        let answer = match answer.unwrap_or(Err(Misfit::Missing)) {
            Ok(answer) => answer,
            Err(misfit) => {
                misfit.count(hub);
                let sent = self.send_ack(hub, &unacknowledged);
                self.end_by_fault(hub, now, misfit.to_string());
                return sent;
            }
        };
        let lines = match self.outbound.adopted {
            // An UPDATE may have changed them since.
            Some(_) => self.agreed.clone(),
            None => answer.lines.clone(),
        };
        self.answer = Some(Box::new(answer));
        if self.media.has(&lines) {
            let sent = self.send_ack(hub, &unacknowledged);
            self.answer_settled(hub, now, Ok(()));
            return sent;
        }
        self.unacknowledged = Some(Box::new(unacknowledged));
        self.media.update(hub, now, Step::Answer, lines);
        None
    }

    /// One branch has answered: it is the callee, and the others are told to stop. Gives the keys that it was offered.
    fn choose(&mut self, hub: &mut Hub, now: Timestamp, client: ClientKey) -> Vec<Ours> {
        let inbound = self.inbound.as_mut();
        let offers = inbound.map(|inbound| std::mem::take(&mut inbound.offers));
        let Some(branch) = self.outbound.take_branch(client) else {
            return Vec::new();
        };
        let hop = self.outbound.hops.get(branch.hop);
        let dialog = self.outbound.dialogs.get(branch.dialog);
        if let (Some(hop), Some((call_id, _))) = (hop, dialog) {
            self.record.tried(hop.destination.remote, call_id);
            self.policies.callee = hop.transfer;
            self.srtp.callee = hop.srtp_terms();
        }
        self.cancel_losers(hub, now);
        let of_branch = offers.and_then(|offers| offers.into_iter().nth(branch.dialog));
        of_branch.unwrap_or_default()
    }

    fn send_ack(&self, hub: &mut Hub, unacknowledged: &Unacknowledged) -> Option<Transmit> {
        let leg = self.legs.callee.as_ref()?;
        let ack = leg.ack(unacknowledged.cseq, hub.config.max_forwards);
        hub.send_ack(ack, leg.destination())
    }

    /// Sends the ACK that waits for the media node, if one does.
    pub(super) fn acknowledge_answer(&mut self, hub: &mut Hub) {
        let Some(unacknowledged) = self.unacknowledged.take() else {
            return;
        };
        let sent = self.send_ack(hub, &unacknowledged);
        if let Some(Client::Attempt(attempt)) = hub.clients.get_mut(&unacknowledged.client) {
            attempt.acknowledged(&unacknowledged.fork, sent);
        }
    }

    /// The callee broke a rule after its 2xx: it gets a BYE, the caller 502.
    fn end_by_fault(&mut self, hub: &mut Hub, now: Timestamp, text: impl Into<Cow<'static, str>>) {
        self.end(hub, now, Ending::of(Cause::failed(Released::Us, 502, text)));
    }

    /// The media node knows of the answer, or refused it: the caller gets its 2xx, or its failure.
    pub(super) fn answer_settled(&mut self, hub: &mut Hub, now: Timestamp, result: Result<(), MediaError>) {
        self.acknowledge_answer(hub);
        if let Err(error) = result {
            self.acknowledge_late(hub, None);
            self.end_without_media(hub, now, error);
            return;
        }
        let body = if let Some(answer) = self.answer.take() {
            if self.outbound.adopted.is_none() {
                self.agree(&answer.lines);
            }
            self.describe_answer(Side::Caller, &answer)
        } else if let Some(mut late) = self.late.take() {
            let Ok(offers) = self.offers(hub, Side::Caller) else {
                self.late = Some(late);
                self.acknowledge_late(hub, None);
                self.end_by_fault(hub, now, "SRTP cannot be offered to the caller");
                return;
            };
            let body = self.describe_offer(Side::Caller, &late.offer, &offers);
            late.offers = offers;
            self.late = Some(late);
            body
        } else {
            return;
        };
        self.accept_invite(hub, now, &body);
    }

    /// Sends the 2xx to the caller's INVITE.
    pub(super) fn accept_invite(&mut self, hub: &mut Hub, now: Timestamp, body: &str) {
        let place = self
            .outbound
            .forks
            .iter()
            .position(|fork| self.is_answered_fork(fork));
        let fork = place.map(|place| &mut self.outbound.forks[place]);
        let tag = fork.as_ref().map(|fork| fork.caller_tag.clone());
        let mut provisionals = fork.and_then(|fork| fork.provisionals.take());
        if let (Some(place), Some(waiting)) = (place, &mut provisionals) {
            waiting.finish();
            if waiting.holds_success() {
                // RFC 3262 §3: no 2xx while a description waits for its PRACK.
                self.outbound.forks[place].provisionals = provisionals;
                if let Some(inbound) = &mut self.inbound {
                    inbound.held = Some(body.into());
                }
                return;
            }
        }
        let early_leg = place.and_then(|place| self.early_slot(place, Side::Caller).take());
        let Some(inbound) = self.inbound.take() else {
            return;
        };
        let tag = tag.unwrap_or_else(|| {
            let tag = hub.tag();
            self.add_caller_tag(hub, tag.clone());
            tag
        });
        let is_described = provisionals.as_ref().is_some_and(|it| it.is_described());
        let contact = hub.contact_at(&inbound.source);
        let leg = match early_leg {
            Some(mut leg) => {
                leg.dialog().confirm();
                Some(leg)
            }
            None => Leg::of_caller(&inbound.invite, &tag, &inbound.source, contact.clone()),
        };
        let response = ResponseBuilder::for_request(&inbound.invite, 200, "OK")
            .to_tag(&tag)
            .record_routes()
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Allow, headers::ALLOW)
            .header(HeaderName::Supported, headers::SUPPORTED);
        let agreed = Self::agree_session(hub, &inbound.invite, None);
        let response = session::agree(response, agreed.as_ref());
        let accepted = self.accepted.take();
        let response = accepted.iter().fold(response, |response, accepted| {
            headers::pass_back(response, accepted)
        });
        // An answer that the caller has in a reliable response is not given again (RFC 6337 §2.2).
        let response = match is_described {
            true => response.build(),
            false => response.describe(body).build(),
        };
        let (Some(mut leg), Ok(response)) = (leg, response) else {
            // The INVITE was checked for all that these need.
            tracing::error!("the 2xx to the caller could not be made");
            self.inbound = Some(inbound);
            self.end(
                hub,
                now,
                Ending::of(Cause::failed(Released::Us, 500, "Internal fault")),
            );
            return;
        };
        // Every order is known to be right here: the dialog is new.
        let _ = match self.late {
            Some(_) => leg.negotiation.offer_sent(),
            None if is_described => Ok(()),
            None => leg
                .negotiation
                .offer_received()
                .and_then(|()| leg.negotiation.answer_sent()),
        };
        let timers = &hub.config.transactions.timers;
        let first = leg.await_ack(now, timers, &inbound.source, &inbound.invite, &response);
        if !is_described {
            leg.description = Some(body.into());
        }
        if let Some(accept) = &mut leg.accept {
            accept.provisionals = provisionals;
        }
        self.legs.caller = Some(leg);
        hub.deadlines.clear(self.key, Deadline::Provisional);
        self.phase = Phase::Answered;
        self.outbound.adopted = None;
        self.rest(hub);
        hub.counters.calls_answered += 1;
        hub.output(Output::Cdr(self.record.answered(now)));
        hub.respond_with(now, inbound.server, response);
        hub.deadlines.set(self.key, Deadline::Accept(Side::Caller), first);
        hub.deadlines
            .set(self.key, Deadline::Duration, now + hub.config.duration_max);
        self.session_answered(hub, now, Side::Caller, &inbound.invite, agreed.as_ref());
        if let Some(accepted) = &accepted {
            self.session_accepted(hub, now, Side::Callee, accepted);
        }
        tracing::info!("answered");
    }

    fn is_answered_fork(&self, fork: &Fork) -> bool {
        let ours = self.outbound.dialogs.get(fork.dialog);
        let is_it = |leg: &Leg| {
            leg.remote_tag() == fork.callee_tag && ours.is_some_and(|(_, tag)| leg.local_tag() == tag)
        };
        self.legs.callee.as_ref().is_some_and(is_it)
    }

    /// An ACK for a 2xx of ours.
    pub(super) fn handle_ack(&mut self, hub: &mut Hub, now: Timestamp, side: Side, ack: &Message) {
        let Some(leg) = &mut self.legs[side] else { return };
        if leg.local_tag() != tag_of(ack, HeaderName::To)
            || leg.accept.take_if(|accept| accept.cseq == cseq(ack)).is_none()
        {
            return;
        }
        hub.deadlines.clear(self.key, Deadline::Accept(side));
        if leg.bye == Bye::Wanted {
            leg.bye = Bye::No;
            self.hang_up(hub, now, side, None);
        }
        self.join_picked_up(hub, now);
        if self
            .late
            .as_ref()
            .is_some_and(|late| late.offerer == side.other())
        {
            self.take_late_answer(hub, now, side, ack);
        }
    }

    /// Our 2xx to `side` has no ACK yet: it is sent again, or given up, and the call with it (RFC 3261 §13.3.1.4).
    pub(super) fn repeat_accept(&mut self, hub: &mut Hub, now: Timestamp, side: Side) {
        let Some(leg) = &mut self.legs[side] else { return };
        let Some(accept) = &mut leg.accept else { return };
        match accept.retransmit.handle_timeout(now) {
            Some(AcceptStep::Send(transmit)) => {
                hub.deadlines
                    .set(self.key, Deadline::Accept(side), accept.retransmit.poll_timeout());
                hub.output(Output::Send(transmit));
            }
            None => hub
                .deadlines
                .set(self.key, Deadline::Accept(side), accept.retransmit.poll_timeout()),
            Some(AcceptStep::GiveUp) => {
                hub.counters.unacknowledged += 1;
                leg.accept = None;
                if leg.bye == Bye::Wanted {
                    leg.bye = Bye::No;
                    self.hang_up(hub, now, side, None);
                }
                self.acknowledge_late(hub, None);
                let cause = Cause::ended(Released::Us, 102, "No ACK for the 2xx");
                self.end(hub, now, Ending::of(cause));
            }
        }
    }
}
