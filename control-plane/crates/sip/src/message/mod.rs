//! SIP messages: parsing, typed views, printing (RFC 3261 §7, §18.3, §20, §25).
//!
//! A [`Message`] is one [`Bytes`] and a table of where each header field lies in it. Parsing checks what every element
//! must be able to read; everything else is read on demand by views that borrow. Messages are made and changed by
//! [`RequestBuilder`], [`ResponseBuilder`] and [`Edit`], which refuse what has not the form of a message. Every request
//! that was taken can be answered: what the limits let in leaves room for what an answer adds.
//!
//! ```
//! use bytes::Bytes;
//! use sip::message::{HeaderName, Message, Method, ResponseBuilder, reason_phrase};
//!
//! let datagram = "OPTIONS sip:bob@example.com SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7\r\n\
//!     f: Alice <sip:alice@example.com>;tag=a1\r\nt: <sip:bob@example.com>\r\ni: 17@192.0.2.1\r\n\
//!     CSeq: 1 OPTIONS\r\n\r\n";
//! let answer = match Message::parse_datagram(Bytes::from(datagram)) {
//!     Ok(request) if request.method() == Some(Method::Options) => {
//!         assert_eq!(request.from()?.display, Some("Alice"));
//!         assert_eq!(request.header(HeaderName::CallId), Some("17@192.0.2.1"));
//!         ResponseBuilder::for_request(&request, 200, "OK").to_tag("b1").build()
//!     }
//!     Ok(request) => ResponseBuilder::for_request(&request, 405, reason_phrase(405)).build(),
//!     // A broken request is answered if it is known who sent it; a broken response or ACK never is.
//!     Err(failure) => match failure.answer() {
//!         Some((request, status)) => ResponseBuilder::for_request(request, status, reason_phrase(status)).build(),
//!         None => return Ok(()),
//!     },
//! }?;
//! assert_eq!(answer.to()?.tag(), Some("b1"));
//! assert!(answer.bytes().starts_with(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod check;
mod cseq;
mod edit;
mod error;
pub mod framing;
mod grammar;
mod header_name;
mod host;
mod limits;
mod method;
mod name_addr;
mod overload;
mod params;
mod parse;
mod printer;
mod response;
mod scan;
mod splice;
mod start_line;
mod status;
mod telephone;
mod uri;
mod via;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use builder::RequestBuilder;
pub use cseq::CSeq;
pub use edit::Edit;
pub use error::{BuildError, HeaderError, ParseError, ParseFailure, SyntaxError};
pub use grammar::Values;
pub use header_name::{FieldName, HeaderName};
pub use host::Host;
pub use limits::Limits;
pub use method::Method;
pub use name_addr::NameAddr;
pub use overload::{OVERLOAD_OFFER, Overload, mentions_overload};
pub use params::{Iter as ParamIter, Param, Params, unquote};
pub use response::ResponseBuilder;
pub use status::reason_phrase;
pub use telephone::{digits, is_telephone};
pub use uri::{Scheme, Uri};
pub use via::{BRANCH_COOKIE, Via};

use scan::Entry;
use start_line::StartLine;

/// A request or a response. Cloning copies no text.
///
/// Invariants: the head is UTF-8; no header value holds CR or LF (continuation lines were joined); no header of
/// [`HeaderName::is_singleton`] stands there twice.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    entries: Arc<[Entry]>,
    /// The known names that are there, by [`HeaderName::bit`].
    present: u128,
    head_len: usize,
}

/// A header field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as written.
    pub name: &'a str,
    /// The known name, or [`HeaderName::Other`].
    pub id: HeaderName,
    /// The value without white space around it.
    pub value: &'a str,
}

impl Message {
    fn text(&self, span: start_line::Span) -> &str {
        // The scan checked the whole head, and spans end at ASCII characters.
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }

    /// Whether this is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method of a request.
    pub fn method(&self) -> Option<Method<'_>> {
        match self.start {
            StartLine::Request { method, .. } => Some(Method::of(self.text(method))),
            StartLine::Response { .. } => None,
        }
    }

    /// The request URI as written.
    pub fn request_uri(&self) -> Option<&str> {
        match self.start {
            StartLine::Request { uri, .. } => Some(self.text(uri)),
            StartLine::Response { .. } => None,
        }
    }

    /// The status code of a response, 100 to 699.
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase of a response, which may be empty.
    pub fn reason_phrase(&self) -> Option<&str> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { reason, .. } => Some(self.text(reason)),
        }
    }

    /// All header fields in their order.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = Header<'_>> + Clone {
        self.entries.iter().map(|entry| Header {
            name: self.text(entry.name),
            id: entry.id,
            value: self.text(entry.value),
        })
    }

    /// Whether a header of that known name is there.
    pub const fn has(&self, name: HeaderName) -> bool {
        self.present & name.bit() != 0
    }

    /// The values of all fields of that name, each as one text.
    pub fn fields<'a>(&'a self, name: impl Into<FieldName<'a>>) -> impl Iterator<Item = &'a str> + Clone {
        let name = name.into();
        let entries = if self.has(name.id()) {
            &self.entries[..]
        } else {
            &[]
        };
        entries
            .iter()
            .filter(move |entry| name.id() == entry.id && name.matches(entry.id, self.text(entry.name)))
            .map(|entry| self.text(entry.value))
    }

    /// The value of the first field of that name: a [`HeaderName`], or text for any other name.
    pub fn header<'a>(&'a self, name: impl Into<FieldName<'a>>) -> Option<&'a str> {
        self.fields(name).next()
    }

    /// The values of all fields of that name, divided at commas: for headers whose grammar is a list
    /// (RFC 3261 §7.3.1), so not for `Date`, `Subject`, or challenges and credentials.
    pub fn values<'a>(&'a self, name: impl Into<FieldName<'a>>) -> impl Iterator<Item = &'a str> + Clone {
        self.fields(name)
            .flat_map(Values::new)
            .filter(|value| !value.is_empty())
    }

    /// Whether a list header such as `Supported`, `Require` or `Allow` has that token, compared without case.
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token))
    }

    /// All `Via` values, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(HeaderName::Via)
            .map(|value| view(HeaderName::Via, Via::split(value)))
    }

    /// The topmost `Via`.
    ///
    /// # Errors
    /// When there is none; in a message that came from the parser there is one, and it can be read.
    pub fn via(&self) -> Result<Via<'_>, HeaderError> {
        self.vias()
            .next()
            .unwrap_or(Err(HeaderError::Missing(HeaderName::Via)))
    }

    /// `From`. It was checked when the message was taken, and is only split here: of a message that is not the parser's the
    /// URI may turn out to be none.
    ///
    /// # Errors
    /// As for [`Message::via`].
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.party(HeaderName::From)
    }

    /// `To`, as [`from`](Self::from).
    ///
    /// # Errors
    /// As for [`Message::via`].
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.party(HeaderName::To)
    }

    fn party(&self, name: HeaderName) -> Result<NameAddr<'_>, HeaderError> {
        view(name, NameAddr::split(self.required(name)?))
    }

    /// `Call-ID`.
    ///
    /// # Errors
    /// As for [`Message::via`].
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        self.required(HeaderName::CallId)
    }

    /// `CSeq`.
    ///
    /// # Errors
    /// As for [`Message::via`].
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        view(HeaderName::CSeq, CSeq::parse(self.required(HeaderName::CSeq)?))
    }

    /// The first `Contact`, if there is one. The `*` of a REGISTER is an error here: see [`Message::contacts`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contact(&self) -> Result<Option<NameAddr<'_>>, HeaderError> {
        self.contacts().next().transpose()
    }

    /// All `Contact` values.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(HeaderName::Contact)
    }

    /// All `Record-Route` values, topmost first.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(HeaderName::RecordRoute)
    }

    /// All `Route` values, topmost first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(HeaderName::Route)
    }

    /// The values of any header that is a list of name-addr.
    pub fn addresses(&self, name: HeaderName) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name)
            .map(move |value| view(name, NameAddr::parse(value)))
    }

    /// `Max-Forwards`, if it is there.
    ///
    /// # Errors
    /// When it is not a number from 0 to 255.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(text) = self.header(HeaderName::MaxForwards) else {
            return Ok(None);
        };
        let number = grammar::number(text, 255).and_then(|number| u8::try_from(number).ok());
        view(
            HeaderName::MaxForwards,
            number.map(Some).ok_or(SyntaxError::Number),
        )
    }

    /// The number at the start of a header such as `Expires`, `Min-SE`, `Session-Expires` or `RSeq`; parameters and
    /// comments after it are let be.
    ///
    /// # Errors
    /// When the header is there and does not start with a number below 2³².
    pub fn number(&self, name: HeaderName) -> Result<Option<u32>, HeaderError> {
        let Some(text) = self.header(name) else {
            return Ok(None);
        };
        let end = text.find([';', ' ', '\t', '(']).unwrap_or(text.len());
        view(
            name,
            grammar::number(&text[..end], u32::MAX)
                .map(Some)
                .ok_or(SyntaxError::Number),
        )
    }

    /// The body, empty if there is none.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head_len..).unwrap_or_default()
    }

    /// The body, sharing memory with the message.
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice(self.head_len.min(self.bytes.len())..)
    }

    /// `Content-Type` as written.
    pub fn content_type(&self) -> Option<&str> {
        self.header(HeaderName::ContentType)
    }

    /// The wire image: head and body, without what followed them in the datagram, and with continuation lines joined.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn required(&self, name: HeaderName) -> Result<&str, HeaderError> {
        self.header(name).ok_or(HeaderError::Missing(name))
    }
}

fn view<T>(name: HeaderName, parsed: Result<T, SyntaxError>) -> Result<T, HeaderError> {
    parsed.map_err(|syntax| HeaderError::Malformed(name, syntax))
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    /// The start line and the size: bodies and credentials have no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.method(), self.request_uri()) {
            (Some(method), Some(uri)) => write!(f, "{method} {uri:?}")?,
            _ => write!(f, "{}", self.status().unwrap_or_default())?,
        }
        write!(f, " ({} bytes)", self.bytes.len())
    }
}
