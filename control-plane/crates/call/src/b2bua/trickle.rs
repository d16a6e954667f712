//! Candidates that come one by one (RFC 8838), in INFO (RFC 8840).
//!
//! Ours all stand in the first description, and its end of candidates with them. The node answers checks and makes none (ICE lite) for a
//! party that has candidates to gather: that party's checks show where it is (RFC 8445 §7.3.1.3), so what it tells later is taken, and not used.

use sans_io::Timestamp;
use sip::message::{RequestBuilder, ResponseBuilder};
use sip::transaction::ServerKey;
use sip::{HeaderName, Message};

use super::call::{Call, Phase};
use super::hub::Hub;
use super::line::Line;
use super::requests::{Refusal, check};
use super::side::Side;

/// The Info Package (RFC 8840 §10.2), and the type of its bodies (§9).
const PACKAGE: &str = "trickle-ice";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Whether an INFO is of the package.
pub(super) fn is_trickle(request: &Message) -> bool {
    request.header(HeaderName::InfoPackage).is_some_and(|value| {
        let package = value.split(';').next().unwrap_or_default();
        package.trim().eq_ignore_ascii_case(PACKAGE)
    })
}

/// A message of ours that describes a session. Where the description has ICE, its receiver is told that candidates may follow.
pub(super) trait Describe: Sized {
    /// With that description as its body.
    fn describe(self, description: &str) -> Self;
}

impl Describe for RequestBuilder {
    fn describe(self, description: &str) -> Self {
        let builder = match has_ice(description) {
            true => self.header(HeaderName::RecvInfo, PACKAGE),
            false => self,
        };
        builder.body("application/sdp", description.as_bytes())
    }
}

impl Describe for ResponseBuilder<'_> {
    fn describe(self, description: &str) -> Self {
        let builder = match has_ice(description) {
            true => self.header(HeaderName::RecvInfo, PACKAGE),
            false => self,
        };
        builder.body("application/sdp", description.as_bytes())
    }
}

fn has_ice(description: &str) -> bool {
    description.contains("\r\na=ice-ufrag:")
}

impl Call {
    /// An INFO of the package is for us and nobody else: the other party has candidates of its own kind, or none.
    pub(super) fn take_candidates(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        request: &Message,
    ) -> Result<(), Refusal> {
        check(hub, request, false)?;
        self.check_order(side, request)?;
        if self.phase == Phase::Ended {
            return Err(Refusal::of(481));
        }
        if !self.media.lines()[side].iter().any(Line::has_ice) {
            // We have not said that we receive it there, or no longer do (RFC 6086 §4.2.2).
            return Err(Refusal::with(469, HeaderName::RecvInfo, ""));
        }
        let content_type = request.content_type().unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default();
        if !content_type.trim().eq_ignore_ascii_case(FRAGMENT) {
            return Err(Refusal::with(415, HeaderName::Accept, FRAGMENT));
        }
        let tag = hub.tag();
        let response = ResponseBuilder::for_request(request, 200, "OK").to_tag(&tag);
        hub.respond(now, server, response);
        Ok(())
    }
}
