use sans_io::Timestamp;
use sip::message::{ResponseBuilder, reason_phrase};
use sip::{HeaderName, Message};

use crate::asked::Asked;
use crate::domains::Domains;
use crate::gruu::Gruus;
use crate::{Binding, Config};

/// The extensions that we have.
pub(crate) const SUPPORTED: &str = "path, outbound, gruu";

/// A response under way: status and header fields, and the tag that it gives to `To`.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(HeaderName, String)>,
}

impl Reply {
    pub(crate) const fn of(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The message. What cannot be printed, because a peer put something into it that no header may hold, becomes 500.
    pub(crate) fn print(self, request: &Message, tag: &str) -> Option<Message> {
        let whole = self.fields.iter().fold(
            ResponseBuilder::for_request(request, self.status, reason_phrase(self.status)).to_tag(tag),
            |response, (name, value)| response.header(*name, value),
        );
        let plain = || {
            ResponseBuilder::for_request(request, 500, reason_phrase(500))
                .to_tag(tag)
                .build()
                .ok()
        };
        whole.build().ok().or_else(plain)
    }
}

/// The 200 to a REGISTER: all bindings that there are now (RFC 3261 §10.3 step 8), with what the extensions add.
pub(crate) fn accepted<'b>(
    now: Timestamp,
    config: &Config,
    domains: &Domains,
    gruus: &mut Gruus,
    user: &str,
    asked: &Asked<'_>,
    bindings: impl Iterator<Item = &'b Binding>,
) -> Reply {
    let mut reply = Reply::of(200);
    let mut is_outbound = false;
    for binding in bindings {
        is_outbound |= binding.reg_id != 0 && *binding.call_id == *asked.call_id;
        let value = contact(now, domains, gruus, user, asked.gruu, binding);
        reply = reply.with(HeaderName::Contact, value);
    }
    if !asked.path.is_empty() {
        reply = reply.with(HeaderName::Path, &asked.path);
    }
    for route in &config.service_route {
        reply = reply.with(HeaderName::ServiceRoute, route);
    }
    reply = reply.with(HeaderName::Supported, SUPPORTED);
    if is_outbound && asked.outbound {
        // RFC 5626 §6: this is how the user agent learns that its flow is used.
        reply = reply.with(HeaderName::Require, "outbound");
    }
    reply
}

fn contact(
    now: Timestamp,
    domains: &Domains,
    gruus: &mut Gruus,
    user: &str,
    gruu: bool,
    binding: &Binding,
) -> String {
    // Rounded up: a binding that is told to have 0 seconds would be one that is gone.
    let left = binding.expires.saturating_since(now);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let mut value = format!("<{}>;expires={seconds}", binding.contact);
    match binding.q_permille {
        1_000 => {}
        q => value += &format!(";q=0.{q:03}"),
    }
    if !binding.instance.is_empty() {
        value += &format!(";+sip.instance=\"<{}>\"", binding.instance);
        if gruu {
            let domain = domains.first();
            let user = sip_user(user);
            value += &format!(
                ";pub-gruu=\"sip:{user}@{domain};gr={}\";temp-gruu=\"sip:{}@{domain};gr\"",
                binding.instance,
                gruus.mint(&user, binding),
            );
        }
    }
    if binding.reg_id != 0 {
        value += &format!(";reg-id={}", binding.reg_id);
    }
    value
}

/// A user part with what the grammar does not let stand there escaped (RFC 3261 §25.1).
pub(crate) fn sip_user(user: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        match is_plain(byte) {
            true => out.push(char::from(byte)),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}
