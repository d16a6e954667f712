use sans_io::Timestamp;
use sdp::{NegotiationError, Session};
use sip::message::ResponseBuilder;
use sip::transaction::{ClientKey, ServerKey};
use sip::{HeaderName, Message, Method, Source};

use super::call::{Call, Phase};
use super::deadlines::Deadline;
use super::ending::Ending;
use super::headers;
use super::hub::{Client, Hub, Server};
use super::leg::cseq;
use super::line::{Line, Lines};
use super::media::Step;
use super::offered::{Answer, Misfit, Offered, Ours};
use super::session;
use super::side::{Both, Side};
use super::trickle::Describe as _;
use crate::{Cause, MediaError, Released};

/// A re-INVITE, an UPDATE, or an offer in a PRACK of one party on its way to the other. A call has at most one: whoever comes second gets
/// 491 or 500 (RFC 3261 §14.2, RFC 3311 §5.2).
#[derive(Debug)]
pub(super) struct Exchange {
    /// Who sent it.
    pub(super) from: Side,
    pub(super) server: ServerKey,
    pub(super) source: Source,
    pub(super) request: Message,
    /// What `Max-Forwards` becomes in our copy.
    pub(super) max_forwards: u8,
    /// The offer in it; `None` asks the other party for one, or is no matter of media (UPDATE).
    pub(super) offer: Option<Offered>,
    /// What of it was offered to the other party.
    pub(super) offers: Vec<Ours>,
    /// Our copy's transaction, until its final response.
    pub(super) client: Option<ClientKey>,
    /// The other party's answer, while the media node is told of it.
    pub(super) answer: Option<Answer>,
    /// The description in our copy.
    pub(super) sent: Option<Box<str>>,
    /// The media node was asked for lines that are to be taken back if the exchange fails.
    pub(super) extended: bool,
}

impl Exchange {
    pub(super) fn new(
        from: Side,
        server: ServerKey,
        source: Source,
        request: &Message,
        max_forwards: u8,
    ) -> Self {
        Self {
            from,
            server,
            source,
            request: request.clone(),
            max_forwards,
            offer: None,
            offers: Vec::new(),
            client: None,
            answer: None,
            sent: None,
            extended: false,
        }
    }

    fn is_invite(&self) -> bool {
        self.request.method() == Some(Method::Invite)
    }
}

impl Call {
    /// The status that a new re-INVITE or UPDATE of `side` gets because of what is under way; `None` lets it in.
    pub(super) fn exchange_conflict(&self, side: Side) -> Option<u16> {
        if self.phase != Phase::Answered {
            return Some(if self.phase == Phase::Ended { 481 } else { 500 });
        }
        let refreshes = |side: Side| {
            self.legs[side]
                .as_ref()
                .is_some_and(|leg| leg.refreshes_by_invite())
        };
        let is_busy = |side: Side| self.legs[side].as_ref().is_none_or(|leg| leg.is_busy());
        match &self.exchange {
            // Its own earlier one is unanswered: 500 with Retry-After. Ours to it is: 491.
            Some(exchange) if exchange.from == side => Some(500),
            Some(_) => Some(491),
            None if self.is_joining() => Some(491),
            None if refreshes(side) || refreshes(side.other()) => Some(491),
            None if is_busy(side) => Some(500),
            None if is_busy(side.other()) || self.late.is_some() => Some(491),
            None => None,
        }
    }

    /// Takes a re-INVITE or UPDATE that has passed the checks of any request. An `offer` in it has its new lines reserved
    /// first; the request then goes to the other party.
    pub(super) fn handle_exchange(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        mut exchange: Exchange,
        offer: Option<Session>,
    ) {
        let side = exchange.from;
        let Some(offer) = offer else {
            self.start_exchange(hub, exchange);
            self.forward(hub, now);
            return;
        };
        let has_fewer_lines = offer.line_count() < self.agreed[side].len();
        let other_family = offer.has_usable_line() && offer.is_ipv6() != self.media.is_ipv6(side);
        if has_fewer_lines || other_family {
            // RFC 3264 §8: lines are never taken away. The leg's ports are of one family for the life of the call.
            hub.refuse(now, exchange.server, &exchange.request, 488);
            return;
        }
        let Ok(offer) = self.take_offer(hub, offer, side) else {
            hub.refuse(now, exchange.server, &exchange.request, 488);
            return;
        };
        let turn = self.legs[side]
            .as_mut()
            .map(|leg| leg.negotiation.offer_received());
        if let Some(Err(error)) = turn {
            let status = if error == NegotiationError::Glare {
                491
            } else {
                500
            };
            hub.refuse(now, exchange.server, &exchange.request, status);
            return;
        }
        let lines = self.reservation(side, &offer);
        exchange.extended = *lines != *self.media.lines();
        exchange.offer = Some(offer);
        self.start_exchange(hub, exchange);
        // Asked even when nothing is new: a node that refuses or is silent now is found out before the other party
        // has agreed to something that cannot be had.
        self.media.update(hub, now, Step::Extend, lines);
    }

    fn start_exchange(&mut self, hub: &mut Hub, exchange: Exchange) {
        if exchange.is_invite() {
            hub.servers.insert(exchange.server, Server::Reinvite(self.key));
        }
        self.exchange = Some(Box::new(exchange));
    }

    /// The lines that must exist while `offer` waits for its answer: those that carry media now stay as they are,
    /// new and newly enabled ones get ports.
    pub(super) fn reservation(&self, offerer: Side, offer: &Offered) -> Lines {
        let is_secured = self.srtp[offerer.other()].is_secured();
        let mut lines = Both::clone(&offer.proposal(offerer, is_secured));
        for side in Side::BOTH {
            for (line, agreed) in lines[side].iter_mut().zip(&self.agreed[side]) {
                if agreed.spec.enabled {
                    // Early feedback comes and goes with what is offered now.
                    *line = Line {
                        has_feedback: line.has_feedback,
                        ..agreed.clone()
                    };
                }
            }
        }
        Lines::new(lines)
    }

    /// The ports for an offer within the dialog are there, or not.
    pub(super) fn extended(&mut self, hub: &mut Hub, now: Timestamp, result: Result<(), MediaError>) {
        if !self.media.is_idle() {
            // The request that this was for was cancelled, and the one after it waits for its own lines.
            return;
        }
        let Some(exchange) = self
            .exchange
            .as_ref()
            .filter(|exchange| exchange.client.is_none())
        else {
            // It was cancelled meanwhile; one that has been forwarded already is a later one, without an offer.
            self.restore_media(hub, now);
            return;
        };
        let late = self.late.is_some();
        match result {
            Ok(()) if late => self.offer_late(hub, now),
            Ok(()) => self.forward(hub, now),
            Err(error) if late => {
                // The other party's 2xx must have an answer in its ACK, and there is none to give.
                let cause = Cause::ended(Released::Us, 41, format!("No media: {}", error.reason()));
                self.end(hub, now, Ending::of(cause));
            }
            Err(error) => {
                // A refusal changed nothing: the old media stays. After silence nobody knows; it is put right.
                let unsure = error == MediaError::Lost && exchange.extended;
                self.fail_exchange(hub, now, error.sip_status(), None);
                if unsure {
                    self.restore_media(hub, now);
                }
            }
        }
    }

    /// Sends the request of the exchange to the other party.
    fn forward(&mut self, hub: &mut Hub, now: Timestamp) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let to = exchange.from.other();
        let body = match &exchange.offer {
            None => None,
            Some(offer) => {
                let Ok(offers) = self.offers(hub, to) else {
                    self.exchange = Some(exchange);
                    self.fail_exchange(hub, now, 488, None);
                    return;
                };
                let body = self.describe_offer(to, offer, &offers);
                exchange.offers = offers;
                Some(body)
            }
        };
        let Some(leg) = &mut self.legs[to] else { return };
        let method = match exchange.request.method() {
            // The other party has had its PRACK (RFC 3262 §5): what else is offered before the answer is an UPDATE (RFC 3311).
            Some(Method::Prack) => "UPDATE",
            Some(Method::Update) => "UPDATE",
            _ => "INVITE",
        };
        let request = leg
            .request(method, exchange.max_forwards)
            .header(HeaderName::Allow, headers::ALLOW);
        let request = session::ask(request, leg, &hub.config.session);
        let mut request = headers::pass_through(request, &exchange.request);
        if let Some(body) = &body {
            // Out of turn only for a leg with an exchange of its own, and then we would not be here.
            let _ = leg.negotiation.offer_sent();
            exchange.sent = Some(body.as_str().into());
            request = request.describe(body);
        }
        let key = self.key;
        let destination = leg.destination();
        let client = hub.send(now, request, destination, |_| Client::Exchange {
            call: key,
            side: to,
            ack: None,
        });
        exchange.client = client;
        self.exchange = Some(exchange);
        match client {
            Some(_) => hub
                .deadlines
                .set(key, Deadline::Exchange, now + hub.config.reinvite_timeout),
            None => self.fail_exchange(hub, now, 503, None),
        }
    }

    /// The other party's 2xx.
    pub(super) fn handle_exchange_success(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        side: Side,
        response: &Message,
    ) {
        let max_forwards = hub.config.max_forwards;
        let Some(leg) = &mut self.legs[side] else { return };
        // A Contact that cannot be read leaves the target as it was.
        let _ = leg.dialog().handle_response(response);
        let is_invite = response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        let Some(exchange) = self
            .exchange
            .as_mut()
            .filter(|exchange| exchange.client == Some(client))
        else {
            if self.late.as_ref().is_some_and(|late| late.client == client) {
                // A repetition of a 2xx with an offer: its ACK waits for the answer (RFC 3261 §13.2.2.4).
                return;
            }
            // The call ended meanwhile; the 2xx wants its ACK all the same.
            if is_invite {
                let sent = hub.send_ack(leg.ack(cseq(response), max_forwards), leg.destination());
                keep_ack(hub, client, sent);
            }
            return;
        };
        exchange.client = None;
        if let Some(sent) = exchange.sent.take() {
            leg.description = Some(sent);
        }
        self.session_accepted(hub, now, side, response);
        let Some(exchange) = self.exchange.as_mut() else {
            return;
        };
        let Some(leg) = &mut self.legs[side] else { return };
        hub.deadlines.clear(self.key, Deadline::Exchange);
        let session = (headers::has_description(response) == Ok(true))
            .then(|| hub.read_session(response.body()).ok())
            .flatten();
        match &exchange.offer {
            None if is_invite => self.take_late_reoffer(hub, now, client, side, response, session),
            None => self.accept_exchange(hub, now, None),
            Some(offer) => {
                let answer = session.map(|session| offer.answered(exchange.from, &exchange.offers, session));
                if is_invite {
                    let sent = hub.send_ack(leg.ack(cseq(response), max_forwards), leg.destination());
                    keep_ack(hub, client, sent);
                }
                let answer = answer.unwrap_or(Err(Misfit::Missing));
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(misfit) => {
                        misfit.count(hub);
                        self.fail_exchange(hub, now, 502, None);
                        let cause = Cause::ended(Released::Us, 111, misfit.to_string());
                        self.end(hub, now, Ending::of(cause));
                        return;
                    }
                };
                let lines = answer.lines.clone();
                exchange.answer = Some(answer);
                if self.media.has(&lines) {
                    self.settled(hub, now, Ok(()));
                } else {
                    self.media.update(hub, now, Step::Settle, lines);
                }
            }
        }
    }

    /// The media node knows of the answer to an offer within the dialog, or refused it.
    pub(super) fn settled(&mut self, hub: &mut Hub, now: Timestamp, result: Result<(), MediaError>) {
        if let Err(error) = result {
            // The other party has agreed already, and cannot be asked to take that back: the parties would disagree.
            self.fail_exchange(hub, now, error.sip_status(), None);
            let cause = Cause::ended(Released::Us, 41, format!("No media: {}", error.reason()));
            self.end(hub, now, Ending::of(cause));
            return;
        }
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let from = exchange.from;
        let Some(answer) = exchange.answer.take() else {
            return;
        };
        self.agree(&answer.lines);
        let body = self.describe_answer(from, &answer);
        for side in Side::BOTH {
            if let Some(leg) = &mut self.legs[side] {
                let turn = if side == from {
                    leg.negotiation.answer_sent()
                } else {
                    leg.negotiation.answer_received()
                };
                // The offer came before; were it not so, the state would stay as it is.
                let _ = turn;
            }
        }
        self.accept_exchange(hub, now, Some(body));
    }

    /// Sends the 2xx to the party that began the exchange. Its new target counts from now (RFC 6141 §4.4).
    pub(super) fn accept_exchange(&mut self, hub: &mut Hub, now: Timestamp, body: Option<String>) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let side = exchange.from;
        let agreed = (self.phase == Phase::Answered)
            .then(|| Self::agree_session(hub, &exchange.request, self.legs[side].as_ref()))
            .flatten();
        let Some(leg) = &mut self.legs[side] else { return };
        if let Some(body) = &body {
            leg.description = Some(body.as_str().into());
        }
        // A Contact that cannot be read leaves the target as it was.
        let _ = leg.dialog().refresh_target(&exchange.request);
        let mut response = ResponseBuilder::for_request(&exchange.request, 200, "OK")
            .header(HeaderName::Contact, leg.contact())
            .header(HeaderName::Allow, headers::ALLOW);
        response = session::agree(response, agreed.as_ref());
        if let Some(body) = &body {
            response = response.describe(body);
        }
        let response = match response.build() {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(%error, "the 2xx to a re-INVITE could not be made");
                hub.refuse(now, exchange.server, &exchange.request, 500);
                return;
            }
        };
        if exchange.is_invite() {
            let timers = &hub.config.transactions.timers;
            let first = leg.await_ack(now, timers, &exchange.source, &exchange.request, &response);
            hub.deadlines.set(self.key, Deadline::Accept(side), first);
        }
        hub.respond_with(now, exchange.server, response);
        self.session_answered(hub, now, side, &exchange.request, agreed.as_ref());
    }

    /// The other party refused, was silent (408) or could not be reached (503). What was agreed before stays in force
    /// (RFC 6141 §3); a dialog that the other party doesn't know any more ends the call (RFC 3261 §12.2.1.2).
    pub(super) fn handle_exchange_failure(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        status: u16,
        response: Option<&Message>,
    ) {
        if self
            .exchange
            .as_ref()
            .is_none_or(|exchange| exchange.client != Some(client))
        {
            return;
        }
        hub.deadlines.clear(self.key, Deadline::Exchange);
        let extended = self.exchange.as_ref().is_some_and(|exchange| exchange.extended);
        self.fail_exchange(hub, now, headers::failure_status(status), response);
        if matches!(status, 408 | 481) {
            let cause = Cause::ended(Released::Us, 41, "The other party has lost the dialog");
            self.end(hub, now, Ending::of(cause));
        } else if extended {
            self.restore_media(hub, now);
        }
    }

    /// Answers the party that began the exchange with a failure, and goes back to what was agreed.
    fn fail_exchange(&mut self, hub: &mut Hub, now: Timestamp, status: u16, from: Option<&Message>) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        hub.deadlines.clear(self.key, Deadline::Exchange);
        if exchange.offer.is_some() {
            Side::BOTH.into_iter().for_each(|side| {
                if let Some(leg) = &mut self.legs[side] {
                    leg.negotiation.abandon();
                }
            });
        }
        // It is the offer that is refused, whatever the other party thinks of UPDATE: the PRACK has done its work.
        let status = match exchange.request.method() {
            Some(Method::Prack) if status != 487 && status != 408 => 488,
            _ => status,
        };
        let own = sip::message::reason_phrase(status);
        let passed = from
            .filter(|response| response.status() == Some(status))
            .map(headers::phrase);
        let phrase = passed.as_deref().unwrap_or(own);
        let mut response = ResponseBuilder::for_request(&exchange.request, status, phrase);
        let retry_after = from.and_then(headers::retry_after);
        if let Some(seconds) = retry_after.or((status == 503).then_some(hub.config.retry_after_s)) {
            response = response.header(HeaderName::RetryAfter, seconds);
        }
        // RFC 4320 §4.2: silence instead of 408 to an UPDATE; its own timer ends it.
        if exchange.is_invite() || status != 408 {
            hub.respond(now, exchange.server, response);
        }
    }

    /// Tells the media node to go back to what was agreed. Lines that were added stay, disabled: none are ever taken
    /// away.
    pub(super) fn restore_media(&mut self, hub: &mut Hub, now: Timestamp) {
        let mut lines = self.media.lines().clone();
        for side in Side::BOTH {
            for (index, line) in lines[side].iter_mut().enumerate() {
                match self.agreed[side].get(index) {
                    Some(agreed) => line.clone_from(agreed),
                    None => line.spec.enabled = false,
                }
            }
        }
        self.media.update(hub, now, Step::Restore, Lines::new(lines));
    }

    /// A CANCEL for a re-INVITE. It goes the same way, and the other party's final response decides: a 2xx that was
    /// faster stands, so that both parties go on agreeing.
    pub(super) fn cancel_exchange(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        server: ServerKey,
        cancel: &Message,
    ) {
        let Some(exchange) = self
            .exchange
            .as_ref()
            .filter(|exchange| exchange.server == server)
        else {
            return;
        };
        match exchange.client {
            Some(client) => {
                hub.cancel(now, client, headers::reason(cancel).as_deref());
            }
            // The answer is being settled: too late.
            None if exchange.answer.is_some() || self.late.is_some() => {}
            None => self.fail_exchange(hub, now, 487, None),
        }
    }

    /// The other party has not answered a re-INVITE in time: it is cancelled, and its end comes as a failure.
    pub(super) fn exchange_overdue(&mut self, hub: &mut Hub, now: Timestamp) {
        if let Some(client) = self.exchange.as_ref().and_then(|exchange| exchange.client) {
            // An UPDATE cannot be cancelled; its timer F ends it.
            hub.cancel(now, client, None);
        }
    }

    /// The call is over: an unanswered request gets 487 (RFC 3261 §15.1.2), and our copy of it is cancelled.
    pub(super) fn abandon_exchange(&mut self, hub: &mut Hub, now: Timestamp) {
        if let Some(client) = self.exchange.as_ref().and_then(|exchange| exchange.client) {
            hub.cancel(now, client, None);
        }
        self.fail_exchange(hub, now, 487, None);
    }
}

pub(super) fn keep_ack(hub: &mut Hub, client: ClientKey, sent: Option<sip::Transmit>) {
    if let Some(Client::Exchange { ack, .. }) = hub.clients.get_mut(&client) {
        *ack = sent.map(Box::new);
    }
}
