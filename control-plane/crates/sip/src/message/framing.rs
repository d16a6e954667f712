//! Where one message ends and the next begins, on datagrams and on streams (RFC 3261 §7.5, §18.3; RFC 5626 §3.5).

use bytes::{Buf, Bytes, BytesMut};

use super::scan::Scan;
use super::start_line::{BrokenStartLine, StartLine};
use super::{Limits, Message, ParseError, ParseFailure};

/// What a datagram is, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// Nothing, or line ends alone: a keep-alive that wants no answer on UDP.
    KeepAlive,
    /// STUN (RFC 8489 §5): the first byte is 0 to 3, which no SIP message can start with (RFC 5626 §8).
    Stun,
    /// To be parsed as SIP.
    Sip,
}

impl DatagramKind {
    /// Tells what `datagram` is.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            _ if datagram
                .iter()
                .all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t')) =>
            {
                Self::KeepAlive
            }
            _ => Self::Sip,
        }
    }
}

/// What a stream brought.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StreamItem {
    /// A message.
    Message(Message),
    /// A message that is malformed and whose end is certain: the stream goes on after the answer, if
    /// [`ParseFailure::answer`] has one.
    Malformed(ParseFailure),
    /// The second of two line ends between messages: a ping, to be answered with one CRLF (RFC 5626 §3.5.1).
    KeepAlive,
    /// One line end between messages: the answer to our ping if there was one. The first half of a ping is reported as
    /// this too, because waiting for the second half could last for ever.
    Pong,
}

/// The stream cannot be read on: the end of the message is not certain, and guessing is how requests are smuggled.
/// Answer [`ParseFailure::answer`] if there is one, then close.
#[derive(Clone, Debug, thiserror::Error)]
#[error("stream out of step: {0}")]
pub struct FramingError(pub ParseFailure);

impl FramingError {
    /// The label of the counter.
    pub const fn reason(&self) -> &'static str {
        self.0.error.reason()
    }
}

/// Cuts a byte stream into messages.
///
/// Give it what was read by [`StreamFramer::push`], then call [`StreamFramer::next`] until it has no more. What it
/// keeps is at most one incomplete message within the limits and what was pushed last; *when* an incomplete message has
/// lasted too long is the caller's to decide, by [`StreamFramer::buffered`].
#[derive(Debug)]
pub struct StreamFramer {
    limits: Limits,
    buffer: BytesMut,
    /// The end of the head is not in the first `searched` bytes.
    searched: usize,
    /// The start line is complete and one of SIP.
    started: bool,
    /// Bytes of the message whose head is complete and whose body is not.
    awaited: Option<usize>,
    after_line_end: bool,
    failed: Option<FramingError>,
}

/// An empty buffer with more capacity than this is given back, so that idle connections hold little memory.
const IDLE_CAPACITY_MAX: usize = 4096;

impl StreamFramer {
    /// A framer at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: limits.clamped(),
            buffer: BytesMut::new(),
            searched: 0,
            started: false,
            awaited: None,
            after_line_end: false,
            failed: None,
        }
    }

    /// Takes what was read from the stream. After an error nothing is taken any more.
    pub fn push(&mut self, data: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(data);
        }
    }

    /// Bytes of an incomplete message that wait for more.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next item that is complete. What comes out does not depend on how the stream was divided into pushes.
    ///
    /// # Errors
    /// When the stream is out of step. It stays so: close the connection.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: after None more may be pushed"
    )]
    pub fn next(&mut self) -> Result<Option<StreamItem>, FramingError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let item = self.advance().map_err(|failure| {
            let error = FramingError(failure);
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
            error
        })?;
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE_CAPACITY_MAX {
            self.buffer = BytesMut::new();
        }
        Ok(item)
    }

    fn advance(&mut self) -> Result<Option<StreamItem>, ParseFailure> {
        if let Some(total) = self.awaited {
            if self.buffer.len() < total {
                return Ok(None);
            }
            let scan = Scan::of(&self.buffer, &self.limits);
            return Ok(Some(self.cut(&scan, total)));
        }
        match self.buffer.first() {
            None => return Ok(None),
            Some(b'\r') => match self.buffer.get(1) {
                None => return Ok(None),
                Some(b'\n') => return Ok(Some(self.line_end())),
                Some(_) => return Err(ParseFailure::bare(ParseError::BareLineEnd)),
            },
            Some(byte) if !super::grammar::is_token_byte(*byte) => {
                return Err(ParseFailure::bare(ParseError::NotSip));
            }
            Some(_) => self.after_line_end = false,
        }
        let window = &self.buffer[..self.buffer.len().min(self.limits.head_bytes)];
        // What was searched before is not searched again, but for the bytes that may have been the start of a mark.
        if !self.started {
            let from = self.searched.saturating_sub(1);
            if let Some(found) = memchr::memmem::find(&window[from..], b"\r\n") {
                // What speaks another protocol is found out by its first line, not after 64 KiB of it.
                let line = &window[..from + found];
                if let Err(BrokenStartLine {
                    error: ParseError::NotSip,
                    ..
                }) = StartLine::parse(line)
                {
                    return Err(ParseFailure::bare(ParseError::NotSip));
                }
                self.started = true;
            }
        }
        let from = self.searched.saturating_sub(3);
        if memchr::memmem::find(&window[from..], b"\r\n\r\n").is_none() {
            self.searched = window.len();
            if window.len() < self.limits.head_bytes {
                return Ok(None);
            }
        }
        (self.searched, self.started) = (0, false);
        let scan = Scan::of(&self.buffer, &self.limits);
        let length = scan
            .content_length
            .filter(|length| *length <= self.limits.body_bytes);
        let total = match (scan.unframed, length, scan.content_length) {
            (Some(error), _, _) => return Err(self.failure(&scan, error)),
            (None, Some(length), _) => scan.head_len + length,
            (None, None, Some(_)) => return Err(self.failure(&scan, ParseError::BodyTooLarge)),
            // RFC 3261 §18.3: a stream has no other end of a message.
            (None, None, None) => return Err(self.failure(&scan, ParseError::ContentLengthMissing)),
        };
        if self.buffer.len() < total {
            self.awaited = Some(total);
            return Ok(None);
        }
        Ok(Some(self.cut(&scan, total)))
    }

    /// A failure with the head for its answer.
    fn failure(&self, scan: &Scan, error: ParseError) -> ParseFailure {
        scan.failure(error, Bytes::copy_from_slice(&self.buffer[..scan.head_len]))
    }

    /// Takes the message of `total` bytes out of the buffer. It is copied, so that a message kept for a transaction's
    /// life does not keep the whole read buffer.
    fn cut(&mut self, scan: &Scan, total: usize) -> StreamItem {
        self.awaited = None;
        let bytes = Bytes::copy_from_slice(&self.buffer[..total]);
        self.buffer.advance(total);
        match scan.finish(bytes, &self.limits) {
            Ok(message) => StreamItem::Message(message),
            Err(failure) => StreamItem::Malformed(failure),
        }
    }

    fn line_end(&mut self) -> StreamItem {
        self.buffer.advance(2);
        self.after_line_end = !self.after_line_end;
        if self.after_line_end {
            StreamItem::Pong
        } else {
            StreamItem::KeepAlive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &str = "BYE sip:b@h SIP/2.0\r\nv: SIP/2.0/TCP a;branch=z9hG4bK1\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>;tag=2\r\n\
        i: x\r\nCSeq: 1 BYE\r\nl: 4\r\n\r\nbody";

    fn framer(data: &str) -> StreamFramer {
        let mut framer = StreamFramer::new(Limits::default());
        framer.push(data.as_bytes());
        framer
    }

    fn names(framer: &mut StreamFramer) -> Vec<&'static str> {
        let mut names = Vec::new();
        loop {
            names.push(match framer.next() {
                Ok(None) => return names,
                Ok(Some(StreamItem::Message(message))) => {
                    assert_eq!(message.body(), b"body");
                    "message"
                }
                Ok(Some(StreamItem::Malformed(_))) => "malformed",
                Ok(Some(StreamItem::KeepAlive)) => "ping",
                Ok(Some(StreamItem::Pong)) => "pong",
                Err(error) => {
                    names.push(error.reason());
                    return names;
                }
            });
        }
    }

    #[test]
    fn items_do_not_depend_on_the_division() {
        let stream = format!(
            "\r\n\r\n{BYE}\r\n{BYE}{}\r\n\r\n\r\n",
            BYE.replace("CSeq: 1", "CSeq: x")
        );
        let expected = [
            "pong",
            "ping",
            "message",
            "pong",
            "message",
            "malformed",
            "pong",
            "ping",
            "pong",
        ];
        assert_eq!(names(&mut framer(&stream)), expected);
        for split in 1..stream.len() {
            let mut framer = framer(&stream[..split]);
            let mut found = names(&mut framer);
            framer.push(&stream.as_bytes()[split..]);
            found.extend(names(&mut framer));
            assert_eq!(found, expected, "split at {split}");
        }
    }

    #[test]
    fn stream_out_of_step_stays_so() {
        for (stream, reason) in [
            ("\u{1}\u{2}", "not_sip"),
            ("\rX", "bare_line_end"),
            (&BYE.replace("l: 4\r\n", ""), "content_length_missing"),
            (&BYE.replace("l: 4", "l: -4"), "content_length"),
            (&BYE.replace("l: 4", "l: +4"), "content_length"),
            (&BYE.replace("l: 4", "l: 0000000004"), "content_length"),
            (
                &BYE.replace("l: 4", "l: 4\r\nContent-Length: 5"),
                "content_length_conflict",
            ),
            (&BYE.replace("l: 4", "l: 4\r\nX: a\nb"), "bare_line_end"),
            (&BYE.replace("l: 4", "l: 99999999"), "body_too_large"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "not_sip"),
            (&"x".repeat(70_000), "head_too_large"),
        ] {
            let mut framer = framer(stream);
            assert_eq!(framer.next().unwrap_err().reason(), reason);
            framer.push(BYE.as_bytes());
            assert_eq!(framer.next().unwrap_err().reason(), reason);
            assert_eq!(framer.buffered(), 0);
        }
    }

    #[test]
    fn framing_error_of_a_request_can_be_answered() {
        let FramingError(failure) = framer(&BYE.replace("l: 4\r\n", "")).next().unwrap_err();
        assert_eq!(failure.response_code(), Some(400));
        let FramingError(failure) = framer(&BYE.replace("BYE", "ACK").replace("l: 4\r\n", ""))
            .next()
            .unwrap_err();
        assert_eq!(failure.response_code(), None);
    }

    #[test]
    fn datagrams_are_told_apart() {
        for (data, kind) in [
            (&b""[..], DatagramKind::KeepAlive),
            (b"\r\n\r\n", DatagramKind::KeepAlive),
            (b"\0\x01\0\0", DatagramKind::Stun),
            (b"BYE", DatagramKind::Sip),
            (b"\x80", DatagramKind::Sip),
        ] {
            assert_eq!(DatagramKind::of(data), kind);
        }
    }
}
