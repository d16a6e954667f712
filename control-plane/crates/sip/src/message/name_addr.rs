use std::borrow::Cow;

use super::grammar::{quoted_end, trim, trim_end, trim_start};
use super::params::unquote;
use super::{Params, SyntaxError, Uri};

/// `name-addr` or `addr-spec` with header parameters: From, To, Contact, Route, Record-Route, Refer-To and their like
/// (RFC 3261 §20.10, §25.1; RFC 8217).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, with its quotation marks if it has them; see [`NameAddr::display_text`].
    pub display: Option<&'a str>,
    /// The URI, without angle brackets. It has been checked: [`NameAddr::parsed_uri`] succeeds.
    pub uri: &'a str,
    /// The header parameters.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Parses one value.
    ///
    /// # Errors
    /// The first part that breaks the grammar.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        Self::parse_with_uri(text).map(|(address, _)| address)
    }

    /// Splits a value that has been checked, as `From` and `To` of a message that was taken have: the parts are not looked at
    /// once more.
    pub(super) fn split(text: &'a str) -> Result<Self, SyntaxError> {
        let (display, uri, params) = Self::parts(text)?;
        Ok(Self {
            display,
            uri,
            params: Params::unchecked_of_header(params),
        })
    }

    /// Parses one value, and gives its URI in parts too.
    pub(super) fn parse_with_uri(text: &'a str) -> Result<(Self, Uri<'a>), SyntaxError> {
        let (display, uri, params) = Self::parts(text)?;
        let uri = Uri::parse(uri)?;
        let address = Self {
            display,
            uri: uri.as_str(),
            params: Params::of_header(params)?,
        };
        Ok((address, uri))
    }

    /// Display name, URI and the text of the parameters.
    fn parts(text: &'a str) -> Result<(Option<&'a str>, &'a str, &'a str), SyntaxError> {
        let text = trim(text);
        let bytes = text.as_bytes();
        let (display, rest) = if bytes.first() == Some(&b'"') {
            let close = quoted_end(bytes, 0).ok_or(SyntaxError::Quote)?;
            (Some(&text[..=close]), trim_start(&text[close + 1..]))
        } else {
            match memchr::memchr(b'<', bytes) {
                None => return Self::parts_without_brackets(text),
                Some(open) => {
                    let display = trim(&text[..open]);
                    // The grammar says tokens. Peers send more, such as letters outside ASCII; what would start another
                    // part stays out (RFC 4475 §3.1.2.15).
                    if display
                        .bytes()
                        .any(|byte| matches!(byte, b'"' | b'>' | b',' | b';' | b'@' | b'\\') || byte < b' ')
                    {
                        return Err(SyntaxError::DisplayName);
                    }
                    ((!display.is_empty()).then_some(display), &text[open..])
                }
            }
        };
        let inner = rest.strip_prefix('<').ok_or(SyntaxError::Bracket)?;
        let close = memchr::memchr(b'>', inner.as_bytes()).ok_or(SyntaxError::Bracket)?;
        Ok((display, &inner[..close], &inner[close + 1..]))
    }

    /// `addr-spec`: every parameter is the header's, and a URI with comma, question mark or semicolon would have needed
    /// the brackets (RFC 3261 §20.10).
    fn parts_without_brackets(text: &'a str) -> Result<(Option<&'a str>, &'a str, &'a str), SyntaxError> {
        if text.is_empty() {
            return Err(SyntaxError::Empty);
        }
        let end = memchr::memchr(b';', text.as_bytes()).unwrap_or(text.len());
        let (uri, params) = text.split_at(end);
        let uri = trim_end(uri);
        if memchr::memchr2(b'?', b',', uri.as_bytes()).is_some() {
            return Err(SyntaxError::UriHeaders);
        }
        Ok((None, uri, params))
    }

    /// The display name without quotation marks and backslashes.
    pub fn display_text(&self) -> Option<Cow<'a, str>> {
        self.display.map(unquote)
    }

    /// The URI in parts.
    ///
    /// # Errors
    /// None for a value that came from [`NameAddr::parse`].
    pub fn parsed_uri(&self) -> Result<Uri<'a>, SyntaxError> {
        Uri::parse(self.uri)
    }

    /// The `tag` parameter (RFC 3261 §19.3); an empty one counts as none.
    pub fn tag(&self) -> Option<&'a str> {
        self.param("tag").filter(|tag| !tag.is_empty())
    }

    /// The value of a header parameter.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.value(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        for (text, display, uri, tag) in [
            ("<sip:a@b>", None, "sip:a@b", None),
            ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
            ("sip:a@b ;\ttag = 1", None, "sip:a@b", Some("1")),
            ("caller<sip:a@b>;tag=323", Some("caller"), "sip:a@b", Some("323")),
            (
                "A. G. Bell <sip:a@b;tag=no>",
                Some("A. G. Bell"),
                "sip:a@b;tag=no",
                None,
            ),
            (
                r#""<x>, \"y\"" <sip:a@b>"#,
                Some(r#""<x>, \"y\"""#),
                "sip:a@b",
                None,
            ),
            ("Zoë <sip:a@b>", Some("Zoë"), "sip:a@b", None),
        ] {
            let parsed = NameAddr::parse(text).unwrap();
            assert_eq!(
                (parsed.display, parsed.uri, parsed.tag()),
                (display, uri, tag),
                "{text}"
            );
        }
        let quoted = NameAddr::parse(r#""\"y\"" <sip:a@b>"#).unwrap();
        assert_eq!(quoted.display_text().unwrap(), "\"y\"");
    }

    #[test]
    fn broken_values_are_refused() {
        use SyntaxError as E;
        for (text, error) in [
            ("", E::Empty),
            ("*", E::Scheme),
            ("<sip:a@b", E::Bracket),
            ("\"open <sip:a@b>", E::Quote),
            ("\"A\" sip:a@b", E::Bracket),
            ("Bell, Alexander <sip:a@b>", E::DisplayName),
            ("<sip:a@b> x", E::Parameter),
            ("< sip:a@b>", E::Scheme),
            ("<sip:a@b >", E::Host),
            ("sip:a@b?Route=%3Csip:c%3E", E::UriHeaders),
            ("<>", E::Scheme),
        ] {
            assert_eq!(NameAddr::parse(text), Err(error), "{text}");
        }
    }
}
