//! The messages that the layer makes by itself. Their parts come from messages that the parser or the builder has
//! passed, so nothing here can smuggle a line break in.

use std::fmt::{Display, Write};

use bytes::Bytes;

use crate::message::{HeaderName, Message};

/// The ACK for a failure (RFC 3261 §17.1.1.3): of the INVITE the Request-URI, the top Via, Route, From, Call-ID and CSeq
/// number, and the credentials (§22.1); of the response the To.
pub(super) fn ack_for_failure(invite: &Message, response: &Message) -> Option<Bytes> {
    let mut ack = same_hop_request("ACK", invite, response.header(HeaderName::To)?)?;
    copy_all(&mut ack, invite, HeaderName::Authorization);
    copy_all(&mut ack, invite, HeaderName::ProxyAuthorization);
    Some(end(ack))
}

/// The CANCEL for an INVITE (§9.1), `reason` being the value of its `Reason` field (RFC 3326).
pub(super) fn cancel(invite: &Message, reason: Option<&str>) -> Option<Bytes> {
    let mut cancel = same_hop_request("CANCEL", invite, invite.header(HeaderName::To)?)?;
    if let Some(reason) = reason {
        field(&mut cancel, HeaderName::Reason, reason);
    }
    Some(end(cancel))
}

/// A response without a body (§8.2.6). A 100 carries no To tag of ours but the request's `Timestamp`.
pub(super) fn response(
    request: &Message,
    status: u16,
    phrase: &str,
    own_tag: &str,
    retry_after_s: Option<u32>,
) -> Option<Bytes> {
    let mut text = format!("SIP/2.0 {status} {phrase}\r\n");
    copy_all(&mut text, request, HeaderName::Via);
    field(&mut text, HeaderName::From, request.header(HeaderName::From)?);
    let to = request.header(HeaderName::To)?;
    if status == 100 || request.to().ok()?.tag().is_some() {
        field(&mut text, HeaderName::To, to);
    } else {
        field(&mut text, HeaderName::To, format_args!("{to};tag={own_tag}"));
    }
    field(&mut text, HeaderName::CallId, request.header(HeaderName::CallId)?);
    field(&mut text, HeaderName::CSeq, request.header(HeaderName::CSeq)?);
    if status == 100 {
        copy_all(&mut text, request, HeaderName::Timestamp);
    }
    if let Some(seconds) = retry_after_s {
        field(&mut text, HeaderName::RetryAfter, seconds);
    }
    Some(end(text))
}

/// A request that follows `invite` to the same next hop, in the same transaction there.
fn same_hop_request(method: &str, invite: &Message, to: &str) -> Option<String> {
    let mut text = String::with_capacity(512);
    let _ = write!(text, "{method} {} SIP/2.0\r\n", invite.request_uri()?);
    field(&mut text, HeaderName::Via, invite.values(HeaderName::Via).next()?);
    copy_all(&mut text, invite, HeaderName::Route);
    field(&mut text, HeaderName::MaxForwards, 70);
    field(&mut text, HeaderName::From, invite.header(HeaderName::From)?);
    field(&mut text, HeaderName::To, to);
    field(&mut text, HeaderName::CallId, invite.header(HeaderName::CallId)?);
    field(
        &mut text,
        HeaderName::CSeq,
        format_args!("{} {method}", invite.cseq().ok()?.seq),
    );
    Some(text)
}

fn field(text: &mut String, name: HeaderName, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}: {value}\r\n");
}

fn copy_all(text: &mut String, from: &Message, name: HeaderName) {
    for header in from.headers().filter(|header| header.id == name) {
        field(text, name, header.value);
    }
}

fn end(mut text: String) -> Bytes {
    text.push_str("Content-Length: 0\r\n\r\n");
    text.into()
}
