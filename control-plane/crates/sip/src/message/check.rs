use super::grammar::{Values, number};
use super::{CSeq, HeaderName, Limits, Message, Method, NameAddr, Params, ParseError, SyntaxError, Uri, Via};

/// Checks what every element must be able to read before it acts on a message (RFC 3261 §8.1.1, §16.3): the request
/// URI, Via, From, To, Call-ID, CSeq, and where present Max-Forwards, Contact, Route and Record-Route. Does not allocate.
pub(super) fn check(message: &Message, limits: &Limits) -> Result<(), ParseError> {
    if let Some(text) = message.request_uri() {
        if text.len() > limits.uri_bytes {
            return Err(ParseError::UriTooLong);
        }
        Uri::parse(text)
            .and_then(|uri| request_uri(uri, limits))
            .map_err(ParseError::RequestUri)?;
    }
    for name in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
    ] {
        if !message.has(name) {
            return Err(ParseError::Missing(name));
        }
    }
    let mut seen = Seen::default();
    for header in message.headers() {
        let wildcard = header.id == HeaderName::Contact && header.value == "*";
        // "*" is for REGISTER, and stands alone (RFC 3261 §10.2.2).
        let checked = if wildcard && message.method() == Some(Method::Register) {
            Ok(())
        } else {
            check_value(header.id, header.value, limits, &mut seen)
        };
        checked.map_err(|syntax| ParseError::Malformed(header.id, syntax))?;
    }
    let cseq = message.cseq()?;
    if message.method().is_some_and(|method| method != cseq.method) {
        return Err(ParseError::MethodMismatch);
    }
    Ok(())
}

/// Values of each list header so far, over all its fields.
#[derive(Default)]
struct Seen {
    via: usize,
    contact: usize,
    route: usize,
    record_route: usize,
}

fn check_value(name: HeaderName, value: &str, limits: &Limits, seen: &mut Seen) -> Result<(), SyntaxError> {
    match name {
        HeaderName::Via => each(value, &mut seen.via, limits, via),
        HeaderName::Contact => each(value, &mut seen.contact, limits, address),
        HeaderName::Route => each(value, &mut seen.route, limits, address),
        HeaderName::RecordRoute => each(value, &mut seen.record_route, limits, address),
        HeaderName::From | HeaderName::To => address(value, limits),
        HeaderName::CallId => call_id(value),
        HeaderName::CSeq => CSeq::parse(value).map(|_| ()),
        HeaderName::MaxForwards => number(value, 255).map(|_| ()).ok_or(SyntaxError::Number),
        _ => Ok(()),
    }
}

fn each(
    field: &str,
    seen: &mut usize,
    limits: &Limits,
    check: fn(&str, &Limits) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    for value in Values::new(field) {
        *seen += 1;
        if *seen > limits.values {
            return Err(SyntaxError::Limit);
        }
        check(value, limits)?;
    }
    Ok(())
}

/// A request URI has no `headers` (RFC 3261 §19.1.1, table 1; RFC 4475 §3.1.2.11).
fn request_uri(uri: Uri<'_>, limits: &Limits) -> Result<(), SyntaxError> {
    if uri.headers().is_some() {
        return Err(SyntaxError::UriHeaders);
    }
    count(uri.params(), limits)
}

fn via(value: &str, limits: &Limits) -> Result<(), SyntaxError> {
    count(Via::parse(value)?.params, limits)
}

fn address(value: &str, limits: &Limits) -> Result<(), SyntaxError> {
    let address = NameAddr::parse(value)?;
    if address.uri.len() > limits.uri_bytes {
        return Err(SyntaxError::Limit);
    }
    count(address.params, limits)?;
    count(address.parsed_uri()?.params(), limits)
}

fn count(params: Params<'_>, limits: &Limits) -> Result<(), SyntaxError> {
    // Each takes two bytes at least, so most need no counting.
    let few = params.as_str().len() / 2 <= limits.params || params.iter().count() <= limits.params;
    if few { Ok(()) } else { Err(SyntaxError::Limit) }
}

/// `word [ "@" word ]`. A word has any visible character but a few; all that is asked here is that it is one word.
fn call_id(value: &str) -> Result<(), SyntaxError> {
    let one_word = !value.is_empty() && value.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if one_word { Ok(()) } else { Err(SyntaxError::Token) }
}
