use std::net::IpAddr;

use super::grammar::{is_token, split_at_space, trim, trim_start};
use super::host::port;
use super::{Host, Params, SyntaxError};

/// The start of every branch made by an RFC 3261 element (RFC 3261 §8.1.1.7).
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// One `Via` value (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as written, such as `UDP`. Compares without case.
    pub transport: &'a str,
    /// The host of `sent-by`.
    pub host: Host<'a>,
    /// The port of `sent-by`, if one is written.
    pub port: Option<u16>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Parses one value. White space may stand around each slash, colon and semicolon.
    ///
    /// # Errors
    /// The first part that breaks the grammar.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let via = Self::split(text)?;
        Params::of_header(via.params.as_str())?;
        Ok(via)
    }

    /// Splits a value that has been checked, as the `Via` of a message that was taken: the parameters are not looked at once
    /// more.
    pub(super) fn split(text: &'a str) -> Result<Self, SyntaxError> {
        let mut parts = text.splitn(3, '/');
        let name = trim(parts.next().unwrap_or_default());
        let version = trim(parts.next().ok_or(SyntaxError::Token)?);
        let (transport, rest) = split_at_space(trim_start(parts.next().ok_or(SyntaxError::Token)?));
        if !is_token(name) || !is_token(version) || !is_token(transport) {
            return Err(SyntaxError::Token);
        }
        let host_end = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at(host_end);
        let (host, port_text) = Host::parse_with_port(trim(sent_by))?;
        let port = port_text.map(|text| port(trim(text))).transpose()?;
        Ok(Self {
            transport,
            host,
            port,
            params: Params::unchecked_of_header(params),
        })
    }

    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.value(name)
    }

    /// The branch as written.
    pub fn branch(&self) -> Option<&'a str> {
        self.param("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch of an RFC 3261 element: one with the cookie and something after it. Without it transactions are
    /// matched by the rules for RFC 2543 (§17.2.3), also when the cookie stands alone (RFC 4475 §3.2.1).
    pub fn unique_branch(&self) -> Option<&'a str> {
        self.branch().filter(|branch| {
            branch.len() > BRANCH_COOKIE.len()
                && branch
                    .get(..BRANCH_COOKIE.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(BRANCH_COOKIE))
        })
    }

    /// The address in `received`. An IPv6 address may stand with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.param("received")?;
        text.strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text)
            .parse()
            .ok()
    }

    /// `None` without `rport`, `Some(None)` for the bare flag of a request, `Some(Some(port))` in a response
    /// (RFC 3581 §3, §4).
    pub fn rport(&self) -> Option<Option<u16>> {
        let param = self.params.find("rport")?;
        Some(param.value.and_then(|value| port(value).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        let via =
            Via::parse("SIP/2.0/UDP h.example.com:5070;rport;branch=z9hG4bKx;received=192.0.2.9").unwrap();
        assert_eq!(
            (via.transport, via.host, via.port),
            ("UDP", Host::Name("h.example.com"), Some(5070))
        );
        assert_eq!(
            (via.branch(), via.unique_branch()),
            (Some("z9hG4bKx"), Some("z9hG4bKx"))
        );
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.received(), Some([192, 0, 2, 9].into()));
        let spaced =
            Via::parse("SIP  / 2.0  / TCP     spindle.example.com : 60  ;  branch  =   z9hG4bK9ikj8")
                .unwrap();
        assert_eq!(
            (spaced.port, spaced.branch(), spaced.rport()),
            (Some(60), Some("z9hG4bK9ikj8"), None)
        );
    }

    #[test]
    fn ipv6_received_stands_with_and_without_brackets() {
        for received in ["2001:db8::9:255", "[2001:db8::9:255]"] {
            let text = format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111");
            let via = Via::parse(&text).unwrap();
            assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
        }
    }

    #[test]
    fn cookie_alone_is_no_unique_branch() {
        assert_eq!(
            Via::parse("SIP/2.0/UDP a;branch=z9hG4bK")
                .unwrap()
                .unique_branch(),
            None
        );
        assert_eq!(
            Via::parse("SIP/2.0/UDP a;branch=1").unwrap().unique_branch(),
            None
        );
    }

    #[test]
    fn broken_values_are_refused() {
        for text in [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/U;P a",
            "SIP//UDP a",
            "SIP/2.0/UDP a;;,",
            "SIP/2.0/UDP a:b",
        ] {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }
}
