use std::time::Duration;

use sans_io::Timestamp;
use sip::transaction::ServerKey;
use sip::{HeaderName, Message, Method};

use super::refer::Referred;
use crate::b2bua::B2bua;
use crate::b2bua::call::Call;
use crate::b2bua::headers;
use crate::b2bua::hub::{CallKey, Hub, tag_of};
use crate::b2bua::requests::{Refusal, check, pass_on, refuse};
use crate::b2bua::side::Side;

impl B2bua {
    /// Passes a REFER on to the other party, who decides: the target under our name, and `Replaces` with the ids by which the
    /// target itself knows the dialog.
    #[expect(clippy::too_many_arguments, reason = "two dialogs and a request between them")]
    pub(super) fn pass_refer(
        &mut self,
        now: Timestamp,
        call: CallKey,
        side: Side,
        server: ServerKey,
        request: &Message,
        referred: &Referred,
        replaced: Option<(CallKey, Side)>,
        max_forwards: u8,
    ) {
        let mapped = replaced.and_then(|(key, side)| {
            let leg = self.calls.get(&key)?.legs[side.other()].as_ref()?;
            let (call_id, ours) = leg.id();
            Some(format!("{call_id};to-tag={};from-tag={ours}", leg.remote_tag()))
        });
        // Ids of a dialog that is not ours are the transferor's own: they pass as they are.
        let replaces = mapped.or_else(|| referred.replaces_text.clone());
        let mut result = Err(Refusal::of(481));
        self.with_call(call, |call, hub| {
            result = call.pass_on(
                hub,
                now,
                side,
                server,
                request,
                &referred.uri,
                replaces.as_deref(),
                max_forwards,
            );
        });
        if let Err(refusal) = result {
            self.hub.counters.transfers_refused += 1;
            refuse(&mut self.hub, now, server, request, refusal);
        }
    }
}

impl B2bua {
    /// Notes the end of a request that was passed on: a REFER that is refused makes no subscription, and one whose receiver
    /// says so neither (RFC 4488 §4). `cseq` is our copy's.
    pub(in crate::b2bua) fn relayed(&mut self, request: &Message, cseq: u32, response: &Message) {
        let is_success = response.status().is_some_and(|status| status < 300);
        let is_taken = is_success && headers::refer_sub(response) != Some(false);
        if request.method() != Some(Method::Refer) || is_taken {
            return;
        }
        let (call_id, tag) = (request.call_id().unwrap_or(""), tag_of(request, HeaderName::To));
        if let Some((key, side)) = self.hub.dialog(call_id, tag) {
            self.with_call(key, |call, _| call.forget_passed(side, cseq));
        }
    }
}

impl Call {
    #[expect(clippy::too_many_arguments, reason = "a REFER in all its parts")]
    fn pass_on(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        request: &Message,
        uri: &str,
        replaces: Option<&str>,
        max_forwards: u8,
    ) -> Result<(), Refusal> {
        let referred_by = self.told_user_of(side);
        let Some(leg) = &mut self.legs[side.other()] else {
            return Err(Refusal::of(500));
        };
        let ours = hub.host_towards(&leg.destination()).to_owned();
        let (user, params) = headers::user_and_params(uri, &headers::own_names(request));
        let at = |user: &str| if user.is_empty() { "" } else { "@" };
        let headers_part = replaces.map_or_else(String::new, |text| format!("?Replaces={}", escaped(text)));
        let mut builder = leg
            .request("REFER", max_forwards)
            .header(
                HeaderName::ReferTo,
                format_args!("<sip:{user}{}{ours}{params}{headers_part}>", at(&user)),
            )
            .header(
                HeaderName::ReferredBy,
                format_args!("<sip:{referred_by}{}{ours}>", at(&referred_by)),
            );
        let wants = headers::refer_sub(request);
        if let Some(wants) = wants {
            builder = builder.header(HeaderName::ReferSub, wants);
        }
        let builder = headers::pass_through(builder, request);
        let cseq = leg.dialog().local_seq().unwrap_or(0);
        pass_on(hub, now, builder, leg.destination(), server, request)?;
        hub.counters.transfers_passed += 1;
        let transfers = self.transfers.get_or_insert_default();
        transfers.count += 1;
        if wants != Some(false) {
            transfers.passed[side].push(Passed {
                cseq,
                until: now + hub.config.ring_timeout,
            });
        }
        Ok(())
    }

    /// A NOTIFY: passed on to the party whose REFER was passed on, with its first line alone, for the rest of the fragment may
    /// say where its sender is. Any other has no subscription: 481 (RFC 6665 §4.1.3).
    pub(in crate::b2bua) fn pass_notify(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        request: &Message,
    ) -> Result<(), Refusal> {
        let max_forwards = check(hub, request, true)?;
        self.check_order(side, request)?;
        let to = side.other();
        let event = request.header(HeaderName::Event).unwrap_or("");
        let place = self
            .transfers
            .as_ref()
            .and_then(|transfers| Passed::place(&transfers.passed[to], event, now));
        let Some(place) = place else {
            return Err(Refusal::of(481));
        };
        let Some(leg) = &mut self.legs[to] else {
            return Err(Refusal::of(500));
        };
        let body = String::from_utf8_lossy(request.body());
        let line = body.lines().next().unwrap_or("");
        if line.len() > 128 || !headers::may_pass(line, &headers::own_names(request)) {
            return Err(Refusal::of(415));
        }
        let names = headers::own_names(request);
        let state = request
            .header(HeaderName::SubscriptionState)
            .filter(|state| headers::may_pass(state, &names))
            .unwrap_or("active");
        // An `id` is the CSeq number of our own REFER, which the party has never seen (RFC 3515 §2.4.6).
        let mut builder = leg
            .request("NOTIFY", max_forwards)
            .header(HeaderName::Event, "refer")
            .header(HeaderName::SubscriptionState, state);
        if !line.is_empty() {
            let fragment = format!("{line}\r\n");
            builder = builder.body("message/sipfrag;version=2.0", fragment.as_bytes());
        }
        let sent = pass_on(hub, now, builder, leg.destination(), server, request);
        if let Some(transfers) = &mut self.transfers {
            let passed = &mut transfers.passed[to];
            match lasts(state) {
                Lasts::Over => drop(passed.remove(place)),
                Lasts::For(seconds) => passed[place].until = now + Duration::from_secs(seconds.into()),
                Lasts::AsBefore => {}
            }
        }
        sent
    }

    /// The other party has refused the REFER of `side` that went to it as `cseq`, or wants to say nothing of it.
    fn forget_passed(&mut self, side: Side, cseq: u32) {
        if let Some(transfers) = &mut self.transfers {
            transfers.passed[side].retain(|passed| passed.cseq != cseq);
        }
    }
}

/// A REFER that was passed on, for as long as its subscription may last (RFC 3515 §2.4.4).
#[derive(Debug)]
pub(super) struct Passed {
    /// Its CSeq number towards the other party, which is the `id` in the `Event` of NOTIFYs for it.
    cseq: u32,
    until: Timestamp,
}

impl Passed {
    /// Which one a NOTIFY with this `Event` is for: the one of its `id`, or the earliest when it has none.
    fn place(passed: &[Self], event: &str, now: Timestamp) -> Option<usize> {
        let mut params = event.split(';').map(str::trim);
        let is_refer = params.next()?.eq_ignore_ascii_case("refer");
        let id = params.find_map(|param| {
            let (name, value) = param.split_once('=')?;
            name.trim().eq_ignore_ascii_case("id").then(|| value.trim())
        });
        let is_it = |passed: &Self| {
            passed.until > now && id.is_none_or(|id| id.parse().is_ok_and(|id: u32| id == passed.cseq))
        };
        passed.iter().position(is_it).filter(|_| is_refer)
    }
}

/// How long a subscription lasts after a NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Over,
    /// So many seconds.
    For(u32),
    AsBefore,
}

/// What `Subscription-State` says (RFC 6665 §8.2.3).
fn lasts(state: &str) -> Lasts {
    let mut params = state.split(';').map(str::trim);
    if params
        .next()
        .is_some_and(|state| state.eq_ignore_ascii_case("terminated"))
    {
        return Lasts::Over;
    }
    let expires = params.find_map(|param| {
        let (name, value) = param.split_once('=')?;
        let is_expires = name.trim().eq_ignore_ascii_case("expires");
        is_expires.then(|| value.trim().parse().ok()).flatten()
    });
    expires.map_or(Lasts::AsBefore, Lasts::For)
}

/// Text as it may stand as a header's value in a URI (RFC 3261 §19.1.1).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'~' | b'*' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::message::Uri;

    #[test]
    fn what_is_escaped_may_stand_in_a_uri() {
        let text = format!("sip:a@h?Replaces={}", escaped("c@h;to-tag=1;from-tag=\"2\""));
        let uri = Uri::parse(&text).unwrap();
        assert_eq!(
            uri.headers(),
            Some("Replaces=c%40h%3Bto-tag%3D1%3Bfrom-tag%3D%222%22")
        );
    }
}
