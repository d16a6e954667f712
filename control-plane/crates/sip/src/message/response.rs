use std::fmt;

use super::printer::Printer;
use super::{BuildError, FieldName, Header, HeaderName, Message, NameAddr};

/// Writes a response to a request (RFC 3261 §8.2.6). Via, From, To, Call-ID and CSeq are copied; what the request does
/// not have, because it is broken, the response does not have either. `Content-Length` is the builder's.
#[derive(Clone, Debug)]
#[must_use = "nothing is made before build()"]
pub struct ResponseBuilder<'a> {
    request: &'a Message,
    status: u16,
    reason: &'a str,
    to_tag: Option<&'a str>,
    record_routes: bool,
    /// Fields after the copied ones.
    fields: Printer,
    body: Vec<u8>,
}

/// Bytes for the tag, `Content-Length` and what long forms add to compact ones.
const SPARE: usize = 128;

impl<'a> ResponseBuilder<'a> {
    /// A response to `request`, which may be the partial one of a [`ParseFailure`](super::ParseFailure).
    pub fn for_request(request: &'a Message, status: u16, reason: &'a str) -> Self {
        Self {
            request,
            status,
            reason,
            to_tag: None,
            record_routes: false,
            fields: Printer::default(),
            body: Vec::new(),
        }
    }

    /// The tag that `To` gets unless the request's has one (RFC 3261 §8.2.6.2).
    pub fn to_tag(mut self, tag: &'a str) -> Self {
        self.to_tag = Some(tag);
        self
    }

    /// Copies `Record-Route`, as a response that makes a dialog must (RFC 3261 §12.1.1).
    pub fn record_routes(mut self) -> Self {
        self.record_routes = true;
        self
    }

    /// Adds a header field.
    pub fn header<'n>(mut self, name: impl Into<FieldName<'n>>, value: impl fmt::Display) -> Self {
        self.fields.reserve_fields();
        self.fields.field(name.into(), value);
        self
    }

    /// Sets the body and adds its `Content-Type`.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header(HeaderName::ContentType, content_type)
    }

    /// The response.
    ///
    /// # Errors
    /// The first thing that was refused.
    pub fn build(self) -> Result<Message, BuildError> {
        let copied = self.request.bytes().len() - self.request.body().len();
        let capacity = copied + self.fields.len() + self.body.len() + SPARE;
        let mut printer = Printer::response(self.status, self.reason, capacity);
        for header in self.request.headers() {
            match header.id {
                HeaderName::To => match self.to_tag.filter(|_| lacks_tag(header)) {
                    Some(tag) => printer.copy_with(header, format_args!(";tag={tag}")),
                    None => printer.copy(header),
                },
                HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                    printer.copy(header)
                }
                HeaderName::RecordRoute if self.record_routes => printer.copy(header),
                // RFC 3261 §8.2.6.1
                HeaderName::Timestamp if self.status == 100 => printer.copy(header),
                _ => {}
            }
        }
        printer.append(&self.fields);
        printer.finish(&self.body)
    }
}

/// Whether a tag can and must be added. What cannot be read is given back as it is.
fn lacks_tag(to: Header<'_>) -> bool {
    NameAddr::parse(to.value).is_ok_and(|to| to.tag().is_none())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const REQUEST: &str = "INVITE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP b\r\n\
        Record-Route: <sip:p;lr>\r\nf: <sip:a@h>;tag=1\r\nt: B <sip:b@h>\r\ni: x\r\nCSeq: 1 INVITE\r\nTimestamp: 54\r\n\r\n";

    #[test]
    fn response_copies_what_the_rfc_says() {
        let request = Message::parse_datagram(Bytes::from(REQUEST)).unwrap();
        let response = ResponseBuilder::for_request(&request, 180, "Ringing")
            .to_tag("t1")
            .record_routes()
            .header(HeaderName::Contact, "<sip:me>")
            .build()
            .unwrap();
        assert_eq!(
            (response.status(), response.reason_phrase()),
            (Some(180), Some("Ringing"))
        );
        assert_eq!(response.vias().count(), 2);
        assert_eq!(response.to().unwrap().tag(), Some("t1"));
        assert_eq!(
            (
                response.has(HeaderName::RecordRoute),
                response.has(HeaderName::Timestamp)
            ),
            (true, false)
        );
        let trying = ResponseBuilder::for_request(&request, 100, "Trying")
            .build()
            .unwrap();
        assert_eq!(
            (trying.to().unwrap().tag(), trying.header(HeaderName::Timestamp)),
            (None, Some("54"))
        );
        assert!(Message::parse_datagram(trying.bytes().clone()).is_ok());
    }

    #[test]
    fn nothing_injects_a_line() {
        let request = Message::parse_datagram(Bytes::from(REQUEST)).unwrap();
        let build = |builder: ResponseBuilder<'_>| builder.build().unwrap_err();
        let builder = || ResponseBuilder::for_request(&request, 200, "OK");
        assert_eq!(
            build(builder().header("X-A", "a\r\nY: b")),
            BuildError::Value(HeaderName::Other)
        );
        assert_eq!(build(builder().header("X\r\nY", "a")), BuildError::Name);
        assert_eq!(build(builder().to_tag("a\nb")), BuildError::Value(HeaderName::To));
        assert_eq!(
            build(builder().header("X-A", "\0")),
            BuildError::Value(HeaderName::Other)
        );
        assert_eq!(
            build(builder().header("Content-Length", 7)),
            BuildError::Value(HeaderName::ContentLength)
        );
        assert_eq!(
            build(ResponseBuilder::for_request(&request, 200, "OK\r\n")),
            BuildError::Reason
        );
        assert_eq!(
            build(ResponseBuilder::for_request(&request, 99, "")),
            BuildError::Status
        );
    }

    #[test]
    fn broken_request_is_answered_with_what_it_has() {
        let text = REQUEST
            .replace("CSeq: 1 INVITE\r\n", "")
            .replace("t: B <sip:b@h>", "t: \"B <sip:b@h>");
        let failure = Message::parse_datagram(Bytes::from(text)).unwrap_err();
        let (partial, code) = failure.answer().unwrap();
        let response = ResponseBuilder::for_request(partial, code, "Bad Request")
            .to_tag("x")
            .build()
            .unwrap();
        assert_eq!(response.header(HeaderName::To), Some("\"B <sip:b@h>"));
        assert!(!response.has(HeaderName::CSeq));
    }
}
