use std::borrow::Cow;

use super::SyntaxError;
use super::grammar::{is_param_value, is_token, is_uri_param, is_uri_param_value, quoted_end, trim};

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written. Names compare without case.
    pub name: &'a str,
    /// The value as written, with its quotation marks if it has them; `None` without `=`.
    pub value: Option<&'a str>,
}

/// The parameters of a header value or of a URI, read while they are iterated over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a> {
    /// Empty, or from the first semicolon on.
    text: &'a str,
    /// In a header, values may be quoted and white space may stand around `;` and `=`; in a URI neither.
    in_uri: bool,
}

impl<'a> Params<'a> {
    /// The parameters of a header value: `text` is empty or starts with a semicolon.
    pub(super) fn of_header(text: &'a str) -> Result<Self, SyntaxError> {
        let params = Self {
            text: trim(text),
            in_uri: false,
        };
        params.check()?;
        Ok(params)
    }

    /// The parameters of a header value that has been checked.
    pub(super) fn unchecked_of_header(text: &'a str) -> Self {
        Self {
            text: trim(text),
            in_uri: false,
        }
    }

    /// The parameters of a URI: `text` is empty or starts with a semicolon.
    pub(super) fn of_uri(text: &'a str) -> Result<Self, SyntaxError> {
        let params = Self { text, in_uri: true };
        params.check()?;
        Ok(params)
    }

    fn check(&self) -> Result<(), SyntaxError> {
        if self.text.is_empty() {
            return Ok(());
        }
        if !self.text.starts_with(';') {
            return Err(SyntaxError::Parameter);
        }
        for Param { name, value } in self.iter() {
            let well_formed = if self.in_uri {
                is_uri_param(name) && value.is_none_or(is_uri_param_value)
            } else {
                is_token(name)
                    && value.is_none_or(|value| {
                        if value.starts_with('"') {
                            quoted_end(value.as_bytes(), 0) == Some(value.len() - 1)
                        } else {
                            is_param_value(value)
                        }
                    })
            };
            if !well_formed {
                return Err(SyntaxError::Parameter);
            }
        }
        Ok(())
    }

    /// All parameters in order.
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            rest: self.text,
            in_uri: self.in_uri,
        }
    }

    /// The first parameter of that name.
    pub fn find(&self, name: &str) -> Option<Param<'a>> {
        self.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first parameter of that name, as written; `None` when it is not there or has no value.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name)?.value
    }

    /// Whether a parameter of that name is there, with or without value.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The text, empty or from the first semicolon on.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }
}

/// Iterator of [`Params::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a str,
    in_uri: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let text = self.rest.strip_prefix(';')?;
        let bytes = text.as_bytes();
        let mut end = 0;
        loop {
            let found = if self.in_uri {
                memchr::memchr(b';', &bytes[end..])
            } else {
                memchr::memchr2(b';', b'"', &bytes[end..])
            };
            match found.map(|offset| end + offset) {
                None => {
                    end = bytes.len();
                    break;
                }
                Some(at) if bytes[at] == b';' => {
                    end = at;
                    break;
                }
                Some(at) => match quoted_end(bytes, at) {
                    Some(close) => end = close + 1,
                    None => {
                        end = bytes.len();
                        break;
                    }
                },
            }
        }
        self.rest = &text[end..];
        let (name, value) = match text[..end].split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&text[..end], None),
        };
        Some(if self.in_uri {
            Param { name, value }
        } else {
            Param {
                name: trim(name),
                value: value.map(trim),
            }
        })
    }
}

/// The content of a quoted string without its marks and backslashes; other text as it is (RFC 3261 §25.1,
/// `quoted-string`). Allocates only where a backslash has to go.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_params_hold_quotes_and_white_space() {
        let params = Params::of_header(r#" ; a = 1 ;b;c="x;y=\"";d="#).unwrap();
        let all: Vec<_> = params.iter().map(|p| (p.name, p.value)).collect();
        assert_eq!(
            all,
            [
                ("a", Some("1")),
                ("b", None),
                ("c", Some(r#""x;y=\"""#)),
                ("d", Some(""))
            ]
        );
        assert_eq!(unquote(params.value("C").unwrap()), "x;y=\"");
        assert!(params.contains("B") && params.value("b").is_none());
    }

    #[test]
    fn uri_values_may_be_empty_and_hold_base64() {
        let params = Params::of_uri(";ob=;x=YQ==;lr").unwrap();
        assert_eq!((params.value("ob"), params.value("x")), (Some(""), Some("YQ==")));
    }

    #[test]
    fn broken_params_are_refused() {
        for text in [
            ";",
            ";;a",
            ";a;",
            "a=1",
            ";=1",
            ";a=\"open",
            ";a=\"b\"c",
            ";a b",
            ";a=b c",
            "; a=<b>",
        ] {
            assert_eq!(Params::of_header(text), Err(SyntaxError::Parameter), "{text}");
        }
        for text in [";", ";;a", ";a;", ";=1", ";a =1", ";a=\"b\"", ";a=%4", "; lr"] {
            assert_eq!(Params::of_uri(text), Err(SyntaxError::Parameter), "{text}");
        }
    }
}
