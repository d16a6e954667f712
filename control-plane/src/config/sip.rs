use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip::Transport;
use sip::message::{Host, Limits};
use sip::transaction::{Listener, Timers};

use super::listen::{self, Listen};
use super::{NextHop, Tls, WebSocket};

/// The most listeners.
const LISTENERS_MAX: usize = 1_000;

/// The most trusted networks.
const TRUSTED_MAX: usize = 1_000;

/// The `[sip]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    /// Where to listen. A request within a call leaves by the listener that the party was reached by; one to a next hop
    /// by the listener that its route names, else the one at the address that the system's routes choose for the next
    /// hop, else the first of its protocol and address family.
    pub listen: Vec<Listen>,
    /// What we call ourselves in Via and Contact at listeners that do not say it themselves.
    #[serde(default)]
    pub advertised: Option<String>,
    /// Networks of peers whose word counts about who calls and who has sent a call on: what others say in
    /// P-Asserted-Identity, History-Info and Diversion is left out.
    #[serde(default)]
    pub trusted: Vec<String>,
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
    /// What a REFER of a caller leads to that is no user of ours.
    #[serde(default)]
    pub caller_transfer: super::Transfer,
    /// What is agreed about SRTP with such a caller.
    #[serde(default)]
    pub caller_srtp: super::Srtp,
    /// TCP connections.
    #[serde(default)]
    pub tcp: Tcp,
    /// TLS.
    pub tls: Option<Tls>,
    /// WebSocket.
    #[serde(default)]
    pub ws: WebSocket,
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

    /// Whether a request to `hop` can leave by the listener at `place`.
    pub fn can_send(&self, place: usize, hop: &NextHop) -> bool {
        let listen = &self.listen[place];
        let is_family = |address: IpAddr| address.is_ipv4() == listen.address.is_ipv4();
        (hop.is_open() || listen.transport == hop.transport) && hop.address.is_none_or(is_family)
    }

    /// [`Self::trusted`], once it has been checked.
    pub fn trusted(&self) -> Vec<guard::Network> {
        self.trusted.iter().filter_map(|text| text.parse().ok()).collect()
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

    /// What we call ourselves at the listener at `place`, which is bound to `local`.
    pub fn listener(&self, place: usize, transport: Transport, local: SocketAddr) -> Listener {
        let own = self
            .listen
            .get(place)
            .and_then(|listen| listen.advertised.as_deref());
        match own.or(self.advertised.as_deref()) {
            Some(advertised) => {
                let has_port = matches!(Host::parse_with_port(advertised), Ok((_, Some(_))));
                let sent_by = match has_port {
                    true => advertised.to_owned(),
                    false => format!("{advertised}:{}", local.port()),
                };
                Listener {
                    transport,
                    local,
                    sent_by,
                }
            }
            None => Listener::new(transport, local),
        }
    }

    /// The place of the listener with that name.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.listen
            .iter()
            .position(|listen| listen.name.as_deref() == Some(name))
    }
}

impl Validate for Sip {
    fn validate(&self, problems: &mut Problems) {
        if self.trusted.len() > TRUSTED_MAX {
            problems.push("trusted", format!("has more than {TRUSTED_MAX} entries"));
        }
        for network in &self.trusted {
            if let Err(reason) = network.parse::<guard::Network>() {
                problems.push("trusted", format!("has \"{network}\", which {reason}"));
            }
        }
        if self.listen.is_empty() {
            problems.push("listen", "must have at least one address");
        }
        for (n, listen) in self.listen.iter().enumerate() {
            let place = format!("listen.{n}");
            problems.within(&place, listen);
            let has_name = listen.advertised.is_some() || self.advertised.is_some();
            if listen.address.ip().is_unspecified() && !has_name {
                problems.push(
                    &place,
                    "listens at all addresses, so advertised must say what to call ourselves",
                );
            }
            let before = &self.listen[..n];
            let is_same =
                |other: &Listen| (other.transport, other.address) == (listen.transport, listen.address);
            if listen.address.port() != 0 && before.iter().any(is_same) {
                problems.push(&place, "is there twice");
            }
            if listen.name.is_some() && before.iter().any(|other| other.name == listen.name) {
                problems.push(&place, "has the name of an earlier one");
            }
        }
        if self.tls.is_none()
            && let Some(n) = self.listen.iter().position(|listen| listen.transport.is_secure())
        {
            problems.push(
                &format!("listen.{n}"),
                "is of tls or wss, and there is no [sip.tls]",
            );
        }
        if self.listen.len() > LISTENERS_MAX {
            problems.push("listen", format!("has more than {LISTENERS_MAX} entries"));
        }
        if let Some(host) = &self.advertised {
            listen::check_advertised(host, "advertised", problems);
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
        if let Some(tls) = &self.tls {
            problems.within("tls", tls);
        }
        problems.within("ws", &self.ws);
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
