use std::borrow::Cow;
use std::fmt;

use super::grammar::{is_password, is_uri_headers, is_user};
use super::host::port;
use super::{Host, Params, SyntaxError};

/// The scheme of a URI. Schemes compare without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel` (RFC 3966)
    Tel,
    /// Any other: a request for it is answered 416, not refused as malformed.
    Other(&'a str),
}

/// A URI, split but not decoded. SIP and SIPS have all parts (RFC 3261 §19.1), `tel` has its number and parameters, any
/// other scheme only its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    text: &'a str,
    scheme: Scheme<'a>,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: Option<Host<'a>>,
    port: Option<u16>,
    params: Params<'a>,
    headers: Option<&'a str>,
}

impl<'a> Uri<'a> {
    /// Parses a URI without angle brackets and without white space around it.
    ///
    /// # Errors
    /// The first part that breaks the grammar.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let colon = memchr::memchr(b':', text.as_bytes()).ok_or(SyntaxError::Scheme)?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let uri = Self {
            text,
            scheme: Scheme::of(scheme)?,
            user: None,
            password: None,
            host: None,
            port: None,
            params: Params::default(),
            headers: None,
        };
        match uri.scheme {
            Scheme::Sip | Scheme::Sips => uri.with_sip_parts(rest),
            Scheme::Tel => uri.with_tel_parts(rest),
            Scheme::Other(_) if is_opaque(rest) => Ok(uri),
            Scheme::Other(_) => Err(SyntaxError::Host),
        }
    }

    fn with_sip_parts(mut self, rest: &'a str) -> Result<Self, SyntaxError> {
        // "@" must be escaped everywhere but before the host, while ";", "?" and ":" may stand in the user part:
        // so it decides first (RFC 4475 §3.1.1.9).
        let after_user = match memchr::memchr(b'@', rest.as_bytes()) {
            Some(at) => {
                let user_info = &rest[..at];
                let (user, password) = match user_info.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (user_info, None),
                };
                if !is_user(user) || !password.is_none_or(is_password) {
                    return Err(SyntaxError::User);
                }
                (self.user, self.password) = (Some(user), password);
                &rest[at + 1..]
            }
            None => rest,
        };
        let host_end = memchr::memchr2(b';', b'?', after_user.as_bytes()).unwrap_or(after_user.len());
        let (host_port, tail) = after_user.split_at(host_end);
        let (params, headers) = match tail.split_once('?') {
            Some((params, headers)) => (params, Some(headers)),
            None => (tail, None),
        };
        if host_port.bytes().any(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(SyntaxError::Host);
        }
        let (host, port_text) = Host::parse_with_port(host_port)?;
        self.host = Some(host);
        self.port = port_text.map(port).transpose()?;
        self.params = Params::of_uri(params)?;
        if !headers.is_none_or(is_uri_headers) {
            return Err(SyntaxError::UriHeaders);
        }
        self.headers = headers;
        Ok(self)
    }

    fn with_tel_parts(mut self, rest: &'a str) -> Result<Self, SyntaxError> {
        let end = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
        let (number, params) = rest.split_at(end);
        // RFC 3966 §3: digits (hexadecimal in local numbers), "*", "#" and visual separators.
        let is_number = !number.is_empty()
            && number
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b"+*#-.()".contains(&byte))
            && number.rfind('+').is_none_or(|at| at == 0);
        if !is_number {
            return Err(SyntaxError::User);
        }
        self.user = Some(number);
        self.params = Params::of_uri(params)?;
        Ok(self)
    }

    /// The whole text.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme<'a> {
        self.scheme
    }

    /// The user part as written, or the number of a `tel` URI.
    pub const fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The user part with its escapes resolved. Those that do not make UTF-8 become U+FFFD.
    pub fn user_decoded(&self) -> Option<Cow<'a, str>> {
        self.user.map(decode)
    }

    /// The password, never to be logged.
    pub const fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host; `None` only when the scheme is neither SIP nor SIPS.
    pub const fn host(&self) -> Option<Host<'a>> {
        self.host
    }

    /// The port, if one is written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameters.
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The value of a URI parameter.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.value(name)
    }

    /// Whether the parameter `lr` says loose routing (RFC 3261 §16.12.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.params.contains("lr")
    }

    /// The `headers` after the question mark, as written.
    pub const fn headers(&self) -> Option<&'a str> {
        self.headers
    }

    /// The text without its `headers`: what may stand as a request URI or target (RFC 3261 §19.1.1, table 1).
    pub fn without_headers(&self) -> &'a str {
        match self.headers {
            Some(headers) => &self.text[..self.text.len() - headers.len() - 1],
            None => self.text,
        }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl<'a> Scheme<'a> {
    fn of(text: &'a str) -> Result<Self, SyntaxError> {
        let bytes = text.as_bytes();
        let well_formed = bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
        if !well_formed {
            return Err(SyntaxError::Scheme);
        }
        Ok(if text.eq_ignore_ascii_case("sip") {
            Self::Sip
        } else if text.eq_ignore_ascii_case("sips") {
            Self::Sips
        } else if text.eq_ignore_ascii_case("tel") {
            Self::Tel
        } else {
            Self::Other(text)
        })
    }
}

/// What may follow the colon of a URI whose scheme we do not know (RFC 3261 §25.1 `absoluteURI`).
fn is_opaque(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| (0x21..0x7f).contains(&byte) && !matches!(byte, b'<' | b'>' | b'"'))
}

/// Resolves `%HH`. Incomplete escapes stay as they are.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let hex = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = match (bytes[at], bytes.get(at + 1), bytes.get(at + 2)) {
            (b'%', Some(&high), Some(&low)) => hex(high).zip(hex(low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_uri_has_all_parts() {
        let uri = Uri::parse("SIP:al%69ce:pw@h.example.com:5070;transport=tcp;lr?Subject=x&a=b").unwrap();
        assert_eq!(uri.scheme(), Scheme::Sip);
        assert_eq!((uri.user(), uri.password()), (Some("al%69ce"), Some("pw")));
        assert_eq!(uri.user_decoded().unwrap(), "alice");
        assert_eq!(
            (uri.host(), uri.port()),
            (Some(Host::Name("h.example.com")), Some(5070))
        );
        assert_eq!(uri.param("Transport"), Some("tcp"));
        assert!(uri.is_loose_router());
        assert_eq!(uri.headers(), Some("Subject=x&a=b"));
        assert_eq!(
            uri.without_headers(),
            "SIP:al%69ce:pw@h.example.com:5070;transport=tcp;lr"
        );
    }

    #[test]
    fn semicolon_in_user_is_not_a_parameter() {
        let uri = Uri::parse("sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!(uri.user_decoded().unwrap(), "user;par=u@example.net");
        assert_eq!(uri.params().iter().count(), 0);
    }

    #[test]
    fn tel_and_other_schemes() {
        let tel = Uri::parse("tel:+1-(201)-555.0123;phone-context=x").unwrap();
        assert_eq!(
            (tel.scheme(), tel.user(), tel.host()),
            (Scheme::Tel, Some("+1-(201)-555.0123"), None)
        );
        assert_eq!(tel.param("phone-context"), Some("x"));
        assert_eq!(
            Uri::parse("urn:service:sos").unwrap().scheme(),
            Scheme::Other("urn")
        );
    }

    #[test]
    fn broken_uris_are_refused() {
        use SyntaxError as E;
        for (text, error) in [
            ("", E::Scheme),
            ("example.com", E::Scheme),
            ("<sip:a@b>", E::Scheme),
            ("sip:", E::Host),
            ("sip:@h", E::User),
            ("sip:a b@h", E::User),
            ("sip:a%4@h", E::User),
            ("sip:a@h@i", E::Host),
            ("sip:a@h:", E::Port),
            ("sip:a@h:65536", E::Port),
            ("sip:a@h :5060", E::Host),
            ("sip:a@h; lr", E::Parameter),
            ("sip:a@h?", E::UriHeaders),
            ("sip:2001:db8::10", E::Host),
            ("tel:", E::User),
            ("tel:1+2", E::User),
            ("urn:", E::Host),
            ("urn:a b", E::Host),
        ] {
            assert_eq!(Uri::parse(text).map(|uri| uri.as_str()), Err(error), "{text}");
        }
    }
}
