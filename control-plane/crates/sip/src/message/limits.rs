/// Limits on one SIP message. Reaching one is an answer ([`ParseError`](super::ParseError)), never more memory.
///
/// There is no limit on nesting, because nothing nests here: comments, URIs escaped into the headers of other URIs and
/// bodies within bodies are text that no parser of this crate opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the start line and all header fields with the empty line after them. At most
    /// [`Limits::HEAD_BYTES_MAX`].
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
    pub const HEAD_BYTES_MAX: usize = 60 * 1024;
    /// The largest value that [`Limits::headers`] can take.
    pub const HEADERS_MAX: usize = 128;

    /// How many fields the header table holds. More than a message that comes in may have, as is
    /// [`Limits::TABLE_BYTES`]: so there is room for what an answer adds to what it copies, and no message can be made
    /// such that we take it and cannot answer it.
    pub(super) const TABLE_HEADERS: usize = 160;
    /// How many bytes of head the table can address, with its offsets of 16 bits.
    const TABLE_BYTES: usize = 65_535;

    /// The limits of what we print: those of the table, and of nine digits of `Content-Length`.
    pub(super) const PRINTED: Self = Self {
        head_bytes: Self::TABLE_BYTES,
        headers: Self::TABLE_HEADERS,
        header_bytes: Self::TABLE_BYTES,
        body_bytes: 999_999_999,
        uri_bytes: Self::TABLE_BYTES,
        params: Self::TABLE_BYTES,
        values: Self::TABLE_BYTES,
    };

    /// The same limits with those that exceed what can be answered lowered to it.
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
