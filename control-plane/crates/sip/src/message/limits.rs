/// Limits on one SIP message. Reaching one is an answer ([`ParseError`](super::ParseError)), never more memory.
///
/// There is no limit on nesting, because nothing nests here: comments, URIs escaped into the headers of other URIs and
/// bodies within bodies are text that no parser of this crate opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the start line and all header fields with the empty line after them. At most
    /// [`Limits::HEAD_BYTES_MAX`], since the header table holds 16-bit offsets.
    pub head_bytes: usize,
    /// Header fields in a message, at most [`Limits::HEADERS_MAX`].
    pub headers: usize,
    /// Bytes of one logical header field: its name, its value and all its continuation lines.
    pub header_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Bytes of one URI, wherever it stands.
    pub uri_bytes: usize,
    /// Parameters of one URI or of one header value.
    pub params: usize,
    /// Comma-separated values of one kind of header, over all its fields.
    pub values: usize,
}

impl Limits {
    /// The largest value that [`Limits::head_bytes`] can take.
    pub const HEAD_BYTES_MAX: usize = 65_535;
    /// The largest value that [`Limits::headers`] can take: the size of the header table.
    pub const HEADERS_MAX: usize = 128;

    /// The same limits with those that exceed what the table can hold lowered to it.
    pub(super) fn clamped(&self) -> Self {
        Self {
            head_bytes: self.head_bytes.min(Self::HEAD_BYTES_MAX),
            headers: self.headers.min(Self::HEADERS_MAX),
            ..*self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: Self::HEAD_BYTES_MAX,
            headers: Self::HEADERS_MAX,
            header_bytes: 8 * 1024,
            body_bytes: 64 * 1024,
            uri_bytes: 2 * 1024,
            params: 64,
            values: 128,
        }
    }
}
