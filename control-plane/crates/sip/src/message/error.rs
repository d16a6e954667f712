use super::{HeaderName, Message};

/// What is wrong with the text of a URI, a name-addr or another part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.reason())]
pub enum SyntaxError {
    /// The text is empty, or a part that must be there is.
    Empty,
    /// A quoted string without its end, or text after it.
    Quote,
    /// An angle bracket without its partner, or text where none may be.
    Bracket,
    /// A display name with characters that need quotation marks.
    DisplayName,
    /// Not a URI scheme.
    Scheme,
    /// A user part or password with a character that must be escaped.
    User,
    /// Not a host name or address.
    Host,
    /// Not a port number.
    Port,
    /// A parameter without name, or with a character that it cannot have.
    Parameter,
    /// Not the headers of a URI, or headers or commas where the URI had to stand in angle brackets
    /// (RFC 3261 §20.10).
    UriHeaders,
    /// Not a token.
    Token,
    /// Not a number, or one out of range.
    Number,
}

impl SyntaxError {
    /// A short label for logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Quote => "quotation marks",
            Self::Bracket => "angle brackets",
            Self::DisplayName => "display name",
            Self::Scheme => "scheme",
            Self::User => "user part",
            Self::Host => "host",
            Self::Port => "port",
            Self::Parameter => "parameter",
            Self::UriHeaders => "URI headers",
            Self::Token => "token",
            Self::Number => "number",
        }
    }
}

/// Why a typed view of a header could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// The message has no such header.
    #[error("{0} is missing")]
    Missing(HeaderName),
    /// The header is there and cannot be read.
    #[error("{0} is malformed: {1}")]
    Malformed(HeaderName, SyntaxError),
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
    /// Nothing there, or only line ends: a keep-alive.
    #[error("no message")]
    Empty,
    /// The first line is neither a request line nor a status line, nor nearly one.
    #[error("not SIP")]
    NotSip,
    /// A request line or status line that breaks the grammar of RFC 3261 §7.1, §7.2.
    #[error("malformed start line")]
    StartLine,
    /// A request URI that cannot be read.
    #[error("malformed request URI: {0}")]
    RequestUri(SyntaxError),
    /// Another version than SIP/2.0.
    #[error("SIP version is not 2.0")]
    Version,
    /// CR or LF alone.
    #[error("CR or LF alone")]
    BareLineEnd,
    /// NUL in the head, other than after a backslash in a quoted string.
    #[error("NUL in a header")]
    Nul,
    /// The head is not UTF-8.
    #[error("headers are not UTF-8")]
    NotUtf8,
    /// A header line without a colon, or with something before it that is not a token.
    #[error("malformed header line")]
    HeaderLine,
    /// No empty line ends the head.
    #[error("headers have no end")]
    HeadUnterminated,
    /// Start line and headers exceed [`Limits::head_bytes`](super::Limits::head_bytes).
    #[error("start line and headers too large")]
    HeadTooLarge,
    /// More header fields than [`Limits::headers`](super::Limits::headers).
    #[error("too many header fields")]
    TooManyHeaders,
    /// A header field exceeds [`Limits::header_bytes`](super::Limits::header_bytes).
    #[error("header field too large")]
    HeaderTooLarge,
    /// The request URI exceeds [`Limits::uri_bytes`](super::Limits::uri_bytes) or
    /// [`Limits::params`](super::Limits::params).
    #[error("request URI too long")]
    RequestUriTooLong,
    /// A URI in this header exceeds [`Limits::uri_bytes`](super::Limits::uri_bytes).
    #[error("URI in {0} too long")]
    UriTooLong(HeaderName),
    /// A value or URI in this header exceeds [`Limits::params`](super::Limits::params).
    #[error("too many parameters in {0}")]
    TooManyParams(HeaderName),
    /// The fields of this header together exceed [`Limits::values`](super::Limits::values).
    #[error("too many values of {0}")]
    TooManyValues(HeaderName),
    /// The body exceeds [`Limits::body_bytes`](super::Limits::body_bytes).
    #[error("body too large")]
    BodyTooLarge,
    /// `Content-Length` is not a number of at most nine digits.
    #[error("malformed Content-Length")]
    ContentLength,
    /// Two `Content-Length` fields that differ.
    #[error("two Content-Length that differ")]
    ContentLengthConflict,
    /// No `Content-Length` on a stream (RFC 3261 §18.3).
    #[error("no Content-Length on a stream")]
    ContentLengthMissing,
    /// The datagram is shorter than `Content-Length` says (RFC 3261 §18.3).
    #[error("datagram shorter than Content-Length")]
    BodyTruncated,
    /// A second field of a header that may be there once.
    #[error("{0} more than once")]
    Duplicate(HeaderName),
    /// A mandatory header is missing (RFC 3261 §8.1.1).
    #[error("{0} is missing")]
    Missing(HeaderName),
    /// A header that everybody must be able to read cannot be read.
    #[error("{0} is malformed: {1}")]
    Malformed(HeaderName, SyntaxError),
    /// The method in `CSeq` is another than that of the request line (RFC 3261 §8.1.1.5).
    #[error("CSeq has another method")]
    MethodMismatch,
}

impl ParseError {
    /// The label of the drop counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotSip => "not_sip",
            Self::StartLine => "start_line",
            Self::RequestUri(_) => "request_uri",
            Self::Version => "version",
            Self::BareLineEnd => "bare_line_end",
            Self::Nul => "nul",
            Self::NotUtf8 => "not_utf8",
            Self::HeaderLine => "header_line",
            Self::HeadUnterminated => "head_unterminated",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeaderTooLarge => "header_too_large",
            Self::RequestUriTooLong => "request_uri_too_long",
            Self::UriTooLong(_) => "uri_too_long",
            Self::TooManyParams(_) => "too_many_params",
            Self::TooManyValues(_) => "too_many_values",
            Self::BodyTooLarge => "body_too_large",
            Self::ContentLength => "content_length",
            Self::ContentLengthConflict => "content_length_conflict",
            Self::ContentLengthMissing => "content_length_missing",
            Self::BodyTruncated => "body_truncated",
            Self::Duplicate(_) => "duplicate_header",
            Self::Missing(_) => "missing_header",
            Self::Malformed(..) => "malformed_header",
            Self::MethodMismatch => "method_mismatch",
        }
    }

    /// Whether it is not certain where the message ends, so that a stream cannot be read on.
    pub(super) const fn leaves_end_open(self) -> bool {
        !matches!(
            self,
            Self::StartLine
                | Self::RequestUri(_)
                | Self::Version
                | Self::RequestUriTooLong
                | Self::UriTooLong(_)
                | Self::TooManyParams(_)
                | Self::TooManyValues(_)
                | Self::Duplicate(_)
                | Self::Missing(_)
                | Self::Malformed(..)
                | Self::MethodMismatch
        )
    }

    /// The status code that a *request* with this fault is answered with; `None` where there is nobody to answer.
    /// Whether there is a request that may be answered is [`ParseFailure::answer`]'s to say.
    pub const fn response_code(self) -> Option<u16> {
        match self {
            Self::Empty | Self::NotSip => None,
            Self::Version => Some(505),
            Self::RequestUriTooLong => Some(414),
            Self::BodyTooLarge => Some(413),
            Self::HeadTooLarge
            | Self::TooManyHeaders
            | Self::HeaderTooLarge
            | Self::UriTooLong(_)
            | Self::TooManyParams(_)
            | Self::TooManyValues(_) => Some(513),
            _ => Some(400),
        }
    }
}

impl From<HeaderError> for ParseError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Missing(name) => Self::Missing(name),
            HeaderError::Malformed(name, syntax) => Self::Malformed(name, syntax),
        }
    }
}

/// A message that was refused, and as much of it as could be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct ParseFailure {
    /// The first fault.
    pub error: ParseError,
    /// The start line and those header fields that could be told apart, for an answer and for logs. It has not passed
    /// the checks, so do not act on it.
    pub partial: Option<Box<Message>>,
}

impl ParseFailure {
    pub(super) fn bare(error: ParseError) -> Self {
        Self { error, partial: None }
    }

    /// The broken request and the status code to answer it with, statelessly, by
    /// [`ResponseBuilder::for_request`](super::ResponseBuilder::for_request). `None` for a response and an ACK, which
    /// are never answered (RFC 3261 §17.1.1.3, §18.1.2), and where no `Via` says who asked.
    pub fn answer(&self) -> Option<(&Message, u16)> {
        let partial = self.partial.as_deref()?;
        let code = self.error.response_code()?;
        let answerable = partial
            .method()
            .is_some_and(|method| method != super::Method::Ack)
            && partial.header(HeaderName::Via).is_some();
        answerable.then_some((partial, code))
    }

    /// The status code to answer with: see [`ParseFailure::answer`].
    pub fn response_code(&self) -> Option<u16> {
        self.answer().map(|(_, code)| code)
    }
}

/// Why a message could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BuildError {
    /// The method is not a token.
    #[error("method is not a token")]
    Method,
    /// The request URI cannot stand in a request line.
    #[error("request URI with white space or control characters")]
    RequestUri,
    /// The status code is not 100 to 699.
    #[error("status code is not 100 to 699")]
    Status,
    /// The reason phrase has CR, LF or NUL.
    #[error("reason phrase has CR, LF or NUL")]
    Reason,
    /// The header name is not a token.
    #[error("header name is not a token")]
    Name,
    /// The value has CR, LF or NUL.
    #[error("value of {0} has CR, LF or NUL")]
    Value(HeaderName),
    /// The result breaks a rule or a limit of the parser.
    #[error("the message would be refused: {0}")]
    Refused(ParseError),
}
