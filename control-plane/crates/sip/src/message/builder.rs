use std::fmt;

use super::printer::Printer;
use super::{BuildError, FieldName, HeaderName, Message};

/// Writes a request. Header fields come out in the order in which they are added; `Content-Length` is the builder's.
/// A value with CR, LF or NUL is refused, so nothing that is put in can add a line of its own.
#[derive(Clone, Debug)]
#[must_use = "nothing is made before build()"]
pub struct RequestBuilder {
    printer: Printer,
    body: Vec<u8>,
}

/// Room for an ordinary request, so that most are written with one allocation, and no more than the C library's allocator
/// takes from a thread's own store.
const CAPACITY: usize = 1000;

impl RequestBuilder {
    /// A request of that method for that URI.
    pub fn new(method: &str, uri: &str) -> Self {
        Self {
            printer: Printer::request(method, uri, CAPACITY),
            body: Vec::new(),
        }
    }

    /// Adds a header field.
    pub fn header<'a>(mut self, name: impl Into<FieldName<'a>>, value: impl fmt::Display) -> Self {
        self.printer.field(name.into(), value);
        self
    }

    /// Adds a `Via`, such as `SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK…;rport`.
    pub fn via(self, value: impl fmt::Display) -> Self {
        self.header(HeaderName::Via, value)
    }

    /// Adds all fields of that name of another message, as they are.
    pub fn copy_from<'a>(mut self, message: &Message, name: impl Into<FieldName<'a>>) -> Self {
        let name = name.into();
        for header in message
            .headers()
            .filter(|header| name.matches(header.id, header.name))
        {
            self.printer.copy(header);
        }
        self
    }

    /// Sets the body and adds its `Content-Type`.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header(HeaderName::ContentType, content_type)
    }

    /// The request. Whether the mandatory headers are there is not checked, since a layer below may add some.
    ///
    /// # Errors
    /// The first thing that was refused.
    pub fn build(self) -> Result<Message, BuildError> {
        self.printer.finish(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Method, ParseError};

    #[test]
    fn request_is_what_the_parser_reads() {
        let request = RequestBuilder::new("INVITE", "sip:b@h")
            .via("SIP/2.0/UDP a;branch=z9hG4bK1")
            .header("f", "<sip:a@h>;tag=1")
            .header(HeaderName::To, "<sip:b@h>")
            .header(HeaderName::CallId, "x")
            .header(HeaderName::CSeq, format_args!("{} {}", 1, Method::Invite))
            .header("X-Any", "ü")
            .body("application/sdp", b"v=0\r\n")
            .build()
            .unwrap();
        let parsed = Message::parse_datagram(request.bytes().clone()).unwrap();
        assert_eq!(parsed, request);
        assert_eq!(parsed.headers().map(|header| header.name).nth(1), Some("From"));
        assert_eq!(
            (parsed.body(), parsed.content_type()),
            (&b"v=0\r\n"[..], Some("application/sdp"))
        );
    }

    #[test]
    fn nothing_injects_a_line() {
        let refused = |builder: RequestBuilder| builder.build().unwrap_err();
        assert_eq!(
            refused(RequestBuilder::new("INV ITE", "sip:a")),
            BuildError::Method
        );
        assert_eq!(
            refused(RequestBuilder::new("X", "sip:a SIP/2.0\r\nY: z")),
            BuildError::RequestUri
        );
        for value in ["a\rb", "a\nb", "a\0b", "\r\n"] {
            let builder = RequestBuilder::new("X", "sip:a").header(HeaderName::Subject, value);
            assert_eq!(refused(builder), BuildError::Value(HeaderName::Subject));
        }
        let twice = RequestBuilder::new("X", "sip:a")
            .header("From", "<sip:a>")
            .header("f", "<sip:b>");
        assert_eq!(
            refused(twice),
            BuildError::Refused(ParseError::Duplicate(HeaderName::From))
        );
    }
}
