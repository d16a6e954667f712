//! Requests outside of any dialog that begin nothing: answered without a transaction, since nothing comes of them and anybody
//! can send them (RFC 3261 §8.2.7).

use sip::message::{ResponseBuilder, Scheme, Uri, reason_phrase};
use sip::transaction::response_destination;
use sip::{HeaderName, Message, Method, Source, Transmit};

use super::B2bua;
use super::headers::{self, ALLOW};
use super::hub::{Hub, tag_of};
use super::requests::{Refusal, check};
use crate::Output;

impl B2bua {
    /// Answers such a request; `false` if it is another, or the repetition of one that has a transaction.
    pub(super) fn answer_outside(&mut self, source: &Source, request: &Message) -> bool {
        let Some(method) = request.method() else {
            return false;
        };
        if !tag_of(request, HeaderName::To).is_empty() {
            return false;
        }
        let hub = &self.hub;
        let result = match method {
            Method::Invite | Method::Ack | Method::Cancel => return false,
            Method::Register if hub.config.has_registrar => return false,
            // It asks what an INVITE would get (§11.2).
            Method::Options if self.draining => Err(Refusal::unavailable(hub)),
            Method::Options => check_options(hub, request),
            Method::Bye | Method::Info | Method::Update | Method::Prack => Err(Refusal::of(481)),
            // Taken within a call alone.
            Method::Refer => Err(Refusal::of(403)),
            other => Err(Refusal::method(other)),
        };
        let Some((request, tag)) = self.hub.layer.stateless(source, request) else {
            return false;
        };
        self.hub.counters.requests_without_state += 1;
        let response = match result {
            Ok(()) => capabilities(&request),
            Err(refusal) => {
                self.hub.counters.requests_refused += 1;
                refusal.response(&request)
            }
        };
        if let (Ok(response), Some(destination)) = (
            response.to_tag(&tag).build(),
            response_destination(source, &request),
        ) {
            let bytes = response.bytes().clone();
            self.hub.output(Output::Send(Transmit { destination, bytes }));
        }
        true
    }
}

impl Refusal {
    /// The response, without a tag in `To`.
    pub(super) fn response<'r>(&self, request: &'r Message) -> ResponseBuilder<'r> {
        let response = ResponseBuilder::for_request(request, self.status, reason_phrase(self.status));
        match &self.header {
            Some((name, value)) => response.header(*name, value),
            None => response,
        }
    }
}

/// Whether an OPTIONS gets a 200 (RFC 3261 §11.2).
pub(super) fn check_options(hub: &Hub, request: &Message) -> Result<(), Refusal> {
    let scheme = Uri::parse(request.request_uri().unwrap_or("")).map(|uri| uri.scheme());
    if !matches!(scheme, Ok(Scheme::Sip | Scheme::Sips | Scheme::Tel)) {
        // §8.2.2.1.
        return Err(Refusal::of(416));
    }
    check(hub, request, false).map(drop)
}

/// What we can do, without a tag in `To`.
pub(super) fn capabilities(request: &Message) -> ResponseBuilder<'_> {
    ResponseBuilder::for_request(request, 200, "OK")
        .header(HeaderName::Allow, ALLOW)
        .header(HeaderName::Accept, "application/sdp")
        .header(HeaderName::Supported, headers::SUPPORTED)
}
