//! Character classes and small scanners of RFC 3261 §25.1 that several views share.

/// Marks of [`CLASS`].
const TOKEN: u8 = 1;
const USER: u8 = 2;
const URI_PARAM: u8 = 4;
const PARAM_VALUE: u8 = 8;
const URI_HEADER: u8 = 16;
const PASSWORD: u8 = 32;

/// The classes of each byte.
static CLASS: [u8; 256] = classes();

const fn mark(mut table: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] |= class;
        i += 1;
    }
    table
}

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        // The generic-param value is "token / host / quoted-string"; peers put much else into tags and branches.
        // What would end the value or open a quoted string is all that stays out.
        if !matches!(byte, b'"' | b'<' | b'>' | b',' | b';') {
            table[byte as usize] |= PARAM_VALUE;
        }
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] |= TOKEN | USER | URI_PARAM | URI_HEADER | PASSWORD;
        }
        byte += 1;
    }
    table = mark(table, b"-.!%*_+`'~", TOKEN);
    // mark and escaped (RFC 3261 §25.1, `unreserved`).
    table = mark(table, b"-_.!~*'()%", USER | URI_PARAM | URI_HEADER | PASSWORD);
    // `user-unreserved`, and "#": not in the grammar, but what telephones send in feature codes such as *21#.
    table = mark(table, b"&=+$,;?/#", USER);
    table = mark(table, b"&=+$,", PASSWORD);
    table = mark(table, b"[]/:&+$", URI_PARAM);
    mark(table, b"[]/?:+$=&", URI_HEADER)
}

fn all(text: &str, class: u8) -> bool {
    text.bytes().all(|byte| CLASS[byte as usize] & class != 0)
}

/// `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// `user`, and every escape in it complete.
pub(super) fn is_user(text: &str) -> bool {
    !text.is_empty() && all(text, USER) && escapes_complete(text)
}

/// `password`, which may be empty.
pub(super) fn is_password(text: &str) -> bool {
    all(text, PASSWORD) && escapes_complete(text)
}

/// `1*paramchar`.
pub(super) fn is_uri_param(text: &str) -> bool {
    !text.is_empty() && all(text, URI_PARAM) && escapes_complete(text)
}

/// `pvalue`, a little wider: peers send "name=" and base64 with its equals signs, and neither misleads anybody.
pub(super) fn is_uri_param_value(text: &str) -> bool {
    let unpadded = text.trim_end_matches('=');
    unpadded.is_empty() || is_uri_param(unpadded)
}

/// The `headers` of a URI, without the question mark.
pub(super) fn is_uri_headers(text: &str) -> bool {
    !text.is_empty() && all(text, URI_HEADER) && escapes_complete(text)
}

/// A parameter value that is not a quoted string.
pub(super) fn is_param_value(text: &str) -> bool {
    all(text, PARAM_VALUE)
}

/// Whether each `%` is followed by two hexadecimal digits.
pub(super) fn escapes_complete(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'%', bytes).all(|at| {
        bytes.get(at + 1).is_some_and(u8::is_ascii_hexdigit)
            && bytes.get(at + 2).is_some_and(u8::is_ascii_hexdigit)
    })
}

/// White space inside a header value (`LWS`; folding is spaces by then, see [`Message`](super::Message)).
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without white space at its start.
pub(super) fn trim_start(text: &str) -> &str {
    let count = text.bytes().take_while(|byte| is_space(*byte)).count();
    &text[count..]
}

/// Without white space at its end.
pub(super) fn trim_end(text: &str) -> &str {
    let count = text.bytes().rev().take_while(|byte| is_space(*byte)).count();
    &text[..text.len() - count]
}

/// Without white space at both ends.
pub(super) fn trim(text: &str) -> &str {
    trim_end(trim_start(text))
}

/// The text up to the first white space, and the rest from there on.
pub(super) fn split_at_space(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(is_space).unwrap_or(text.len()))
}

/// The index of the quotation mark that closes the quoted string which opens at `open`.
pub(super) fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..)?) {
        at += found;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
    None
}

/// A decimal number of digits alone, leading zeros allowed. `None` when it is empty, has another character, or is
/// above `max`.
pub(super) fn number(text: &str, max: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
        if value > u64::from(max) {
            return None;
        }
    }
    u32::try_from(value).ok()
}

/// Splits a header value at commas outside quoted strings and angle brackets (RFC 3261 §7.3.1).
#[derive(Clone, Debug)]
pub struct Values<'a> {
    rest: Option<&'a str>,
}

impl<'a> Values<'a> {
    /// The values of one header field.
    pub fn new(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }

    /// What has not been iterated over yet.
    pub(super) fn rest(&self) -> &'a str {
        self.rest.unwrap_or_default()
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(found) = memchr::memchr3(b',', b'"', b'<', &bytes[at..]) {
            at += found;
            let skip_to = match bytes[at] {
                b',' => {
                    self.rest = Some(&text[at + 1..]);
                    return Some(trim(&text[..at]));
                }
                b'"' => quoted_end(bytes, at),
                _ => memchr::memchr(b'>', &bytes[at..]).map(|offset| at + offset),
            };
            match skip_to {
                Some(end) => at = end + 1,
                None => break,
            }
        }
        self.rest = None;
        Some(trim(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_split_outside_quotes_and_brackets() {
        let values: Vec<_> = Values::new(r#""a,\"b" <sip:x@y;p=1,2>;q=1 , <sip:z>,sip:w"#).collect();
        assert_eq!(values, [r#""a,\"b" <sip:x@y;p=1,2>;q=1"#, "<sip:z>", "sip:w"]);
        assert_eq!(Values::new("").collect::<Vec<_>>(), [""]);
        assert_eq!(Values::new("\"open, <x").count(), 1);
    }

    #[test]
    fn numbers_stop_at_their_limit() {
        assert_eq!(number("0009", 10), Some(9));
        assert_eq!(number("36893488147419103232", u32::MAX), None);
        assert_eq!(number("4294967295", u32::MAX), Some(u32::MAX));
        assert_eq!(number("", 1), None);
        assert_eq!(number("+1", 1), None);
    }

    #[test]
    fn quoted_string_ends_after_escapes() {
        assert_eq!(quoted_end(br#""a\"b" "#, 0), Some(5));
        assert_eq!(quoted_end(br#""a\"#, 0), None);
        assert_eq!(quoted_end(br#""a"#, 0), None);
    }
}
