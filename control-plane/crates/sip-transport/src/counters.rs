use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use sip::message::ParseError;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// To us.
    Received,
    /// From us.
    Sent,
}

impl Direction {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
        }
    }
}

macro_rules! drops {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why something was not passed on, not sent, or closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Drop {
            $($(#[$doc])* $name,)*
        }

        impl Drop {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The label.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

drops! {
    /// A new request while [`crate::Config::new_requests_max`] were waiting: answered 503.
    Overload = "overload",
    /// A new request that was refused like these, and not even told so: beyond [`crate::Config::refusals_per_s_max`].
    OverloadSilent = "overload_silent",
    /// A new request refused because such wait too long ([`crate::Config::queue_delay_target`]): answered 503.
    QueueDelay = "queue_delay",
    /// A datagram, a connection or a message of a source that is banned.
    Banned = "banned",
    /// A message of a source that sends more than it may ([`guard::Config::source_rate_per_s`]).
    SourceRate = "source_rate",
    /// A new request of a user agent that is a scanner by its own words ([`crate::Config::scanners`]).
    Scanner = "scanner",
    /// A repetition of a new request that was admitted, while there was no room for it.
    Repetition = "repetition",
    /// A datagram with a response or in-dialog request while [`crate::Config::urgent_max`] were waiting.
    UrgentFull = "urgent_full",
    /// A STUN message on a SIP socket that is malformed or nothing to be answered (RFC 5626 §8).
    Stun = "stun",
    /// The socket could not be read.
    ReceiveError = "receive_error",
    /// A datagram that the socket's send buffer had no room for. Its sender repeats it.
    SendBufferFull = "send_buffer_full",
    /// A datagram that the system refused to send.
    SendError = "send_error",
    /// No listener of the destination's protocol and address family.
    NoListener = "no_listener",
    /// A connection beyond [`crate::Config::connections_max`].
    ConnectionsMax = "connections_max",
    /// A connection beyond [`crate::Config::connections_per_source_max`]: of an IPv4 address or an IPv6 /64.
    ConnectionsPerSource = "connections_per_source",
    /// A connection could not be accepted: file descriptors ran out, or the peer was gone already.
    AcceptError = "accept_error",
    /// A connection that could not be made.
    ConnectError = "connect_error",
    /// A TLS client beyond [`crate::Tls::handshakes_max`].
    HandshakesMax = "handshakes_max",
    /// A TLS client beyond [`crate::Tls::handshakes_per_source_max`].
    HandshakesPerSource = "handshakes_per_source",
    /// A TLS handshake that took too long.
    HandshakeTimeout = "handshake_timeout",
    /// A TLS handshake that failed: for want of a common version or cipher, of a certificate that we trust, or of the name
    /// that the peer has to prove.
    HandshakeError = "handshake_error",
    /// A connection closed for nothing having come or gone.
    ConnectionIdle = "connection_idle",
    /// A connection closed for a message that did not become complete.
    ConnectionSlow = "connection_slow",
    /// A connection closed because it does not take what is written.
    ConnectionStuck = "connection_stuck",
    /// A connection closed because it is out of step.
    ConnectionFraming = "connection_framing",
    /// A connection that broke.
    ConnectionError = "connection_error",
    /// A message for a WebSocket client whose connection has ended: only it can begin another.
    ConnectionGone = "connection_gone",
    /// A client that did not ask for WebSocket with the subprotocol `sip`, or not in time.
    WebSocketHandshake = "ws_handshake",
    /// A browser with a page of an origin that is not taken ([`crate::WebSocket::origins`]).
    WebSocketOrigin = "ws_origin",
    /// A connection closed because it broke the protocol of WebSocket.
    WebSocketProtocol = "ws_protocol",
    /// A connection closed for a message of more bytes than head and body may have.
    WebSocketTooLong = "ws_too_long",
    /// A report of a failed send that the owner did not take in time; its timers will tell it.
    FailureReport = "failure_report",
}

/// The methods that have a counter of their own. Others share one, so that a peer cannot make up series.
const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "PUBLISH",
];
const OTHER: &str = "other";
const STATUS_MIN: u16 = 100;
const STATUSES: usize = 600;

/// What the transport counts. One writer thread in practice; readers at any time.
#[derive(Debug)]
pub(crate) struct Counters {
    requests: [[AtomicU64; METHODS.len() + 1]; 2],
    responses: [Box<[AtomicU64]>; 2],
    drops: Vec<AtomicU64>,
    keep_alives: AtomicU64,
    overloads_told: AtomicU64,
    /// STUN binding requests that were answered.
    bindings: AtomicU64,
    /// TLS handshakes that succeeded, of clients and of ours.
    handshakes: [AtomicU64; 2],
    /// Loads of TLS files after the first, those that succeeded and those that did not.
    reloads: [AtomicU64; 2],
    /// Rare, and its labels are the parser's.
    malformed: Mutex<BTreeMap<&'static str, u64>>,
}

/// One line of the message counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageCount {
    /// Which way.
    pub direction: Direction,
    /// The method of requests.
    pub method: Option<&'static str>,
    /// The status of responses.
    pub status: Option<u16>,
    /// How many.
    pub count: u64,
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Messages that were well-formed (received) or handed to the system (sent), those of which there were any.
    pub messages: Vec<MessageCount>,
    /// Drops by reason, all of them.
    pub drops: Vec<(Drop, u64)>,
    /// Malformed messages by the parser's reason.
    pub malformed: Vec<(&'static str, u64)>,
    /// Keep-alives received.
    pub keep_alives: u64,
    /// Responses that told a neighbour how much less we want (RFC 7339).
    pub overloads_told: u64,
    /// STUN binding requests that were answered.
    pub bindings: u64,
    /// TLS handshakes that succeeded: of clients, and of ours.
    pub handshakes: [u64; 2],
    /// TLS files that were loaded again: those that were taken, and those that could not be used.
    pub reloads: [u64; 2],
}

fn zeros() -> Box<[AtomicU64]> {
    (0..STATUSES).map(|_| AtomicU64::new(0)).collect()
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            responses: [zeros(), zeros()],
            drops: Drop::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            keep_alives: AtomicU64::new(0),
            overloads_told: AtomicU64::new(0),
            bindings: AtomicU64::new(0),
            handshakes: Default::default(),
            reloads: Default::default(),
            malformed: Mutex::default(),
        }
    }
}

impl Counters {
    pub(crate) fn request(&self, direction: Direction, method: &str) {
        let place = METHODS
            .iter()
            .position(|known| *known == method)
            .unwrap_or(METHODS.len());
        self.requests[direction as usize][place].fetch_add(1, Relaxed);
    }

    pub(crate) fn response(&self, direction: Direction, status: u16) {
        if let Some(counter) =
            self.responses[direction as usize].get(usize::from(status.wrapping_sub(STATUS_MIN)))
        {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a message that is being sent by the first line of its wire image.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        if let Some(rest) = bytes.strip_prefix(b"SIP/2.0 ") {
            let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit());
            let status = digits.fold(0u16, |status, digit| status * 10 + u16::from(digit - b'0'));
            self.response(Direction::Sent, status);
        } else {
            let end = bytes.iter().position(|&byte| byte == b' ').unwrap_or(0);
            self.request(
                Direction::Sent,
                std::str::from_utf8(&bytes[..end]).unwrap_or(OTHER),
            );
        }
    }

    pub(crate) fn drop(&self, reason: Drop) {
        self.drops[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn overload_told(&self) {
        self.overloads_told.fetch_add(1, Relaxed);
    }

    pub(crate) fn keep_alive(&self) {
        self.keep_alives.fetch_add(1, Relaxed);
    }

    pub(crate) fn binding(&self) {
        self.bindings.fetch_add(1, Relaxed);
    }

    /// A TLS handshake is complete, which we began or the client did.
    pub(crate) fn handshake(&self, is_ours: bool) {
        self.handshakes[usize::from(is_ours)].fetch_add(1, Relaxed);
    }

    pub(crate) fn reload(&self, is_taken: bool) {
        self.reloads[usize::from(!is_taken)].fetch_add(1, Relaxed);
    }

    pub(crate) fn malformed(&self, error: ParseError) {
        let mut malformed = self.malformed.lock().unwrap_or_else(PoisonError::into_inner);
        *malformed.entry(error.reason()).or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut messages = Vec::new();
        for direction in [Direction::Received, Direction::Sent] {
            for (place, counter) in self.requests[direction as usize].iter().enumerate() {
                let method = Some(METHODS.get(place).copied().unwrap_or(OTHER));
                messages.push(MessageCount {
                    direction,
                    method,
                    status: None,
                    count: counter.load(Relaxed),
                });
            }
            for (place, counter) in self.responses[direction as usize].iter().enumerate() {
                let status = Some(STATUS_MIN + place as u16);
                messages.push(MessageCount {
                    direction,
                    method: None,
                    status,
                    count: counter.load(Relaxed),
                });
            }
        }
        messages.retain(|line| line.count > 0);
        let malformed = self.malformed.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            messages,
            drops: Drop::ALL
                .iter()
                .map(|&drop| (drop, self.drops[drop as usize].load(Relaxed)))
                .collect(),
            malformed: malformed
                .iter()
                .map(|(&reason, &count)| (reason, count))
                .collect(),
            keep_alives: self.keep_alives.load(Relaxed),
            overloads_told: self.overloads_told.load(Relaxed),
            bindings: self.bindings.load(Relaxed),
            handshakes: self.handshakes.each_ref().map(|count| count.load(Relaxed)),
            reloads: self.reloads.each_ref().map(|count| count.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_what_their_first_line_says() {
        let counters = Counters::default();
        for bytes in [
            &b"INVITE sip:a SIP/2.0\r\n"[..],
            b"FOO sip:a SIP/2.0\r\n",
            b"BAR sip:a SIP/2.0\r\n",
            b"SIP/2.0 486 Busy Here\r\n",
            b"SIP/2.0 9",
            b"",
        ] {
            counters.sent(bytes);
        }
        let line = |method, status, count| MessageCount {
            direction: Direction::Sent,
            method,
            status,
            count,
        };
        assert_eq!(
            counters.snapshot().messages,
            [
                line(Some("INVITE"), None, 1),
                line(Some("other"), None, 3),
                line(None, Some(486), 1)
            ]
        );
    }

    #[test]
    fn drop_reasons_stand_at_their_own_place() {
        for (place, drop) in Drop::ALL.iter().enumerate() {
            assert_eq!(*drop as usize, place);
        }
    }
}
