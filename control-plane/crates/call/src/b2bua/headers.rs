//! What of one party's message goes into ours for the other: identity without addresses, a clean reason, and the
//! header fields that are the parties' own matter.

use std::borrow::Cow;

use sip::dialog::RELIABLE;
use sip::message::{
    FieldName, Header, Host, NameAddr, RequestBuilder, ResponseBuilder, Uri, digits, is_telephone,
    reason_phrase,
};
use sip::{EmergencyNumbers, HeaderName, Message};

use super::call::Reliability;
use crate::{Cause, Released};

/// Methods that we take, for `Allow`.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER";

/// Option tags that we know, for `Supported`.
pub(super) const SUPPORTED: &str = "100rel, timer, replaces, norefersub";

/// Header fields of an INVITE that pass from the caller to the callee, beside those that we don't know.
const PASSED: &[HeaderName] = &[
    HeaderName::Subject,
    HeaderName::Priority,
    HeaderName::Privacy,
    HeaderName::AcceptLanguage,
    HeaderName::ContentLanguage,
    HeaderName::ContentDisposition,
    HeaderName::InfoPackage,
    HeaderName::AcceptContact,
    HeaderName::RejectContact,
    HeaderName::RequestDisposition,
];

/// Header fields that pass at most: with our own they must stay within what a message may have.
const PASSED_MAX: usize = 64;

/// Whether a header field speaks of its sender, or of the network it is in, to somebody who trusts it (RFC 3325, RFC
/// 7315, RFC 6442): it would tell the other party what `From` and `Privacy` hide, and could be made up.
fn is_of_a_trust_domain(name: &str) -> bool {
    let begins = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    begins("P-") || begins("Geolocation") || begins("Remote-Party-ID")
}

/// Whether text from one party tells the other nothing of where it is: it names no address and none of `own_names`, as
/// [`own_names`] gives them.
pub(super) fn tells_no_place(text: &str, own_names: &[&str]) -> bool {
    !sdp::names_address(text) && !own_names.iter().any(|name| contains(text, name))
}

/// Whether text from one party may stand in a header of ours for the other: it tells no place, and has no NUL, which
/// may stand in a quoted string (RFC 3261 §25.1) and which we do not print.
pub(super) fn may_pass(text: &str, own_names: &[&str]) -> bool {
    !text.contains('\0') && tells_no_place(text, own_names)
}

/// What of a message is the parties' own matter: a few known header fields, and all unknown ones but those of a trust
/// domain, as far as they name no address and none of the sender's own names, and no more than [`PASSED_MAX`]. `Via`,
/// `Contact`, routes, identities and capabilities are ours on each side.
pub(super) fn passed(from: &Message) -> impl Iterator<Item = (FieldName<'_>, &str)> {
    // Most messages have nothing that may pass, and need no names.
    let mut names = None;
    let is_passed = |header: &Header<'_>| match header.id {
        HeaderName::Other => !is_of_a_trust_domain(header.name),
        known => PASSED.contains(&known),
    };
    let clean = from.headers().filter(is_passed).filter_map(move |header| {
        let names: &Vec<&str> = names.get_or_insert_with(|| own_names(from));
        let is_clean = may_pass(header.value, names);
        let name = match header.id {
            HeaderName::Other => FieldName::from(header.name),
            known => FieldName::from(known),
        };
        is_clean.then_some((name, header.value))
    });
    clean.take(PASSED_MAX)
}

/// Adds what [`passed`] gives to a request for the other side.
pub(super) fn pass_through(builder: RequestBuilder, from: &Message) -> RequestBuilder {
    passed(from).fold(builder, |builder, (name, value)| builder.header(name, value))
}

/// Adds what [`passed`] gives to a response for the other side.
pub(super) fn pass_back<'a>(builder: ResponseBuilder<'a>, from: &'a Message) -> ResponseBuilder<'a> {
    passed(from).fold(builder, |builder, (name, value)| builder.header(name, value))
}

/// The words by which the sender of a message could be known beyond its addresses: the host names in its `Contact`,
/// `Via` and, in a request, `From`, and its `Call-ID`.
pub(super) fn own_names(message: &Message) -> Vec<&str> {
    let contact = message
        .contact()
        .ok()
        .flatten()
        .and_then(|contact| host_name(contact.uri));
    let from = message
        .from()
        .ok()
        .filter(|_| message.is_request())
        .and_then(|from| host_name(from.uri));
    let via = message
        .via()
        .ok()
        .filter(|_| message.is_request())
        .and_then(|via| match via.host {
            Host::Name(name) => Some(name),
            _ => None,
        });
    let call_id = message.call_id().ok().filter(|_| message.is_request());
    // Shorter words, and those without a dot, are found in every text.
    let hosts = [contact, from, via]
        .into_iter()
        .flatten()
        .filter(|host| host.len() >= 4 && host.contains('.'));
    hosts
        .chain(call_id.filter(|call_id| call_id.len() >= 8))
        .collect()
}

/// The host of a URI, if it is a name.
fn host_name(uri: &str) -> Option<&str> {
    match Uri::parse(uri).ok()?.host()? {
        Host::Name(name) => Some(name),
        _ => None,
    }
}

fn contains(text: &str, name: &str) -> bool {
    text.as_bytes()
        .windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}

/// The user part and the parameters of a request URI that stay when the host becomes ours to choose, such as
/// `+4930123` and `;user=phone`. The user is left out if it tells of the sender, whose `own_names` these are.
pub(super) fn user_and_params(uri: &str, own_names: &[&str]) -> (String, &'static str) {
    let Ok(uri) = Uri::parse(uri) else {
        return (String::new(), "");
    };
    let is_phone = is_telephone(&uri);
    let user = uri.user().map(unescaped).filter(|user| may_pass(user, own_names));
    let user = user.map(|user| if is_phone { digits(user) } else { user });
    (
        user.map_or_else(String::new, Cow::into_owned),
        if is_phone { ";user=phone" } else { "" },
    )
}

/// [`user_and_params`]; for the emergency service of RFC 5031 the number that is called for it.
pub(super) fn asked_for(numbers: &EmergencyNumbers, uri: &str, own_names: &[&str]) -> (String, &'static str) {
    match numbers.number_for(uri) {
        // The one character of a number that a URI has no room for.
        Some(number) => (number.replace('#', "%23"), ""),
        None => user_and_params(uri, own_names),
    }
}

/// Who is called, as the routing table knows it: without escapes, a number by its digits.
pub(super) fn wanted_user<'a>(uri: &Uri<'a>) -> Cow<'a, str> {
    let user = uri.user_decoded().unwrap_or_default();
    match is_telephone(uri) {
        true => digits(user),
        false => user,
    }
}

/// A user part without escapes of characters that need none: both are the same user (RFC 3261 §19.1.4).
fn unescaped(user: &str) -> Cow<'_, str> {
    if !user.contains('%') {
        return Cow::Borrowed(user);
    }
    let mut plain = String::with_capacity(user.len());
    let mut rest = user;
    while let Some(c) = rest.chars().next() {
        let digits = rest.get(1..3).filter(|_| c == '%');
        let escaped = digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(byte));
        let length = match escaped {
            Some(byte) => {
                plain.push(char::from(byte));
                3
            }
            None => {
                plain.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Cow::Owned(plain)
}

/// What `Refer-Sub` says (RFC 4488), if it says what it may.
pub(super) fn refer_sub(message: &Message) -> Option<bool> {
    let value = message.header(HeaderName::ReferSub)?;
    let value = value.split(';').next().unwrap_or("").trim();
    match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A party's `From` or `To` as the other side gets it: display name and user are kept, as far as they tell nothing of
/// the sender's `own_names`, and the host is `host`.
pub(super) fn identity(address: &NameAddr<'_>, host: &str, own_names: &[&str]) -> String {
    let (user, params) = user_and_params(address.uri, own_names);
    identity_of(address, &user, params, host, own_names)
}

/// [`identity`] with another user.
pub(super) fn identity_of(
    address: &NameAddr<'_>,
    user: &str,
    params: &str,
    host: &str,
    own_names: &[&str],
) -> String {
    let display = address
        .display
        .filter(|display| !display.is_empty() && may_pass(display, own_names));
    let at = if user.is_empty() { "" } else { "@" };
    // RFC 3323 §4.1.1.3: this host is itself a statement.
    let is_anonymous = address.uri.ends_with("@anonymous.invalid");
    let host = if is_anonymous { "anonymous.invalid" } else { host };
    let space = if display.is_some() { " " } else { "" };
    format!("{}{space}<sip:{user}{at}{host}{params}>", display.unwrap_or(""))
}

/// The reason phrase of a response, for the other side: as it came unless it tells where the sender is, or is too long.
pub(super) fn phrase(response: &Message) -> String {
    let status = response.status().unwrap_or(500);
    let usual = reason_phrase(status);
    if response.reason_phrase() == Some(usual) {
        return usual.to_owned();
    }
    let phrase = response
        .reason_phrase()
        .filter(|phrase| !phrase.is_empty() && phrase.len() <= 64 && may_pass(phrase, &own_names(response)));
    phrase.unwrap_or(usual).to_owned()
}

/// The `Reason` of a BYE or CANCEL (RFC 3326), if it may pass.
pub(super) fn reason(message: &Message) -> Option<String> {
    let reason = message.header(HeaderName::Reason)?;
    (reason.len() <= 128 && may_pass(reason, &own_names(message))).then(|| reason.to_owned())
}

/// The Q.850 cause in a message's `Reason`, if it has one in range.
pub(super) fn q850(message: &Message) -> Option<u8> {
    message.values(HeaderName::Reason).find_map(|value| {
        let (protocol, params) = value.split_once(';')?;
        let is_q850 = protocol.trim().eq_ignore_ascii_case("Q.850");
        let cause = params
            .split(';')
            .find_map(|param| param.trim().strip_prefix("cause=")?.trim().parse().ok());
        cause.filter(|cause| is_q850 && (1..=127).contains(cause))
    })
}

/// The cause in a party's BYE: from its `Reason` when that has a Q.850 cause, else normal clearing.
pub(super) fn bye_cause(released: Released, bye: &Message) -> Cause {
    match q850(bye) {
        Some(16) | None => Cause::hung_up(released),
        Some(q850) => Cause::ended(released, q850, "Released by the party"),
    }
}

/// The status that the caller gets for a failure of the callee. A redirection is not followed and its targets would
/// tell where the callee is; a challenge or a demand was for us and not for the caller; all else passes.
pub(super) const fn failure_status(status: u16) -> u16 {
    match status {
        401 | 407 | 420 | 421 | 422 | 494 => 502,
        400..=699 => status,
        _ => 480,
    }
}

/// `Retry-After` of a failure, in seconds.
pub(super) fn retry_after(response: &Message) -> Option<u32> {
    response.number(HeaderName::RetryAfter).ok().flatten()
}

/// What `Max-Forwards` of a passed request becomes; `None` when it may go no further (RFC 3261 §16.3, RFC 7332).
pub(super) fn max_forwards(request: &Message, max: u8) -> Option<u8> {
    match request.max_forwards() {
        Ok(Some(hops)) => hops.checked_sub(1).map(|hops| hops.min(max)),
        Ok(None) | Err(_) => Some(max),
    }
}

/// The option tags of `Require` that we don't have (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(request: &Message) -> Option<String> {
    let is_known = |tag: &&str| !SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(tag));
    let tags: Vec<&str> = request
        .values(HeaderName::Require)
        .filter(is_known)
        .take(16)
        .collect();
    (!tags.is_empty()).then(|| tags.join(", "))
}

/// Whether the sender of a message takes UPDATE.
pub(super) fn allows_update(message: &Message) -> bool {
    message.values(HeaderName::Allow).any(|method| method == "UPDATE")
}

/// What an INVITE says about reliable provisional responses.
pub(super) fn reliability(invite: &Message) -> Reliability {
    if invite.has_token(HeaderName::Require, RELIABLE) {
        Reliability::Required
    } else if invite.has_token(HeaderName::Supported, RELIABLE) {
        Reliability::Supported
    } else {
        Reliability::Unsupported
    }
}

/// Whether the body, if there is one, is a session description (RFC 3261 §8.2.3).
pub(super) fn has_description(message: &Message) -> Result<bool, UnsupportedBody> {
    if message.body().is_empty() {
        return Ok(false);
    }
    let media_type = message
        .content_type()
        .and_then(|value| value.split(';').next())
        .unwrap_or("");
    let is_sdp = media_type.trim().eq_ignore_ascii_case("application/sdp");
    let is_plain = message
        .values(HeaderName::ContentEncoding)
        .all(|coding| coding.eq_ignore_ascii_case("identity"));
    if is_sdp && is_plain {
        Ok(true)
    } else {
        Err(UnsupportedBody)
    }
}

/// The body is of a type or coding that we don't read: 415.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnsupportedBody;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(fields: &str) -> Message {
        let text = format!(
            "INVITE sip:b@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    #[test]
    fn identities_lose_their_host_and_keep_their_name() {
        let names = ["pbx.a.example"];
        let of = |text: &str| identity(&NameAddr::parse(text).unwrap(), "us.example:5060", &names);
        assert_eq!(
            of("\"Alice A.\" <sip:alice@10.0.0.1:5070;transport=tcp>;tag=1"),
            "\"Alice A.\" <sip:alice@us.example:5060>"
        );
        assert_eq!(of("\"nul \\\0\" <sip:alice@h>"), "<sip:alice@us.example:5060>");
        assert_eq!(of("<tel:+4930123>"), "<sip:+4930123@us.example:5060;user=phone>");
        assert_eq!(of("\"at 10.0.0.1\" <sip:10.0.0.1>"), "<sip:us.example:5060>");
        assert_eq!(
            of("\"at pbx.a.example\" <sip:at.PBX.a.example@pbx.a.example>"),
            "<sip:us.example:5060>"
        );
        assert_eq!(
            of("<sip:anonymous@anonymous.invalid>"),
            "<sip:anonymous@anonymous.invalid>"
        );
    }

    #[test]
    fn only_what_names_no_address_passes() {
        let from = request(
            "Subject: hello\r\nX-Id: 77\r\nX-Host: 10.0.0.1\r\nP-Asserted-Identity: <sip:a@h>\r\nRoute: <sip:p;lr>\r\n",
        );
        let passed = pass_through(RequestBuilder::new("INVITE", "sip:b"), &from)
            .build()
            .unwrap();
        let names: Vec<&str> = passed.headers().map(|header| header.name).collect();
        assert_eq!(names, ["Subject", "X-Id", "Content-Length"]);
    }

    #[test]
    fn an_anonymous_caller_is_not_betrayed_by_other_fields() {
        let text = "INVITE sip:b@us SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1\r\nTo: <sip:b@us>\r\nCall-ID: x\r\n\
             CSeq: 1 INVITE\r\nPrivacy: id\r\nRemote-Party-ID: \"Alice\" <sip:alice@home>;privacy=full\r\n\
             P-Charging-Vector: icid-value=77\r\np-access-network-info: 3GPP-UTRAN-TDD; utran-cell-id-3gpp=23\r\n\
             P-Visited-Network-ID: home\r\nP-Called-Party-ID: <sip:b@home>\r\n\
             P-Charging-Function-Addresses: ccf=home\r\nP-Asserted-Identity: <sip:alice@home>\r\n\
             Geolocation: <cid:alice@home>\r\nGeolocation-Routing: yes\r\nX-Id: 77\r\n\r\n";
        let from = Message::parse_datagram(Bytes::from(text)).unwrap();
        let values: Vec<&str> = passed(&from).map(|(_, value)| value).collect();
        assert_eq!(values, ["id", "77"]);
    }

    #[test]
    fn a_reason_does_not_name_its_sender() {
        let of = |text: &str| {
            reason(&request(&format!(
                "Contact: <sip:phone.a.example>\r\nReason: SIP;cause=200;text=\"{text}\"\r\n"
            )))
        };
        assert!(of("busy").is_some());
        assert_eq!(of("at phone.a.example"), None);
        assert_eq!(of("at 10.0.0.1"), None);
    }

    #[test]
    fn names_of_the_sender_do_not_pass() {
        let text = "INVITE sip:b@us SIP/2.0\r\nVia: SIP/2.0/UDP edge.a.example;branch=z9hG4bK1\r\n\
             From: <sip:a@pbx.a.example:5070>;tag=1\r\nTo: <sip:b@us>\r\nCall-ID: 77aa88bb\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:phone.a.example;transport=tcp>\r\nX-1: at PBX.a.example\r\nX-2: edge.a.example\r\n\
             X-3: 77aa88bb\r\nX-4: phone.a.example\r\nX-5: pbx\r\n\r\n";
        let from = Message::parse_datagram(Bytes::from(text)).unwrap();
        let values: Vec<&str> = passed(&from).map(|(_, value)| value).collect();
        assert_eq!(values, ["pbx"]);
    }

    #[test]
    fn a_bye_may_say_why() {
        let cause = |fields: &str| bye_cause(Released::Caller, &request(fields)).q850;
        assert_eq!(cause(""), 16);
        assert_eq!(cause("Reason: Q.850;cause=31;text=\"x\"\r\n"), 31);
        assert_eq!(cause("Reason: SIP;cause=200, q.850 ; cause=38\r\n"), 38);
        assert_eq!(cause("Reason: Q.850;cause=999\r\n"), 16);
    }

    #[test]
    fn one_user_is_written_in_one_way() {
        for (written, plain) in [
            ("49%34", "494"),
            ("%34%39", "49"),
            ("a%40b", "a%40b"),
            ("%2B49", "%2B49"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%61", "%zza"),
            ("é%41", "éA"),
        ] {
            assert_eq!(unescaped(written), plain, "{written}");
        }
    }

    #[test]
    fn max_forwards_counts_down_and_is_bounded() {
        assert_eq!(max_forwards(&request("Max-Forwards: 0\r\n"), 70), None);
        assert_eq!(max_forwards(&request("Max-Forwards: 1\r\n"), 70), Some(0));
        assert_eq!(max_forwards(&request("Max-Forwards: 255\r\n"), 70), Some(70));
        assert_eq!(max_forwards(&request(""), 70), Some(70));
    }
}
