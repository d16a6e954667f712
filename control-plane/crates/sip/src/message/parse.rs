use bytes::{Buf, Bytes};

use super::check::check;
use super::scan::Scan;
use super::{Limits, Message, ParseError, ParseFailure};

impl Message {
    /// Parses one datagram under [`Limits::default`]. See [`Message::parse_datagram_with`].
    ///
    /// # Errors
    /// The first fault, with as much of the message as an answer needs.
    pub fn parse_datagram(datagram: Bytes) -> Result<Self, ParseFailure> {
        Self::parse_datagram_with(datagram, &Limits::default())
    }

    /// Parses one datagram. Line ends before the start line are skipped (RFC 3261 §7.5). Bytes after the body are cut
    /// off; a body shorter than `Content-Length` is an error; without `Content-Length` the body is the rest (§18.3).
    /// Allocates the header table, and a copy if there are continuation lines.
    ///
    /// # Errors
    /// The first fault, with as much of the message as an answer needs.
    pub fn parse_datagram_with(mut datagram: Bytes, limits: &Limits) -> Result<Self, ParseFailure> {
        let limits = limits.clamped();
        while datagram.starts_with(b"\r\n") {
            datagram.advance(2);
        }
        if datagram.is_empty() {
            return Err(ParseFailure::bare(ParseError::Empty));
        }
        let scan = Scan::of(&datagram, &limits);
        let rest = datagram.len() - scan.head_len;
        let body_len = scan.content_length.unwrap_or(rest);
        let error = scan.error.or(if body_len > limits.body_bytes {
            Some(ParseError::BodyTooLarge)
        } else if body_len > rest {
            Some(ParseError::BodyTruncated)
        } else {
            None
        });
        match error {
            Some(error) => {
                datagram.truncate(scan.head_len);
                Err(scan.failure(error, datagram))
            }
            None => {
                datagram.truncate(scan.head_len + body_len);
                scan.finish(datagram, &limits)
            }
        }
    }
}

impl Scan {
    /// The failure that `error` is, with the head in `head`.
    pub(super) fn failure(&self, error: ParseError, head: Bytes) -> ParseFailure {
        ParseFailure {
            error,
            partial: self.assemble(head, self.head_len).map(Box::new),
        }
    }

    /// The message in `bytes`, which is head and body, after the checks.
    pub(super) fn finish(&self, bytes: Bytes, limits: &Limits) -> Result<Message, ParseFailure> {
        let Some(message) = self.assemble(bytes, self.head_len) else {
            return Err(ParseFailure::bare(self.error.unwrap_or(ParseError::NotSip)));
        };
        match self.error.map_or_else(|| check(&message, limits), Err) {
            Ok(()) => Ok(message),
            Err(error) => Err(ParseFailure {
                error,
                partial: Some(Box::new(message)),
            }),
        }
    }
}
