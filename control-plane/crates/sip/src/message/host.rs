use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::SyntaxError;
use super::grammar::{number, trim_end, trim_start};

/// The host of a URI or of a `Via` (RFC 3261 §25.1 `host`, RFC 5954).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A domain name. Names compare without case.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; in brackets on the wire.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Parses a host, an IPv6 address only in its brackets.
    ///
    /// # Errors
    /// [`SyntaxError::Host`] for text that is none of the three.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(SyntaxError::Host)?;
            // RFC 3261's grammar allowed a third colon before an embedded IPv4 address; RFC 5118 §4.10 advises to drop
            // it where it comes in.
            let parsed = inner.parse().or_else(|_| inner.replacen(":::", "::", 1).parse());
            return parsed.map(Self::V6).map_err(|_| SyntaxError::Host);
        }
        if let Some(address) = ipv4(text.as_bytes()) {
            return Ok(Self::V4(address));
        }
        if is_host_name(text) {
            Ok(Self::Name(text))
        } else {
            Err(SyntaxError::Host)
        }
    }

    /// Parses `host [ ":" port ]`; the port is given as it stands. White space around the colon is the caller's to refuse
    /// or remove.
    ///
    /// # Errors
    /// [`SyntaxError::Host`] as [`Host::parse`], and for something else behind the host.
    pub fn parse_with_port(text: &'a str) -> Result<(Self, Option<&'a str>), SyntaxError> {
        let bytes = text.as_bytes();
        let host_end = if bytes.first() == Some(&b'[') {
            memchr::memchr(b']', bytes).ok_or(SyntaxError::Host)? + 1
        } else {
            memchr::memchr(b':', bytes).unwrap_or(bytes.len())
        };
        let (host, rest) = text.split_at(host_end);
        let host = Self::parse(trim_end(host))?;
        match trim_start(rest) {
            "" => Ok((host, None)),
            rest => Ok((host, Some(rest.strip_prefix(':').ok_or(SyntaxError::Host)?))),
        }
    }

    /// The address, if the host is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// Whether both are the same host: names without case, addresses by value.
    pub fn is_same(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a.ip().is_some() && a.ip() == b.ip(),
        }
    }
}

/// Four numbers with dots between and no zeros before, as the standard library reads them, in a third of the time: nearly every
/// message has five of them.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut rest = text;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let digits = rest
            .iter()
            .take(3)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (number, after) = rest.split_at(digits);
        if digits == 0 || digits > 1 && number[0] == b'0' {
            return None;
        }
        let value = number
            .iter()
            .fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
        *octet = u8::try_from(value).ok()?;
        rest = after;
    }
    rest.is_empty().then(|| octets.into())
}

impl From<IpAddr> for Host<'_> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A port number, 0 to 65535.
pub(super) fn port(text: &str) -> Result<u16, SyntaxError> {
    number(text, u32::from(u16::MAX))
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(SyntaxError::Port)
}

/// `hostname`, a little wider: an underscore is let pass, and the last label may start with a digit as container names
/// do, but not consist of digits alone, since that would be a broken address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253
        && name.split('.').all(label)
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        for text in [
            "0.0.0.0",
            "10.200.30.4",
            "255.255.255.255",
            "256.1.1.1",
            "1.2.3.999",
            "01.2.3.4",
            "1.2.3.00",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4.",
            ".1.2.3.4",
            "1..2.3",
            "1.2.3.1000",
            "1.2.3.a",
            "1.2.3.4 ",
            "+1.2.3.4",
            "1",
            "",
        ] {
            assert_eq!(ipv4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(
            Host::parse_with_port("a.example.com:5060"),
            Ok((Host::Name("a.example.com"), Some("5060")))
        );
        assert_eq!(
            Host::parse_with_port("[2001:db8::1]:70"),
            Ok((Host::V6("2001:db8::1".parse().unwrap()), Some("70")))
        );
        assert_eq!(Host::parse("192.0.2.1"), Ok(Host::V4([192, 0, 2, 1].into())));
        assert_eq!(Host::parse("3f2a9c"), Ok(Host::Name("3f2a9c")));
        for text in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "1.2.3.400",
            "2001:db8::1",
            "[::1",
            "[]",
            "a b",
            "ä",
        ] {
            assert_eq!(Host::parse(text), Err(SyntaxError::Host), "{text}");
        }
    }
}
