use std::net::SocketAddr;
use std::time::Duration;

use sip::Transport;
use sip::message::Limits;

use crate::TlsFiles;

/// What tools that look for open servers call themselves when nobody has told them otherwise.
pub const SCANNERS: [&str; 10] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sundayddr",
    "vaxsip",
    "vaxasip",
    "pplsip",
    "sivus",
];

/// An address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The protocol.
    pub transport: Transport,
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
}

/// What a [`crate::Transport`] is made with. Every limit has an answer when it is reached, named here.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; at most 65,536. A request leaves by the listener of its destination's flow, else by the first of
    /// its protocol and address family.
    pub listen: Vec<Listen>,
    /// Limits of a message; beyond them 400, 413, 414 or 513, and on a stream the connection's end.
    pub message: Limits,
    /// Receive buffer of a UDP socket in bytes, as far as the system lets it (`net.core.rmem_max`).
    pub receive_buffer_bytes: usize,
    /// Datagrams taken from a socket before others have their turn.
    pub datagrams_per_turn: usize,
    /// New requests (outside dialogs) that may wait for the owner; beyond it 503.
    pub new_requests_max: usize,
    /// Responses and requests within dialogs that may wait; beyond it datagrams are dropped, since their sender
    /// repeats them, and connections are not read.
    pub urgent_max: usize,
    /// `Retry-After` of these 503 in seconds; up to five times as much again is added, a different part for each request, so that
    /// those who were refused do not come back together.
    pub retry_after_s: u32,
    /// 503 answers to datagrams that are refused for overload, a second; further ones get none.
    pub refusals_per_s_max: u32,
    /// What a new request may wait for the owner. While even the luckiest waits longer, for two seconds, the least important
    /// are refused (503). Zero: only full queues refuse.
    pub queue_delay_target: Duration,
    /// Whether next hops and networks that the guard allows are told how much less we want, if they ask by `oc` (RFC 7339).
    pub overload_told: bool,
    /// What our words about it are numbered from: the time of the start, in seconds since 1970, so that those of a process are
    /// later than those of the one before it. Below 10**12.
    pub overload_epoch_s: u64,
    /// Users of a Request-URI that make an INVITE an emergency call, beside `urn:service:sos`. Such are refused last.
    pub emergency_numbers: sip::EmergencyNumbers,
    /// Beginnings of `User-Agent` whose new requests are dropped without an answer.
    pub scanners: Vec<String>,
    /// Bans, and limits of a source.
    pub guard: guard::Config,
    /// Requests of more than 1,300 bytes for a UDP destination go over TCP, and over UDP when there is no connection
    /// to be had (RFC 3261 §18.1.1). Off, they go over UDP: many peers of today listen on UDP alone and take
    /// fragments.
    pub large_requests_over_tcp: bool,
    /// Connections, over TLS or not; beyond it a new one is closed at once, or fails.
    pub connections_max: usize,
    /// Connections from one IPv4 address or IPv6 /64; beyond it a new one is closed at once.
    pub connections_per_source_max: usize,
    /// A connection over which nothing came or went for so long is closed.
    pub idle_timeout: Duration,
    /// A message that began and is not complete after so long closes its connection.
    pub message_timeout: Duration,
    /// A connection that does not take what is written for so long is closed; a new one that is not there by then
    /// fails.
    pub write_timeout: Duration,
    /// Messages that may wait for a slow connection; beyond it the connection is closed.
    pub write_queue_max: usize,
    /// For listeners and peers of TLS.
    pub tls: Option<Tls>,
    /// For listeners of WebSocket.
    pub websocket: WebSocket,
}

/// How WebSocket is spoken (RFC 7118). Its connections count among the others and have their limits.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Where the pages of browsers may be from, such as `https://phone.example.com`, without case; empty takes all.
    pub origins: Vec<String>,
    /// A client must have asked for WebSocket within this time, or its connection is closed.
    pub handshake_timeout: Duration,
    /// Clients that are asking for WebSocket, TLS handshakes of theirs included; beyond it a new connection is closed at once.
    pub handshakes_max: usize,
    /// Those of one IPv4 address or IPv6 /64 among them, in place of [`Tls::handshakes_per_source_max`]; beyond it a new connection is
    /// closed at once.
    pub handshakes_per_source_max: usize,
    /// A client that was silent for so long is asked whether it is there; the idle time is what it has for an answer.
    pub ping_interval: Duration,
    /// Frames that a message may come in; beyond it the connection is closed.
    pub fragments_max: u32,
}

impl WebSocket {
    pub(crate) fn takes_origin(&self, origin: &[u8]) -> bool {
        self.origins.is_empty()
            || self
                .origins
                .iter()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(origin))
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 500,
            handshakes_per_source_max: 50,
            ping_interval: Duration::from_secs(30),
            fragments_max: 64,
        }
    }
}

/// How TLS is spoken. Its connections count among the others and have their limits.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificates and key.
    pub files: TlsFiles,
    /// Domains and IP addresses of the peers to connect to, at the place that [`sip::FlowId::of_peer`] names them by. A peer
    /// of no such flow has to prove its IP address.
    pub peers: Vec<String>,
    /// A handshake must be complete within this time, or the connection is closed.
    pub handshake_timeout: Duration,
    /// Handshakes of clients under way; beyond it a new connection is closed at once.
    pub handshakes_max: usize,
    /// Those of one IPv4 address or IPv6 /64 among them; beyond it a new connection is closed at once.
    pub handshakes_per_source_max: usize,
    /// How often to look whether the files have changed.
    pub watch_interval: Duration,
}

impl Default for Config {
    /// No listener, and limits for a core of a few thousand calls a second.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            message: Limits::default(),
            receive_buffer_bytes: 8 * 1024 * 1024,
            datagrams_per_turn: 256,
            new_requests_max: 4_000,
            urgent_max: 10_000,
            retry_after_s: 5,
            refusals_per_s_max: 5_000,
            queue_delay_target: Duration::from_millis(20),
            overload_told: true,
            overload_epoch_s: 0,
            emergency_numbers: sip::EmergencyNumbers::default(),
            scanners: SCANNERS.map(Into::into).to_vec(),
            guard: guard::Config::default(),
            large_requests_over_tcp: false,
            connections_max: 10_000,
            connections_per_source_max: 100,
            idle_timeout: Duration::from_secs(300),
            message_timeout: Duration::from_secs(8),
            write_timeout: Duration::from_secs(4),
            write_queue_max: 256,
            tls: None,
            websocket: WebSocket::default(),
        }
    }
}
