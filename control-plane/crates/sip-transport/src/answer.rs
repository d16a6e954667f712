//! Answers that need no transaction: to malformed requests and to those that there is no room for.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use sip::message::{ResponseBuilder, reason_phrase};
use sip::transaction::response_destination;
use sip::{HeaderName, Message, Source, Transmit};

/// Makes the tag of `To`: the same for a request and its repetitions (RFC 3261 §8.2.7), another in each process, and
/// not to be guessed.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    secret: RandomState,
}

impl Answers {
    /// The same for a request and its repetitions, different for different requests.
    pub(crate) fn fingerprint(&self, source: &Source, request: &Message) -> u64 {
        let branch = request.via().ok().and_then(|via| via.branch());
        let (call_id, cseq) = (
            request.header(HeaderName::CallId),
            request.header(HeaderName::CSeq),
        );
        self.secret.hash_one((call_id, branch, cseq, source.remote))
    }

    /// The answer `status` to `request`, which may be one that was not understood as a whole. `None` if it
    /// lacks what an answer is made from.
    pub(crate) fn of(
        &self,
        source: &Source,
        request: &Message,
        status: u16,
        retry_after_s: Option<u32>,
    ) -> Option<Transmit> {
        let via = request.via().ok();
        let number = self.fingerprint(source, request);
        let ip = source.remote.ip();
        let rport = via
            .as_ref()
            .and_then(|via| via.rport().map(|_| source.remote.port()));
        // A Via that cannot be read tells nothing, and the answer goes to where the request came from.
        let destination = response_destination(source, request).unwrap_or_else(|| (*source).into());
        let is_elsewhere = via.as_ref().is_some_and(|via| via.host.ip() != Some(ip));
        let received = (rport.is_some() || is_elsewhere).then_some(ip);
        // A broken request may be one that cannot be edited; then it is answered as it came.
        let edited = request.with_top_via_params(received, rport);
        let request = edited.as_ref().unwrap_or(request);
        let tag = format!("{number:016x}");
        let mut response = ResponseBuilder::for_request(request, status, reason_phrase(status)).to_tag(&tag);
        if let Some(least) = retry_after_s {
            response = response.header(
                HeaderName::RetryAfter,
                u64::from(least) + number % (5 * u64::from(least) + 1),
            );
        }
        Some(Transmit {
            destination,
            bytes: response.build().ok()?.bytes().clone(),
        })
    }
}
