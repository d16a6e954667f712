use sans_io::Timestamp;

use sip::transaction::ServerKey;
use sip::{HeaderName, Message};

use super::refer::Referred;
use crate::b2bua::B2bua;
use crate::b2bua::call::Call;
use crate::b2bua::headers;
use crate::b2bua::hub::{CallKey, Client, Hub};
use crate::b2bua::requests::{Refusal, check, refuse};
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
        if let Some(value) = request.header(HeaderName::ReferSub) {
            builder = builder.header(HeaderName::ReferSub, value);
        }
        let builder = headers::pass_through(builder, request);
        let client = Client::Relay {
            server,
            request: request.clone(),
        };
        let sent = hub.send(now, builder, leg.destination(), |_| client);
        sent.ok_or_else(|| Refusal::of(503))?;
        hub.counters.transfers_passed += 1;
        let transfers = self.transfers.get_or_insert_default();
        transfers.count += 1;
        transfers.passed[side] += 1;
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
        let is_passed = self
            .transfers
            .as_ref()
            .is_some_and(|transfers| transfers.passed[to] > 0);
        let event = request.header(HeaderName::Event).unwrap_or("");
        let is_refer = event
            .split(';')
            .next()
            .is_some_and(|package| package.trim().eq_ignore_ascii_case("refer"));
        if !is_passed || !is_refer {
            return Err(Refusal::of(481));
        }
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
        let client = Client::Relay {
            server,
            request: request.clone(),
        };
        let sent = hub.send(now, builder, leg.destination(), |_| client);
        sent.map(|_| ()).ok_or_else(|| Refusal::of(503))
    }
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
