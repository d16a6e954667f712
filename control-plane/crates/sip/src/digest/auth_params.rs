use std::borrow::Cow;

use super::credentials::CredentialsError;
use crate::message::unquote;

/// The most parameters that one challenge or one set of credentials may have; real ones have about ten.
const PARAMS_MAX: usize = 32;

/// The parameters of a challenge or of credentials: a scheme, then `name=value` divided by commas (RFC 3261 §25.1,
/// RFC 9110 §11.2). Not a list header: each field is one of them. Those of other schemes than Digest are not read.
#[derive(Clone, Debug)]
pub struct AuthParams<'a> {
    scheme: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> AuthParams<'a> {
    /// Reads one field.
    ///
    /// # Errors
    /// When it breaks the grammar, names a parameter twice, or has too many.
    pub fn parse(text: &'a str) -> Result<Self, CredentialsError> {
        let text = text.trim_matches([' ', '\t']);
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let (scheme, mut rest) = text.split_at(end);
        if scheme.is_empty() || !scheme.bytes().all(is_token_byte) {
            return Err(CredentialsError::Syntax);
        }
        let mut params: Vec<(&str, &str)> = Vec::with_capacity(12);
        if !scheme.eq_ignore_ascii_case("Digest") {
            // Other schemes may have one word without a name there (RFC 9110 §11.2, `token68`).
            return Ok(Self { scheme, params });
        }
        loop {
            // Empty elements are let be (RFC 9110 §5.6.1.2).
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return Ok(Self { scheme, params });
            }
            let (name, value, after) = param(rest).ok_or(CredentialsError::Syntax)?;
            let is_known = params.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if is_known || params.len() >= PARAMS_MAX {
                return Err(CredentialsError::Syntax);
            }
            params.push((name, value));
            rest = after;
        }
    }

    /// Whether the scheme is Digest.
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    /// The value of a parameter as written, with its quotation marks if it has them.
    pub fn written(&self, name: &str) -> Option<&'a str> {
        let found = |(known, _): &&(&str, &str)| known.eq_ignore_ascii_case(name);
        self.params.iter().find(found).map(|&(_, value)| value)
    }

    /// The value of a parameter without quotation marks and backslashes.
    pub fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.written(name).map(unquote)
    }
}

/// One parameter, and what follows it.
fn param(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.bytes().position(|byte| !is_token_byte(byte))?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let end = match rest.strip_prefix('"') {
        Some(inner) => quoted_length(inner)? + 2,
        None => rest.find([',', ' ', '\t', '"']).unwrap_or(rest.len()),
    };
    let (value, rest) = rest.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t']);
    let is_whole = !name.is_empty() && !value.is_empty() && (rest.is_empty() || rest.starts_with(','));
    is_whole.then_some((name, value, rest))
}

/// The bytes of a quoted string up to its closing mark.
fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// `text` as a quoted string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let text =
            "Digest username=\"a \\\"b\\\", c\" , realm = \"h\",, nc=00000001,qop=auth,opaque=\"\",x=\"ü\"";
        let params = AuthParams::parse(text).unwrap();
        assert!(params.is_digest());
        assert_eq!(params.value("Username").unwrap(), "a \"b\", c");
        assert_eq!(params.value("realm").unwrap(), "h");
        assert_eq!(params.written("nc"), Some("00000001"));
        assert_eq!(params.value("opaque").unwrap(), "");
        assert_eq!(params.value("x").unwrap(), "ü");
        assert_eq!(params.value("none"), None);
        assert!(!AuthParams::parse("Bearer").unwrap().is_digest());
    }

    #[test]
    fn broken_ones_are_refused() {
        for text in [
            "",
            "Dig\"est a=b",
            "Digest a",
            "Digest a=",
            "Digest =b",
            "Digest a=\"b",
            "Digest a=\"b\\\"",
            "Digest a=b c=d",
            "Digest a=\"b\"c",
            "Digest a=b, A=c",
            "Digest a=b\"c\"",
        ] {
            assert!(AuthParams::parse(text).is_err(), "{text}");
        }
        let many: String = (0..=PARAMS_MAX).map(|n| format!("p{n}=1,")).collect();
        assert!(AuthParams::parse(&format!("Digest {many}")).is_err());
    }

    #[test]
    fn what_is_quoted_is_read_again() {
        for text in ["", "plain", "a\"b\\c", "ü, =;"] {
            let field = format!("Digest a={}", quoted(text));
            assert_eq!(AuthParams::parse(&field).unwrap().value("a").unwrap(), text);
        }
    }
}
