use std::fmt;
use std::net::SocketAddr;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use sip::Transport;
use sip::message::Host;

/// The longest name of a listener.
const NAME_BYTES_MAX: usize = 64;

/// An entry of `sip.listen`: `"udp:127.0.0.1:5060"`, or `{ at = "udp:127.0.0.1:5060", advertised = "198.51.100.7" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The protocol.
    pub transport: Transport,
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// What we call ourselves in Via and Contact when it is not the bound address: behind 1:1 NAT, or when listening at
    /// all addresses. A host name or an IP address, IPv6 in brackets; the port is the listener's unless one is written.
    pub advertised: Option<String>,
    /// How routes name this listener.
    pub name: Option<String>,
}

/// The form with keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    at: String,
    advertised: Option<String>,
    name: Option<String>,
}

impl TryFrom<&str> for Listen {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not udp:<ip>:<port>, or the same with tcp, tls, ws or wss");
        let (protocol, address) = text.split_once(':').ok_or_else(wrong)?;
        let transport = match protocol {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "ws" => Transport::Ws,
            "wss" => Transport::Wss,
            _ => return Err(wrong()),
        };
        Ok(Self {
            transport,
            address: address.parse().map_err(|_| wrong())?,
            advertised: None,
            name: None,
        })
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Takes both forms. Not serde's untagged enum, whose errors do not say what is wrong.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Listen;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"udp:<ip>:<port>\" or { at = \"udp:<ip>:<port>\", advertised = \"<host>\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Listen, E> {
        Listen::try_from(text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listen, A::Error> {
        let keys = Keys::deserialize(MapAccessDeserializer::new(map))?;
        let listen = Listen::try_from(keys.at.as_str()).map_err(A::Error::custom)?;
        Ok(Listen {
            advertised: keys.advertised,
            name: keys.name,
            ..listen
        })
    }
}

impl Validate for Listen {
    fn validate(&self, problems: &mut Problems) {
        if let Some(host) = &self.advertised {
            check_advertised(host, "advertised", problems);
        }
        if let Some(name) = &self.name
            && (name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_whitespace))
        {
            problems.push(
                "name",
                format!("must have 1 to {NAME_BYTES_MAX} bytes, without spaces"),
            );
        }
    }
}

/// Finds what is wrong with an address that parties shall reach us at.
pub(super) fn check_advertised(text: &str, key: &str, problems: &mut Problems) {
    match Host::parse_with_port(text) {
        Ok((host, _))
            if host
                .ip()
                .is_some_and(|ip| ip.is_unspecified() || ip.is_multicast()) =>
        {
            problems.push(key, "is no address that answers can come to");
        }
        Ok((_, Some(port))) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            problems.push(key, "has a port that is none");
        }
        Ok(_) => {}
        Err(_) => problems.push(
            key,
            "must be a host name or an IP address, IPv6 in brackets, and may have a port",
        ),
    }
}
