use std::sync::Arc;

use bytes::Bytes;

use super::grammar::is_token_byte;
use super::start_line::{Span, StartLine};
use super::{HeaderName, Limits, Message, ParseError};

/// One header field: its name and value, as offsets into the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: HeaderName,
    pub(super) name: Span,
    pub(super) value: Span,
}

const NO_ENTRY: Entry = Entry {
    id: HeaderName::Other,
    name: Span { at: 0, len: 0 },
    value: Span { at: 0, len: 0 },
};

/// One pass over the head of a message: lines, names, duplicates, length. It goes on after a fault, so that a broken
/// request can be answered with the headers that are well. Does not allocate.
pub(super) struct Scan {
    start: Option<StartLine>,
    entries: [Entry; Limits::TABLE_HEADERS],
    count: usize,
    present: u128,
    folded: bool,
    /// The first fault.
    pub(super) error: Option<ParseError>,
    /// The first fault that leaves open where the message ends.
    pub(super) unframed: Option<ParseError>,
    /// What `Content-Length` says.
    pub(super) content_length: Option<usize>,
    /// Bytes up to and with the empty line; of an unterminated head all that was looked at.
    pub(super) head_len: usize,
}

impl Scan {
    /// Scans the head at the start of `bytes`; what follows it is not looked at. `limits` are clamped.
    pub(super) fn of(bytes: &[u8], limits: &Limits) -> Self {
        let window = &bytes[..bytes.len().min(limits.head_bytes)];
        let mut scan = Self {
            start: None,
            entries: [NO_ENTRY; Limits::TABLE_HEADERS],
            count: 0,
            present: 0,
            folded: false,
            error: None,
            unframed: None,
            content_length: None,
            head_len: window.len(),
        };
        let mut at = 0;
        let mut first = true;
        loop {
            let Some(line) = Line::read(window, at) else {
                let cut_by_limit = window.len() < bytes.len() || window.len() == limits.head_bytes;
                scan.fail(if cut_by_limit {
                    ParseError::HeadTooLarge
                } else {
                    ParseError::HeadUnterminated
                });
                break;
            };
            if line.end == line.start {
                scan.head_len = line.next;
                break;
            }
            at = line.next;
            if first {
                scan.start_line(window, &line);
                first = false;
            } else {
                scan.header(window, &line, limits);
            }
        }
        scan.check_utf8(window);
        scan
    }

    fn fail(&mut self, error: ParseError) {
        self.error.get_or_insert(error);
        if error.leaves_end_open() {
            self.unframed.get_or_insert(error);
        }
    }

    fn start_line(&mut self, window: &[u8], line: &Line) {
        let text = &window[line.start..line.end];
        if let Some(fault) = line.fault(window).or(line.nul.then_some(ParseError::Nul)) {
            self.fail(fault);
        }
        match StartLine::parse(text) {
            Ok(start) => self.start = Some(start),
            Err(broken) => {
                self.fail(broken.error);
                self.start = broken.meant;
            }
        }
        if line.folded {
            self.fail(ParseError::StartLine);
        }
    }

    fn header(&mut self, window: &[u8], line: &Line, limits: &Limits) {
        if let Some(fault) = line.fault(window) {
            return self.fail(fault);
        }
        let text = &window[line.start..line.end];
        let name_len = text
            .iter()
            .position(|byte| !is_token_byte(*byte))
            .unwrap_or(text.len());
        // HCOLON = *( SP / HTAB ) ":" SWS
        let blanks = text[name_len..]
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let colon = name_len + blanks;
        if name_len == 0 || text.get(colon) != Some(&b':') {
            return self.fail(ParseError::HeaderLine);
        }
        let id = HeaderName::of(&text[..name_len]);
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let value_at = colon + 1 + text[colon + 1..].iter().take_while(|byte| is_blank(byte)).count();
        let value_end = text[value_at..]
            .iter()
            .rposition(|byte| !is_blank(byte))
            .map_or(value_at, |last| value_at + last + 1);
        if id == HeaderName::ContentLength {
            self.content_length(&text[value_at..value_end]);
        }
        if text.len() > limits.header_bytes {
            return self.fail(ParseError::HeaderTooLarge);
        }
        if self.count == limits.headers {
            return self.fail(ParseError::TooManyHeaders);
        }
        if id.is_singleton() && self.present & id.bit() != 0 {
            return self.fail(ParseError::Duplicate(id));
        }
        self.present |= id.bit();
        self.folded |= line.folded;
        self.entries[self.count] = Entry {
            id,
            name: Span::new(line.start, line.start + name_len),
            value: Span::new(line.start + value_at, line.start + value_end),
        };
        self.count += 1;
    }

    /// Digits alone and at most nine of them, so that no addition overflows anywhere. Two fields may say the same, not
    /// different things, since two readers would then cut the stream at different places.
    fn content_length(&mut self, value: &[u8]) {
        if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
            return self.fail(ParseError::ContentLength);
        }
        let length = value
            .iter()
            .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        match self.content_length {
            Some(before) if before != length => self.fail(ParseError::ContentLengthConflict),
            _ => self.content_length = Some(length),
        }
    }

    /// The head must be UTF-8 (RFC 3261 §7). When it is not, the fields that are stay for the answer.
    fn check_utf8(&mut self, window: &[u8]) {
        if std::str::from_utf8(&window[..self.head_len]).is_ok() {
            return;
        }
        self.fail(ParseError::NotUtf8);
        let mut kept = 0;
        for index in 0..self.count {
            let entry = self.entries[index];
            if std::str::from_utf8(entry.value.of(window)).is_ok() {
                self.entries[kept] = entry;
                kept += 1;
            }
        }
        self.count = kept;
        if let Some(StartLine::Request { uri, .. }) = &mut self.start
            && std::str::from_utf8(uri.of(window)).is_err()
        {
            *uri = Span::default();
        }
        self.present = self.entries[..kept]
            .iter()
            .fold(0, |set, entry| set | entry.id.bit());
    }

    /// The message of which this is the scan: `bytes` is its head and body. `None` without a start line that says
    /// what it is. Allocates the header table, and a copy of the bytes if there is folding in them.
    pub(super) fn assemble(&self, bytes: Bytes, head_len: usize) -> Option<Message> {
        let entries = &self.entries[..self.count];
        Some(Message {
            bytes: if self.folded {
                unfold(&bytes, entries)
            } else {
                bytes
            },
            start: self.start?,
            entries: Arc::from(entries),
            present: self.present,
            head_len,
        })
    }
}

/// Replaces each line end in a header field by spaces: continuation lines mean the same as one space
/// (RFC 3261 §7.3.1), and so no view and no copy of a value ever sees CR or LF. Offsets stay.
fn unfold(bytes: &Bytes, entries: &[Entry]) -> Bytes {
    let mut copy = bytes.to_vec();
    for entry in entries {
        let field = usize::from(entry.name.at)..usize::from(entry.value.at) + usize::from(entry.value.len);
        for byte in &mut copy[field] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
    copy.into()
}

/// A line with its continuation lines.
struct Line {
    start: usize,
    /// Without the last line end.
    end: usize,
    /// Where the next line starts.
    next: usize,
    folded: bool,
    bare_line_end: bool,
    nul: bool,
}

impl Line {
    /// Reads the line that starts at `start`; `None` when it has no end.
    fn read(window: &[u8], start: usize) -> Option<Self> {
        let mut line = Self {
            start,
            end: start,
            next: start,
            folded: false,
            bare_line_end: false,
            nul: false,
        };
        let mut at = start;
        loop {
            at += memchr::memchr3(b'\r', b'\n', 0, window.get(at..)?)?;
            match window[at] {
                b'\r' if window.get(at + 1) == Some(&b'\n') => {
                    (line.end, line.next) = (at, at + 2);
                    // An empty line ends the head, whatever follows it.
                    if at == start || !matches!(window.get(at + 2), Some(b' ' | b'\t')) {
                        return Some(line);
                    }
                    line.folded = true;
                    at += 2;
                }
                0 => {
                    line.nul = true;
                    at += 1;
                }
                _ => {
                    line.bare_line_end = true;
                    at += 1;
                }
            }
        }
    }

    /// A byte that may not be where it is.
    fn fault(&self, window: &[u8]) -> Option<ParseError> {
        if self.bare_line_end {
            Some(ParseError::BareLineEnd)
        } else if self.nul && !nuls_are_quoted(&window[self.start..self.end]) {
            Some(ParseError::Nul)
        } else {
            None
        }
    }
}

/// Whether each NUL stands after a backslash in a quoted string, the one place where the grammar has it
/// (RFC 3261 §25.1 `quoted-pair`, RFC 4475 §3.1.1.2).
fn nuls_are_quoted(line: &[u8]) -> bool {
    let mut quoted = false;
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            0 => return false,
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                bytes.next();
            }
            _ => {}
        }
    }
    true
}
