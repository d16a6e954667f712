//! Requests: those within a call, and all the others, each of which gets its answer. What begins a call is in `admission`.

use sans_io::Timestamp;
use sip::message::{RequestBuilder, ResponseBuilder, reason_phrase};
use sip::transaction::ServerKey;
use sip::{Destination, HeaderName, Message, Method, Source};

use super::B2bua;
use super::call::{Call, Phase};
use super::exchange::Exchange;
use super::headers::{self, ALLOW};
use super::hub::{Client, Hub, tag_of};
use super::offered::Unfit;
use super::outside::{capabilities, check_options};
use super::side::Side;
use super::trickle;
use crate::{Asked, Output, Placement};

/// Why a request is refused: the status, and what goes with it.
pub(super) struct Refusal {
    pub(super) status: u16,
    /// For the record; the status tells when there is none.
    pub(super) text: Option<String>,
    pub(super) header: Option<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn of(status: u16) -> Self {
        Self {
            status,
            text: None,
            header: None,
        }
    }

    pub(super) fn with(status: u16, name: HeaderName, value: impl Into<String>) -> Self {
        Self {
            status,
            text: None,
            header: Some((name, value.into())),
        }
    }

    /// The security of what is offered is not to be had (RFC 3261 §20.43 for the warning).
    pub(super) fn of_security(refusal: Unfit) -> Self {
        Self {
            text: Some(refusal.to_string()),
            ..Self::with(488, HeaderName::Warning, format!("399 ringpath \"{refusal}\""))
        }
    }

    /// The user has as many calls as it may have: 403, since its server is well and another one would say the same.
    pub(super) fn at_user_limit() -> Self {
        let text = "The user has as many calls as it may have";
        Self {
            text: Some(text.to_owned()),
            ..Self::with(403, HeaderName::Warning, format!("399 ringpath \"{text}\""))
        }
    }

    /// Not now: 503 with `Retry-After` (RFC 3261 §21.5.4).
    pub(super) fn unavailable(hub: &Hub) -> Self {
        Self::with(503, HeaderName::RetryAfter, hub.config.retry_after_s.to_string())
    }

    /// An offer out of turn: a random wait of 0 to 10 seconds (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn later(hub: &mut Hub) -> Self {
        let seconds = hub.random.below(11).to_string();
        Self::with(500, HeaderName::RetryAfter, seconds)
    }

    /// The method is not one of ours: 501 if we have never heard of it, else 405 (RFC 3261 §8.2.1).
    pub(super) fn method(method: Method<'_>) -> Self {
        match method {
            Method::Other(_) => Self::with(501, HeaderName::Allow, ALLOW),
            _ => Self::with(405, HeaderName::Allow, ALLOW),
        }
    }
}

pub(super) fn refuse(hub: &mut Hub, now: Timestamp, key: ServerKey, request: &Message, refusal: Refusal) {
    hub.counters.requests_refused += 1;
    let tag = hub.tag();
    hub.respond(now, key, refusal.response(request).to_tag(&tag));
}

/// The checks that every request but BYE passes first (RFC 3261 §8.2.2.3): what `Max-Forwards` of our copy becomes. One
/// that is passed on must have hops left (RFC 7332).
pub(super) fn check(hub: &Hub, request: &Message, is_passed_on: bool) -> Result<u8, Refusal> {
    if let Some(tags) = headers::unsupported(request) {
        return Err(Refusal::with(420, HeaderName::Unsupported, tags));
    }
    match headers::max_forwards(request, hub.config.max_forwards) {
        None if is_passed_on => Err(Refusal::of(483)),
        hops => Ok(hops.unwrap_or(0)),
    }
}

/// A session interval that is too short is 422 (RFC 4028 §9).
pub(super) fn check_session(hub: &Hub, request: &Message) -> Result<(), Refusal> {
    let refusal = |min_s: u32| Refusal::with(422, HeaderName::MinSe, min_s.to_string());
    hub.config.session.check(request).map_err(refusal)
}

/// The session description in a request.
pub(super) fn offer(hub: &mut Hub, request: &Message) -> Result<Option<sdp::Session>, Refusal> {
    let unsupported = |_| Refusal::with(415, HeaderName::Accept, "application/sdp");
    if !headers::has_description(request).map_err(unsupported)? {
        return Ok(None);
    }
    let session = hub.read_session(request.body()).map_err(|error| {
        hub.counters.descriptions_refused += 1;
        tracing::debug!(%error, "refused a session description");
        let status = if error == sdp::ParseError::TooLong {
            413
        } else {
            488
        };
        Refusal::of(if error == sdp::ParseError::Syntax {
            400
        } else {
            status
        })
    })?;
    Ok(Some(session))
}

impl B2bua {
    pub(super) fn handle_request(
        &mut self,
        now: Timestamp,
        key: ServerKey,
        source: Source,
        request: &Message,
    ) {
        let Some(method) = request.method() else { return };
        let local_tag = tag_of(request, HeaderName::To);
        if local_tag.is_empty() {
            self.handle_new(now, key, source, request, method);
            return;
        }
        let found = self.hub.dialog(request.call_id().unwrap_or(""), local_tag);
        if let (Some((call, side)), Method::Refer) = (found, method) {
            self.handle_refer(now, call, side, key, request);
            return;
        }
        let Some((call, side)) = found else {
            let status = if matches!(method, Method::Other(_)) {
                501
            } else {
                481
            };
            refuse(&mut self.hub, now, key, request, Refusal::of(status));
            return;
        };
        self.with_call(call, |call, hub| {
            call.handle_request(hub, now, side, key, source, request)
        });
    }

    /// A request outside of any dialog.
    fn handle_new(
        &mut self,
        now: Timestamp,
        key: ServerKey,
        source: Source,
        request: &Message,
        method: Method<'_>,
    ) {
        let hub = &mut self.hub;
        match method {
            Method::Invite => self.handle_invite(now, key, source, request),
            Method::Register if hub.config.has_registrar => {
                let asked = Asked {
                    key,
                    source,
                    request: request.clone(),
                    transfer: hub.config.caller_transfer,
                    srtp: hub.config.caller_srtp,
                };
                hub.output(Output::Register(Box::new(asked)));
            }
            // All others were answered before they had a transaction.
            other => refuse(hub, now, key, request, Refusal::method(other)),
        }
    }

    fn handle_invite(&mut self, now: Timestamp, key: ServerKey, source: Source, request: &Message) {
        if self.draining || self.calls.len() >= self.calls_max_for(request) {
            self.hub.counters.calls_refused_at_limit += 1;
            let refusal = Refusal::unavailable(&self.hub);
            self.refuse_invite(now, key, source, request, refusal);
            return;
        }
        let asked = Asked {
            key,
            source,
            request: request.clone(),
            transfer: self.hub.config.caller_transfer,
            srtp: self.hub.config.caller_srtp,
        };
        match self.hub.config.has_registrar {
            true => self.hub.output(Output::Place(Box::new(asked))),
            false => self.place_call(now, &asked, Placement::Routed, None),
        }
    }

    /// How many calls there may be for this one to begin: the last places are for emergency calls.
    fn calls_max_for(&self, invite: &Message) -> usize {
        let config = &self.hub.config;
        let others_max = config.calls_max.saturating_sub(config.emergency_calls_reserved);
        if self.calls.len() < others_max {
            return others_max;
        }
        let uri = invite.request_uri();
        match uri.is_some_and(|uri| config.emergency_numbers.includes(uri)) {
            true => config.calls_max,
            false => others_max,
        }
    }
}

/// Answers an OPTIONS within a dialog.
fn answer_options(hub: &mut Hub, now: Timestamp, key: ServerKey, request: &Message) {
    if let Err(refusal) = check_options(hub, request) {
        refuse(hub, now, key, request, refusal);
        return;
    }
    let tag = hub.tag();
    hub.respond(now, key, capabilities(request).to_tag(&tag));
}

impl Call {
    /// A request within a dialog of `side`, early or confirmed.
    fn handle_request(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        key: ServerKey,
        source: Source,
        request: &Message,
    ) {
        let Some(method) = request.method() else { return };
        if !self.is_peer(side, request) && self.handle_outsider(hub, now, key, request) {
            return;
        }
        let result = match method {
            _ if !self.is_peer(side, request) => Err(Refusal::of(481)),
            Method::Bye => self
                .check_order(side, request)
                .map(|()| self.handle_bye(hub, now, side, key, request)),
            Method::Options => {
                answer_options(hub, now, key, request);
                Ok(())
            }
            Method::Update if matches!(self.phase, Phase::Calling) => {
                self.take_early_update(hub, now, side, key, source, request)
            }
            Method::Invite | Method::Update => self.take_exchange(hub, now, side, key, source, request),
            Method::Info if trickle::is_trickle(request) => {
                self.take_candidates(hub, now, side, key, request)
            }
            Method::Info => self.relay(hub, now, side, key, request),
            Method::Notify => self.pass_notify(hub, now, side, key, request),
            Method::Prack => self.handle_prack(hub, now, side, key, source, request),
            other => Err(Refusal::method(other)),
        };
        if let Err(refusal) = result {
            refuse(hub, now, key, request, refusal);
        }
    }

    /// Whether the request's tags are those of the dialog: the standing one, or an early one of the caller.
    pub(super) fn is_peer(&mut self, side: Side, request: &Message) -> bool {
        let (theirs, ours) = (tag_of(request, HeaderName::From), tag_of(request, HeaderName::To));
        match (&self.legs[side], side) {
            (Some(leg), _) if leg.remote_tag() == theirs && leg.local_tag() == ours => true,
            (Some(_), _) if self.outbound.adopted.is_none() => false,
            (_, Side::Caller) => *self.caller_tag == *theirs,
            (_, Side::Callee) => self.early_leg(side, request).is_some(),
        }
    }

    /// Whether the request is in its order. Nothing else is checked of a BYE: whatever it requires, the party is leaving.
    pub(super) fn check_order(&mut self, side: Side, request: &Message) -> Result<(), Refusal> {
        let leg = match self.phase {
            Phase::Reserving | Phase::Calling | Phase::Answering => self.early_leg(side, request),
            Phase::Answered | Phase::Ended => None,
        };
        let leg = match leg {
            Some(_) => self.early_leg(side, request),
            None => self.legs[side].as_mut(),
        };
        match leg {
            Some(leg) => leg
                .dialog()
                .handle_request(request)
                .map_err(|error| Refusal::of(error.status())),
            None => Ok(()),
        }
    }

    fn take_exchange(
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
        check_session(hub, request)?;
        let is_refresh = request.method() == Some(Method::Update)
            && request.body().is_empty()
            && request.has(HeaderName::SessionExpires);
        if is_refresh && self.phase == Phase::Answered {
            self.comes_by(side, &source);
            return self.answer_refresh(hub, now, side, server, request);
        }
        match self.exchange_conflict(side) {
            Some(500) => return Err(Refusal::later(hub)),
            Some(status) => return Err(Refusal::of(status)),
            None => {}
        }
        let offer = offer(hub, request)?;
        self.comes_by(side, &source);
        let exchange = Exchange::new(side, server, source, request, max_forwards);
        self.handle_exchange(hub, now, exchange, offer);
        Ok(())
    }

    /// A request that is not refused for what is under way has come from a party: it is where that came from.
    fn comes_by(&mut self, side: Side, source: &Source) {
        if let Some(leg) = &mut self.legs[side] {
            leg.comes_by(source);
        }
    }

    /// Passes a request on that is the parties' own matter (RFC 6086 §2), with its body as it is; a body that names an
    /// address or a host name of its sender is refused, for the other side must not learn it.
    fn relay(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        request: &Message,
    ) -> Result<(), Refusal> {
        let max_forwards = check(hub, request, true)?;
        self.check_order(side, request)?;
        if self.phase != Phase::Answered {
            return Err(Refusal::of(if self.phase == Phase::Ended { 481 } else { 500 }));
        }
        let body = String::from_utf8_lossy(request.body());
        if !headers::tells_no_place(&body, &headers::own_names(request)) {
            return Err(Refusal::of(415));
        }
        let Some(leg) = &mut self.legs[side.other()] else {
            return Err(Refusal::of(500));
        };
        let method = request
            .method()
            .map_or("INFO", |method| method.as_str())
            .to_owned();
        let mut builder = headers::pass_through(leg.request(&method, max_forwards), request);
        if !request.body().is_empty() {
            builder = builder.body(
                request.content_type().unwrap_or("application/octet-stream"),
                request.body(),
            );
        }
        pass_on(hub, now, builder, leg.destination(), server, request)
    }
}

/// Sends our copy of a request whose response is the other party's to give.
pub(super) fn pass_on(
    hub: &mut Hub,
    now: Timestamp,
    builder: RequestBuilder,
    destination: Destination,
    server: ServerKey,
    request: &Message,
) -> Result<(), Refusal> {
    let client = Client::Relay {
        server,
        request: Box::new(request.clone()),
    };
    let sent = hub.send(now, builder, destination, |_| client);
    sent.map(|_| ()).ok_or_else(|| Refusal::of(503))
}

/// The response to a request that was passed on goes back: status and phrase, and no more.
pub(super) fn relay_response(
    hub: &mut Hub,
    now: Timestamp,
    server: ServerKey,
    request: &Message,
    response: &Message,
) {
    let status = response.status().unwrap_or(500);
    let passed = headers::failure_status(status);
    let (passed, phrase) = match status {
        200..300 => (status, headers::phrase(response)),
        _ if passed == status => (status, headers::phrase(response)),
        _ => (passed, reason_phrase(passed).to_owned()),
    };
    let mut builder = ResponseBuilder::for_request(request, passed, &phrase);
    // RFC 4488 §4: whether there will be NOTIFYs.
    if let Some(wants) = headers::refer_sub(response) {
        builder = builder.header(HeaderName::ReferSub, wants);
    }
    hub.respond(now, server, builder);
}
