use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip::Transport;
use sip::message::{Host, Limits};
use sip::transaction::{Listener, Timers};

/// The `[sip]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    /// Where to listen, `udp:127.0.0.1:5060`; port 0 takes a free one. Requests leave through the first listener of
    /// their protocol and address family.
    pub listen: Vec<Listen>,
    /// What we call ourselves in Via and Contact when it is not the bound address: behind 1:1 NAT, or when listening at
    /// all addresses. A host name or an IP address, IPv6 in brackets; the port is the listener's.
    #[serde(default)]
    pub advertised: Option<String>,
    /// T1 of RFC 3261 §17: the estimate of the round-trip time.
    #[serde(default = "Sip::t1_ms")]
    pub t1_ms: u64,
    /// How long transactions over UDP are kept after their end (timers D, J, L), for what may come late.
    #[serde(default = "Sip::linger_ms")]
    pub linger_ms: u64,
    /// The largest head (start line and headers) and body of a message, in bytes.
    #[serde(default = "Sip::head_bytes_max")]
    pub head_bytes_max: usize,
    /// See `head_bytes_max`.
    #[serde(default = "Sip::body_bytes_max")]
    pub body_bytes_max: usize,
    /// Receive and send buffer of a UDP socket in bytes, as far as `net.core.rmem_max` lets it.
    #[serde(default = "Sip::socket_buffer_bytes")]
    pub socket_buffer_bytes: usize,
    /// Requests of more than 1,300 bytes for a UDP next hop go over TCP first (RFC 3261 §18.1.1).
    #[serde(default)]
    pub large_requests_over_tcp: bool,
    /// TCP connections.
    #[serde(default)]
    pub tcp: Tcp,
}

/// The `[sip.tcp]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tcp {
    /// Connections at once; one more is closed at once.
    pub connections_max: usize,
    /// Connections at once from one address; one more is closed at once.
    pub connections_per_source_max: usize,
    /// A connection over which nothing comes or goes is closed after this time.
    pub idle_timeout_ms: u64,
    /// A message must be complete this soon after its first byte, or its connection is closed.
    pub message_timeout_ms: u64,
    /// A connection must be made, and take what is written, within this time, or it is closed.
    pub write_timeout_ms: u64,
    /// Messages that may wait for a slow connection; one more closes it.
    pub write_queue: usize,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_source_max: 100,
            idle_timeout_ms: 300_000,
            message_timeout_ms: 8_000,
            write_timeout_ms: 4_000,
            write_queue: 256,
        }
    }
}

impl Sip {
    const fn t1_ms() -> u64 {
        500
    }

    const fn linger_ms() -> u64 {
        32_000
    }

    const fn head_bytes_max() -> usize {
        16 * 1024
    }

    const fn body_bytes_max() -> usize {
        64 * 1024
    }

    const fn socket_buffer_bytes() -> usize {
        8 * 1024 * 1024
    }

    /// Whether a request can leave over `transport`.
    pub fn listens(&self, transport: Transport) -> bool {
        self.listen.iter().any(|listen| listen.transport == transport)
    }

    /// Whether requests can leave over `transport` to an address of the family of `address`.
    pub fn reaches(&self, transport: Transport, address: IpAddr) -> bool {
        self.listen
            .iter()
            .any(|listen| listen.transport == transport && listen.address.is_ipv4() == address.is_ipv4())
    }

    /// The limits of a message.
    pub fn message_limits(&self) -> Limits {
        Limits {
            head_bytes: self.head_bytes_max,
            body_bytes: self.body_bytes_max,
            ..Limits::default()
        }
    }

    /// The timers of RFC 3261 §17.
    pub fn timers(&self) -> Timers {
        Timers {
            t1: Duration::from_millis(self.t1_ms),
            ..Timers::with_linger(Duration::from_millis(self.linger_ms))
        }
    }

    /// What we call ourselves at a listener that is bound to `local`.
    pub fn listener(&self, transport: Transport, local: SocketAddr) -> Listener {
        match &self.advertised {
            Some(host) => Listener {
                transport,
                local,
                sent_by: format!("{host}:{}", local.port()),
            },
            None => Listener::new(transport, local),
        }
    }
}

/// A protocol and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen {
    /// The protocol.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not udp:<ip>:<port> or tcp:<ip>:<port>");
        let (protocol, address) = text.split_once(':').ok_or_else(wrong)?;
        let transport = match protocol {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            _ => return Err(wrong()),
        };
        Ok(Self {
            transport,
            address: address.parse().map_err(|_| wrong())?,
        })
    }
}

impl Validate for Sip {
    fn validate(&self, problems: &mut Problems) {
        if self.listen.is_empty() {
            problems.push("listen", "must have at least one address");
        }
        for (n, listen) in self.listen.iter().enumerate() {
            let place = format!("listen.{n}");
            if listen.address.ip().is_unspecified() && self.advertised.is_none() {
                problems.push(
                    &place,
                    "listens at all addresses, so sip.advertised must say what to call ourselves",
                );
            }
            if listen.address.port() != 0 && self.listen[..n].contains(listen) {
                problems.push(&place, "is there twice");
            }
        }
        if let Some(host) = &self.advertised {
            match Host::parse(host) {
                Err(_) => problems.push(
                    "advertised",
                    "must be a host name or an IP address, IPv6 in brackets",
                ),
                Ok(host)
                    if host
                        .ip()
                        .is_some_and(|ip: IpAddr| ip.is_unspecified() || ip.is_multicast()) =>
                {
                    problems.push("advertised", "is no address that answers can come to");
                }
                Ok(_) => {}
            }
        }
        problems.range("t1_ms", self.t1_ms, 10..=10_000);
        problems.range("linger_ms", self.linger_ms, 100..=32_000);
        problems.range(
            "head_bytes_max",
            self.head_bytes_max,
            1_024..=Limits::HEAD_BYTES_MAX,
        );
        // What we send is read again with the default limits when it gets its Via.
        let body_bytes_max = 1_024..=Limits::default().body_bytes;
        problems.range("body_bytes_max", self.body_bytes_max, body_bytes_max);
        problems.range("socket_buffer_bytes", self.socket_buffer_bytes, 65_536..=1 << 30);
        problems.within("tcp", &self.tcp);
    }
}

impl Validate for Tcp {
    fn validate(&self, problems: &mut Problems) {
        problems.range("connections_max", self.connections_max, 1..=1_000_000);
        problems.range(
            "connections_per_source_max",
            self.connections_per_source_max,
            1..=1_000_000,
        );
        problems.range("idle_timeout_ms", self.idle_timeout_ms, 1_000..=86_400_000);
        problems.range("message_timeout_ms", self.message_timeout_ms, 100..=600_000);
        problems.range("write_timeout_ms", self.write_timeout_ms, 100..=600_000);
        problems.range("write_queue", self.write_queue, 1..=65_536);
    }
}
