use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;

use super::grammar::is_token;
use super::scan::Scan;
use super::{BuildError, FieldName, Header, HeaderName, Limits, Message, ParseError};

/// Room for what we add to an ordinary response, so that it is written with one allocation.
const FIELDS_CAPACITY: usize = 512;

/// Bytes that text is added to: without the detour that `io::Write` takes over its own errors.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes a message, or some of its header fields, line by line. The first fault sticks and comes out at the end, so
/// callers can chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Printer {
    out: Vec<u8>,
    error: Option<BuildError>,
}

impl Printer {
    /// A request, with room for `capacity` bytes to start with.
    pub(super) fn request(method: &str, uri: &str, capacity: usize) -> Self {
        let mut printer = Self {
            out: Vec::with_capacity(capacity),
            error: None,
        };
        if !is_token(method) {
            printer.fail(BuildError::Method);
        }
        if uri.is_empty() || uri.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            printer.fail(BuildError::RequestUri);
        }
        printer.put(&[method, " ", uri, " SIP/2.0\r\n"]);
        printer
    }

    /// A response, with room for `capacity` bytes to start with.
    pub(super) fn response(status: u16, reason: &str, capacity: usize) -> Self {
        let mut printer = Self {
            out: Vec::with_capacity(capacity),
            error: None,
        };
        if !(100..700).contains(&status) {
            printer.fail(BuildError::Status);
        }
        if reason.contains(['\r', '\n', '\0']) {
            printer.fail(BuildError::Reason);
        }
        printer.put(&["SIP/2.0 "]);
        printer.display(format_args!("{status} "));
        printer.put(&[reason, "\r\n"]);
        printer
    }

    pub(super) fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// How much is written.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Makes room for the fields of an ordinary message, if there is none yet.
    pub(super) fn reserve_fields(&mut self) {
        if self.out.capacity() == 0 {
            self.out.reserve(FIELDS_CAPACITY);
        }
    }

    /// Header fields that were written apart.
    pub(super) fn append(&mut self, fields: &Self) {
        self.out.extend_from_slice(&fields.out);
        fields.error.into_iter().for_each(|error| self.fail(error));
    }

    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    fn display(&mut self, value: impl fmt::Display) {
        // Writing to memory fails only if the value's own Display does.
        if write!(Text(&mut self.out), "{value}").is_err() {
            self.fail(BuildError::Value(HeaderName::Other));
        }
    }

    /// A header field. The value comes from outside: it must not bring a line end or NUL with it.
    pub(super) fn field(&mut self, name: FieldName<'_>, value: impl fmt::Display) {
        self.field_after(name, "", value);
    }

    /// A field of a parsed message, and `addition` from outside after its value.
    pub(super) fn copy_with(&mut self, header: Header<'_>, addition: impl fmt::Display) {
        self.field_after(header.id.into(), header.value, addition);
    }

    /// `parsed` is from a parsed message; it may hold a quoted NUL (see [`Scan`]), and no line end.
    fn field_after(&mut self, name: FieldName<'_>, parsed: &str, value: impl fmt::Display) {
        let text = name.as_str();
        if !is_token(text) {
            return self.fail(BuildError::Name);
        }
        if name.id() == HeaderName::ContentLength {
            return self.fail(BuildError::Value(HeaderName::ContentLength));
        }
        self.put(&[text, ": ", parsed]);
        let start = self.out.len();
        self.display(value);
        if self.out[start..]
            .iter()
            .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            self.fail(BuildError::Value(name.id()));
        }
        self.put(&["\r\n"]);
    }

    /// A field of a parsed message: known names in long form, others byte for byte. Its value has no line end.
    pub(super) fn copy(&mut self, header: Header<'_>) {
        let name = if header.id == HeaderName::Other {
            header.name
        } else {
            header.id.as_str()
        };
        self.put(&[name, ": ", header.value, "\r\n"]);
    }

    /// `Content-Length`, the empty line and the body; then the message as the parser sees it.
    pub(super) fn finish(mut self, body: &[u8]) -> Result<Message, BuildError> {
        self.display(format_args!("Content-Length: {}\r\n\r\n", body.len()));
        self.out.extend_from_slice(body);
        match self.error {
            Some(error) => Err(error),
            None => Message::printed(self.out),
        }
    }
}

impl Message {
    /// The message that these bytes are. What we print is held to the form, and to the limits of the header table
    /// alone: see [`Limits::PRINTED`].
    pub(super) fn printed(bytes: Vec<u8>) -> Result<Self, BuildError> {
        let scan = Scan::of(&bytes, &Limits::PRINTED);
        if let Some(error) = scan.error {
            return Err(BuildError::Refused(error));
        }
        if bytes.len() - scan.head_len > Limits::PRINTED.body_bytes {
            return Err(BuildError::Refused(ParseError::BodyTooLarge));
        }
        scan.assemble(Bytes::from(bytes), scan.head_len)
            .ok_or(BuildError::Refused(ParseError::NotSip))
    }
}
