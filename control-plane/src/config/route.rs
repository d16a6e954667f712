use std::net::IpAddr;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip::Transport;
use sip::message::{Scheme, Uri};

/// The longest prefix: telephone numbers have 15 digits, names may be longer.
const PREFIX_BYTES_MAX: usize = 128;

/// One `[[route]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What the user part of the request URI begins with; empty for all. The longest that fits wins; several routes with
    /// the same prefix are tried in their order.
    pub prefix: String,
    /// Where to: `sip:host[:port][;transport=udp|tcp|tls]`.
    pub next_hop: NextHop,
    /// The name of the listener that requests leave by.
    #[serde(default)]
    pub listener: Option<String>,
}

/// Where calls go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NextHop {
    /// The protocol.
    pub transport: Transport,
    /// The host as written, IPv6 without brackets.
    pub host: String,
    /// The host, when it is an address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Host and port as they go into the request URI: IPv6 in brackets, the port if one is written.
    pub uri_host: String,
}

impl TryFrom<String> for NextHop {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |reason: &str| format!("\"{text}\" {reason}");
        let uri = Uri::parse(&text).map_err(|error| wrong(&format!("is not a SIP URI: {error}")))?;
        if uri.scheme() != Scheme::Sip {
            return Err(wrong("is not a sip: URI"));
        }
        if uri.user().is_some() {
            return Err(wrong("has a user part; a next hop is a host"));
        }
        let host = uri.host().ok_or_else(|| wrong("has no host"))?;
        let transport = match uri.param("transport") {
            None => Transport::Udp,
            Some(name) => Transport::of_uri_param(name)
                .ok_or_else(|| wrong("has a transport other than udp, tcp and tls"))?,
        };
        let port = uri.port().unwrap_or(transport.default_port());
        if port == 0 {
            return Err(wrong("has port 0"));
        }
        let address = host.ip();
        if address.is_some_and(|address| address.is_unspecified() || address.is_multicast()) {
            return Err(wrong("is no address of one host"));
        }
        let uri_host = match uri.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let host = address.map_or_else(|| host.to_string(), |address| address.to_string());
        Ok(Self {
            transport,
            host,
            address,
            port,
            uri_host,
        })
    }
}

impl Validate for Route {
    fn validate(&self, problems: &mut Problems) {
        let visible = self
            .prefix
            .chars()
            .all(|c| !c.is_control() && c != ' ' && c != '@');
        if self.prefix.len() > PREFIX_BYTES_MAX || !visible {
            problems.push(
                "prefix",
                format!("must have at most {PREFIX_BYTES_MAX} bytes, without spaces, controls and @"),
            );
        }
    }
}

/// The `[dns]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// How often host names of next hops are looked up again. A name that fails keeps its last addresses.
    pub refresh_s: u64,
}

impl Default for Dns {
    fn default() -> Self {
        Self { refresh_s: 60 }
    }
}

impl Validate for Dns {
    fn validate(&self, problems: &mut Problems) {
        problems.range("refresh_s", self.refresh_s, 1..=86_400);
    }
}
