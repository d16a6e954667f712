use super::ParseError;
use super::grammar::is_token_byte;

/// Where a piece of text lies in the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u16,
    pub(super) len: u16,
}

impl Span {
    /// `start` and `end` lie in a head, which is no longer than 65,535 bytes.
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= usize::from(u16::MAX));
        Self {
            at: start as u16,
            len: (end - start) as u16,
        }
    }

    pub(super) fn of(self, head: &[u8]) -> &[u8] {
        let at = usize::from(self.at);
        head.get(at..at + usize::from(self.len)).unwrap_or_default()
    }
}

/// The start line, as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartLine {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// A start line that breaks the grammar, with what it was meant to be if that can be told.
pub(super) struct BrokenStartLine {
    pub(super) error: ParseError,
    pub(super) meant: Option<StartLine>,
}

const VERSION: &[u8] = b"SIP/2.0";

impl StartLine {
    /// Reads the first line of a head, without its line end (RFC 3261 §7.1, §7.2).
    pub(super) fn parse(line: &[u8]) -> Result<Self, BrokenStartLine> {
        if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
            // "/" is no token character, so this is no method.
            Self::parse_status_line(line).map_err(|error| BrokenStartLine { error, meant: None })
        } else {
            Self::parse_request_line(line)
        }
    }

    fn parse_status_line(line: &[u8]) -> Result<Self, ParseError> {
        let end = memchr::memchr(b' ', line).ok_or(ParseError::StartLine)?;
        if !line[..end].eq_ignore_ascii_case(VERSION) {
            return Err(if is_version(&line[..end]) {
                ParseError::Version
            } else {
                ParseError::StartLine
            });
        }
        let digits = line.get(end + 1..end + 4).ok_or(ParseError::StartLine)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(ParseError::StartLine);
        }
        let status = digits
            .iter()
            .fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
        let reason = match line.get(end + 4) {
            // The space stands there even before an empty reason phrase; some leave it out, and nothing hangs on it.
            None => Span::default(),
            Some(b' ') => Span::new(end + 5, line.len()),
            Some(_) => return Err(ParseError::StartLine),
        };
        if !(100..700).contains(&status) {
            return Err(ParseError::StartLine);
        }
        Ok(Self::Response { status, reason })
    }

    fn parse_request_line(line: &[u8]) -> Result<Self, BrokenStartLine> {
        let not_sip = BrokenStartLine {
            error: ParseError::NotSip,
            meant: None,
        };
        let method_end = line
            .iter()
            .position(|byte| !is_token_byte(*byte))
            .unwrap_or(line.len());
        if method_end == 0 || !matches!(line.get(method_end), Some(b' ' | b'\t')) {
            return Err(not_sip);
        }
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let text_end = line
            .iter()
            .rposition(|byte| !is_blank(byte))
            .map_or(0, |last| last + 1);
        let version_at = line[..text_end]
            .iter()
            .rposition(is_blank)
            .map_or(0, |last| last + 1);
        let version = &line[version_at..text_end];
        if version_at <= method_end || version.len() < 4 || !version[..4].eq_ignore_ascii_case(b"SIP/") {
            return Err(not_sip);
        }
        // A request without doubt. The grammar has one space at two places and none elsewhere.
        let uri_at = method_end
            + line[method_end..]
                .iter()
                .take_while(|byte| is_blank(byte))
                .count();
        let uri_end = line[..version_at]
            .iter()
            .rposition(|byte| !is_blank(byte))
            .map_or(0, |last| last + 1);
        let uri = if uri_at < uri_end {
            uri_at..uri_end
        } else {
            method_end..method_end
        };
        let exact = text_end == line.len()
            && !uri.is_empty()
            && line[method_end] == b' '
            && uri.start == method_end + 1
            && version_at == uri.end + 1
            && line[uri.end] == b' '
            && !line[uri.clone()].iter().any(is_blank);
        let start = Self::Request {
            method: Span::new(0, method_end),
            uri: Span::new(uri.start, uri.end),
        };
        let error = match (exact, version.eq_ignore_ascii_case(VERSION)) {
            (true, true) => return Ok(start),
            (true, false) if is_version(version) => ParseError::Version,
            _ => ParseError::StartLine,
        };
        Err(BrokenStartLine {
            error,
            meant: Some(start),
        })
    }
}

/// `SIP/1*DIGIT.1*DIGIT`
fn is_version(text: &[u8]) -> bool {
    let Some(numbers) = text.get(4..) else {
        return false;
    };
    let Some(dot) = memchr::memchr(b'.', numbers) else {
        return false;
    };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits(&numbers[..dot]) && digits(&numbers[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> Option<(ParseError, bool)> {
        StartLine::parse(line.as_bytes())
            .err()
            .map(|broken| (broken.error, broken.meant.is_some()))
    }

    #[test]
    fn good_lines() {
        for line in [
            "INVITE sip:a SIP/2.0",
            "X-y sip:a sip/2.0",
            "SIP/2.0 200 OK",
            "SIP/2.0 100 ",
            "SIP/2.0 100",
        ] {
            assert_eq!(error(line), None, "{line}");
        }
    }

    #[test]
    fn broken_lines_say_whether_a_request_was_meant() {
        for (line, expected) in [
            ("INVITE  sip:a  SIP/2.0", (ParseError::StartLine, true)),
            ("INVITE sip:a SIP/2.0 ", (ParseError::StartLine, true)),
            ("INVITE sip:a; lr SIP/2.0", (ParseError::StartLine, true)),
            ("INVITE SIP/2.0", (ParseError::StartLine, true)),
            ("INVITE  SIP/2.0", (ParseError::StartLine, true)),
            ("OPTIONS sip:a SIP/7.0", (ParseError::Version, true)),
            ("OPTIONS sip:a SIP/2", (ParseError::StartLine, true)),
            ("GET / HTTP/1.1", (ParseError::NotSip, false)),
            ("INVITE", (ParseError::NotSip, false)),
            ("", (ParseError::NotSip, false)),
            ("\u{e9} sip:a SIP/2.0", (ParseError::NotSip, false)),
            ("SIP/2.0 4294967301 big", (ParseError::StartLine, false)),
            ("SIP/2.0 099 x", (ParseError::StartLine, false)),
            ("SIP/3.0 200 OK", (ParseError::Version, false)),
            ("SIP/2.0 2x0 OK", (ParseError::StartLine, false)),
            ("SIP/2.0", (ParseError::StartLine, false)),
        ] {
            assert_eq!(error(line), Some(expected), "{line}");
        }
    }
}
