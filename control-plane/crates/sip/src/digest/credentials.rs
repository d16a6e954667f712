use std::borrow::Cow;

use super::algorithm::Algorithm;
use super::auth_params::AuthParams;
use super::response::Qop;

/// Why credentials or a challenge cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// They break the grammar.
    Syntax,
    /// They are of another scheme than Digest.
    Scheme,
    /// A parameter is missing that must be there.
    Missing,
    /// `nc` is not eight hexadecimal digits.
    Count,
    /// `algorithm` or `qop` is none that we know.
    Unknown,
}

impl CredentialsError {
    /// The label of the refusal's counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Syntax => "credentials_syntax",
            Self::Scheme => "credentials_scheme",
            Self::Missing => "credentials_incomplete",
            Self::Count => "credentials_count",
            Self::Unknown => "credentials_unknown",
        }
    }
}

/// The value of an `Authorization` or `Proxy-Authorization` (RFC 7616 §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Who it claims to be.
    pub username: Cow<'a, str>,
    /// The realm whose password was used.
    pub realm: Cow<'a, str>,
    /// The nonce that was answered.
    pub nonce: Cow<'a, str>,
    /// The request URI as the client knew it.
    pub uri: Cow<'a, str>,
    /// The proof.
    pub response: Cow<'a, str>,
    /// The algorithm; MD5 when none is named (RFC 7616 §3.4).
    pub algorithm: Algorithm,
    /// What is protected, the client's own nonce and its count; `None` from a client of RFC 2069.
    pub protection: Option<Protection<'a>>,
}

/// The part of credentials that goes with `qop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection<'a> {
    /// What is protected.
    pub qop: Qop,
    /// The client's nonce.
    pub cnonce: Cow<'a, str>,
    /// How often the nonce was used, this request included.
    pub count: u32,
}

impl<'a> Credentials<'a> {
    /// Reads one field.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, CredentialsError> {
        let params = AuthParams::parse(text)?;
        if !params.is_digest() {
            return Err(CredentialsError::Scheme);
        }
        let required = |name| params.value(name).ok_or(CredentialsError::Missing);
        let algorithm = match params.value("algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::of(&name).ok_or(CredentialsError::Unknown)?,
        };
        let protection = match params.value("qop") {
            None => None,
            Some(qop) => Some(Protection {
                qop: Qop::of(&qop).ok_or(CredentialsError::Unknown)?,
                cnonce: required("cnonce")?,
                count: count(&required("nc")?)?,
            }),
        };
        Ok(Self {
            username: required("username")?,
            realm: required("realm")?,
            nonce: required("nonce")?,
            uri: required("uri")?,
            response: required("response")?,
            algorithm,
            protection,
        })
    }
}

/// RFC 7616 §3.4: exactly eight digits, so that the hash over them has one form.
fn count(text: &str) -> Result<u32, CredentialsError> {
    let is_count = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = is_count.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    count.ok_or(CredentialsError::Count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: &str = "Digest username=\"a\", realm=\"h\", nonce=\"n\", uri=\"sip:h\", response=\"00\", \
        algorithm=SHA-256, qop=auth-int, nc=0000000a, cnonce=\"c\"";

    #[test]
    fn a_whole_field_is_read() {
        let credentials = Credentials::parse(FIELD).unwrap();
        assert_eq!(
            (credentials.username.as_ref(), credentials.algorithm),
            ("a", Algorithm::Sha256)
        );
        let protection = credentials.protection.unwrap();
        assert_eq!((protection.qop, protection.count), (Qop::AuthInt, 10));
    }

    #[test]
    fn each_fault_has_its_reason() {
        use CredentialsError as E;
        for (from, to, error) in [
            ("Digest", "Basic", E::Scheme),
            ("username=\"a\", ", "", E::Missing),
            ("cnonce=\"c\"", "x=1", E::Missing),
            ("nc=0000000a", "nc=a", E::Count),
            ("nc=0000000a", "nc=+000000a", E::Count),
            ("SHA-256", "SHA-1", E::Unknown),
            ("auth-int", "none", E::Unknown),
            ("nonce=\"n\"", "nonce=\"n", E::Syntax),
        ] {
            assert_eq!(Credentials::parse(&FIELD.replace(from, to)), Err(error), "{to}");
        }
    }
}
