use std::sync::Arc;

use bytes::Bytes;

use super::scan::Entry;
use super::start_line::Span;
use super::{HeaderName, Limits, Message};

/// Copies whose header table is made from that of the original, without reading the text once more.
impl Message {
    /// A copy with `value` as its top `Via`; nothing else changes. `None` when the value has a line end or NUL, when the
    /// head would be longer than the header table can tell, and for a message without header fields.
    pub(crate) fn with_via(&self, value: &str) -> Option<Self> {
        const NAME: &str = "Via: ";
        let at = usize::from(self.entries.first()?.name.at);
        let added = NAME.len() + value.len() + 2;
        let is_line = !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let fits = self.head_len + added <= Limits::PRINTED.head_bytes
            && self.entries.len() < Limits::PRINTED.headers;
        if !is_line || !fits {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() + added);
        bytes.extend_from_slice(&self.bytes[..at]);
        for part in [NAME, value, "\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.bytes[at..]);
        let name_len = NAME.len() - 2;
        let via = Entry {
            id: HeaderName::Via,
            name: Span::new(at, at + name_len),
            value: Span::new(at + NAME.len(), at + NAME.len() + value.len()),
        };
        let moved = self.entries.iter().map(|entry| entry.moved_by(added, 0));
        Some(Self {
            bytes: Bytes::from(bytes),
            start: self.start,
            entries: std::iter::once(via).chain(moved).collect(),
            present: self.present | HeaderName::Via.bit(),
            head_len: self.head_len + added,
        })
    }

    /// The start line and the fields of these names alone, without a body: what is worth keeping of a message for long.
    #[must_use]
    pub fn gist(&self, names: &[HeaderName]) -> Self {
        let is_kept = |entry: &&Entry| entry.id != HeaderName::ContentLength && names.contains(&entry.id);
        let kept = || self.entries.iter().filter(is_kept);
        let start_len = match self.entries.first() {
            Some(first) => usize::from(first.name.at),
            None => self.head_len.saturating_sub(2),
        };
        let len = |entry: &Entry| entry.end() - usize::from(entry.name.at) + 2;
        let length = start_len + kept().map(len).sum::<usize>() + 2;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&self.bytes[..start_len]);
        let mut entries = Vec::with_capacity(kept().count());
        let mut present = 0;
        for entry in kept() {
            let from = usize::from(entry.name.at);
            entries.push(entry.moved_by(bytes.len(), from));
            bytes.extend_from_slice(&self.bytes[from..entry.end()]);
            bytes.extend_from_slice(b"\r\n");
            present |= entry.id.bit();
        }
        bytes.extend_from_slice(b"\r\n");
        Self {
            head_len: bytes.len(),
            bytes: Bytes::from(bytes),
            start: self.start,
            entries: Arc::from(entries),
            present,
        }
    }
}

impl Entry {
    /// Where its value ends.
    fn end(&self) -> usize {
        usize::from(self.value.at) + usize::from(self.value.len)
    }

    /// The same text in another place: what was at `from` is at `to`.
    fn moved_by(&self, to: usize, from: usize) -> Self {
        let moved = |span: Span| {
            let start = usize::from(span.at) + to - from;
            Span::new(start, start + usize::from(span.len))
        };
        Self {
            id: self.id,
            name: moved(self.name),
            value: moved(self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RequestBuilder;

    fn request() -> Message {
        let text = "INVITE sip:b@h SIP/2.0\r\nf: \"A\" <sip:a@h>;tag=1\r\nTo:\t<sip:b@h>\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\n\
            Via: SIP/2.0/UDP a;branch=z9hG4bK1,\r\n  SIP/2.0/TCP b\r\nX-Odd: y\r\nContent-Length: 3\r\n\r\nabc";
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    /// A spliced message is the one that the parser reads in its bytes.
    #[track_caller]
    fn assert_table(message: &Message) {
        let read = Message::printed(message.bytes().to_vec()).unwrap();
        assert!(message.headers().eq(read.headers()), "{message:?}");
        assert_eq!((message.start, message.present), (read.start, read.present));
        assert_eq!((message.head_len, message.body()), (read.head_len, read.body()));
    }

    #[test]
    fn a_via_goes_on_top() {
        let with_via = request().with_via("SIP/2.0/UDP me;branch=z9hG4bK2").unwrap();
        assert_table(&with_via);
        assert_eq!(with_via.via().unwrap().branch(), Some("z9hG4bK2"));
        assert_eq!((with_via.vias().count(), with_via.body()), (3, &b"abc"[..]));
        assert_eq!(with_via.from().unwrap().tag(), Some("1"));
        let none_before = RequestBuilder::new("BYE", "sip:b@h")
            .header("t", "<sip:b@h>")
            .build()
            .unwrap();
        let with_via = none_before.with_via("SIP/2.0/UDP me").unwrap();
        assert_table(&with_via);
        assert_eq!(
            with_via.bytes(),
            "BYE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP me\r\nTo: <sip:b@h>\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_via_that_does_not_fit_or_brings_a_line_is_refused() {
        for value in ["a\r\nX: y", "a\n", "\0"] {
            assert!(request().with_via(value).is_none());
        }
        let fill = |message: Message| message.with_via(&"v".repeat(20_000));
        let twice = fill(request()).and_then(fill).and_then(fill);
        assert!(twice.and_then(fill).is_none(), "the table has offsets of 16 bits");
        let mut message = request();
        let mut count = message.headers().count();
        while let Some(more) = message.with_via("v") {
            message = more;
            count += 1;
        }
        assert_eq!(count, Limits::PRINTED.headers);
    }

    #[test]
    fn a_gist_has_the_start_line_and_the_fields_asked_for() {
        let gist = request().gist(&[HeaderName::CallId, HeaderName::CSeq, HeaderName::From]);
        assert_table(&gist);
        assert_eq!(
            gist.bytes(),
            "INVITE sip:b@h SIP/2.0\r\nf: \"A\" <sip:a@h>;tag=1\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\n\r\n"
        );
        assert_eq!((gist.has(HeaderName::To), gist.body()), (false, &b""[..]));
        let nothing = request().gist(&[]);
        assert_table(&nothing);
        assert_eq!(
            nothing.gist(&[HeaderName::To]).bytes(),
            "INVITE sip:b@h SIP/2.0\r\n\r\n"
        );
    }
}
