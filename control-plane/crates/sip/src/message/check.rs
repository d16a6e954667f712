use super::grammar::{Values, number};
use super::scan::Entry;
use super::{CSeq, HeaderName, Limits, Message, Method, NameAddr, Params, ParseError, SyntaxError, Uri, Via};

/// Checks what every element must be able to read before it acts on a message (RFC 3261 §8.1.1, §16.3): the request
/// URI, Via, From, To, Call-ID, CSeq, and where present Max-Forwards, Contact, Route and Record-Route. Does not allocate.
pub(super) fn check(message: &Message, limits: &Limits) -> Result<(), ParseError> {
    if let Some(text) = message.request_uri() {
        check_request_uri(text, limits)?;
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
    for entry in &*message.entries {
        let field = Field {
            message,
            entry,
            limits,
        };
        match entry.id {
            HeaderName::Via => field.each(&mut seen.via, Field::via)?,
            // "*" is for REGISTER, and stands alone (RFC 3261 §10.2.2).
            HeaderName::Contact if field.value() == "*" && message.method() == Some(Method::Register) => {}
            HeaderName::Contact => field.each(&mut seen.contact, Field::address)?,
            HeaderName::Route => field.each(&mut seen.route, Field::address)?,
            HeaderName::RecordRoute => field.each(&mut seen.record_route, Field::address)?,
            HeaderName::From | HeaderName::To => field.address(field.value())?,
            HeaderName::CallId => field.call_id()?,
            HeaderName::CSeq => field.cseq()?,
            HeaderName::MaxForwards => field.max_forwards()?,
            _ => {}
        }
    }
    Ok(())
}

fn check_request_uri(text: &str, limits: &Limits) -> Result<(), ParseError> {
    if text.len() > limits.uri_bytes {
        return Err(ParseError::RequestUriTooLong);
    }
    let uri = Uri::parse(text).map_err(ParseError::RequestUri)?;
    // A request URI has no `headers` (RFC 3261 §19.1.1, table 1; RFC 4475 §3.1.2.11).
    if uri.headers().is_some() {
        return Err(ParseError::RequestUri(SyntaxError::UriHeaders));
    }
    if exceeds(uri.params(), limits) {
        Err(ParseError::RequestUriTooLong)
    } else {
        Ok(())
    }
}

/// Values of each list header so far, over all its fields.
#[derive(Default)]
struct Seen {
    via: usize,
    contact: usize,
    route: usize,
    record_route: usize,
}

/// A header field under check.
struct Field<'a> {
    message: &'a Message,
    entry: &'a Entry,
    limits: &'a Limits,
}

impl Field<'_> {
    fn value(&self) -> &str {
        self.message.text(self.entry.value)
    }

    fn malformed(&self, syntax: SyntaxError) -> ParseError {
        ParseError::Malformed(self.entry.id, syntax)
    }

    fn each(
        &self,
        seen: &mut usize,
        check: fn(&Self, &str) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        for value in Values::new(self.value()) {
            *seen += 1;
            if *seen > self.limits.values {
                return Err(ParseError::TooManyValues(self.entry.id));
            }
            check(self, value)?;
        }
        Ok(())
    }

    fn via(&self, value: &str) -> Result<(), ParseError> {
        self.count(Via::parse(value).map_err(|syntax| self.malformed(syntax))?.params)
    }

    fn address(&self, value: &str) -> Result<(), ParseError> {
        let (address, uri) = NameAddr::parse_with_uri(value).map_err(|syntax| self.malformed(syntax))?;
        if address.uri.len() > self.limits.uri_bytes {
            return Err(ParseError::UriTooLong(self.entry.id));
        }
        self.count(address.params)?;
        self.count(uri.params())
    }

    fn count(&self, params: Params<'_>) -> Result<(), ParseError> {
        if exceeds(params, self.limits) {
            Err(ParseError::TooManyParams(self.entry.id))
        } else {
            Ok(())
        }
    }

    /// `word [ "@" word ]`. A word has any visible character but a few; all that is asked here is that it is one word.
    fn call_id(&self) -> Result<(), ParseError> {
        let value = self.value();
        let is_one_word = !value.is_empty() && value.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if is_one_word {
            Ok(())
        } else {
            Err(self.malformed(SyntaxError::Token))
        }
    }

    fn cseq(&self) -> Result<(), ParseError> {
        let method = self.message.method();
        let cseq = CSeq::parse(self.value()).map_err(|syntax| self.malformed(syntax))?;
        // RFC 3261 §8.1.1.5
        if method.is_none_or(|method| method == cseq.method) {
            Ok(())
        } else {
            Err(ParseError::MethodMismatch)
        }
    }

    fn max_forwards(&self) -> Result<(), ParseError> {
        number(self.value(), 255)
            .map(|_| ())
            .ok_or(self.malformed(SyntaxError::Number))
    }
}

fn exceeds(params: Params<'_>, limits: &Limits) -> bool {
    // Each takes two bytes at least, so most need no counting.
    params.as_str().len() / 2 > limits.params && params.iter().count() > limits.params
}
