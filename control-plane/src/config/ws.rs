use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// Origins that may be named.
const ORIGINS_MAX: usize = 256;

/// The `[sip.ws]` section: WebSocket (RFC 7118), over TLS or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocket {
    /// Where the pages of browsers may be from, such as `https://phone.example.com`; empty takes all.
    pub origins: Vec<String>,
    /// A client must have asked for WebSocket within this time, or its connection is closed.
    pub handshake_timeout_ms: u64,
    /// Clients that are asking for WebSocket at once; beyond it new connections are closed.
    pub handshakes_max: usize,
    /// Those of one IPv4 address or IPv6 /64.
    pub handshakes_per_source_max: usize,
    /// A client that was silent for so long is asked whether it is there.
    pub ping_interval_ms: u64,
    /// Frames that a message may come in.
    pub fragments_max: u32,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            handshake_timeout_ms: 5_000,
            handshakes_max: 500,
            handshakes_per_source_max: 50,
            ping_interval_ms: 30_000,
            fragments_max: 64,
        }
    }
}

impl WebSocket {
    /// As the transport takes it.
    pub fn transport(&self) -> sip_transport::WebSocket {
        sip_transport::WebSocket {
            origins: self.origins.clone(),
            handshake_timeout: Duration::from_millis(self.handshake_timeout_ms),
            handshakes_max: self.handshakes_max,
            handshakes_per_source_max: self.handshakes_per_source_max,
            ping_interval: Duration::from_millis(self.ping_interval_ms),
            fragments_max: self.fragments_max,
        }
    }
}

impl Validate for WebSocket {
    fn validate(&self, problems: &mut Problems) {
        if self.origins.len() > ORIGINS_MAX {
            problems.push("origins", format!("has more than {ORIGINS_MAX} entries"));
        }
        for (n, origin) in self.origins.iter().enumerate() {
            // As browsers write it (RFC 6454 §6.2): scheme, host and perhaps a port, and nothing after it.
            let host = origin.split_once("://").map(|(_, host)| host);
            if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' '])) {
                problems.push(
                    &format!("origins.{n}"),
                    "is no origin such as https://phone.example.com, without a path",
                );
            }
        }
        problems.range("handshake_timeout_ms", self.handshake_timeout_ms, 100..=60_000);
        problems.range("handshakes_max", self.handshakes_max, 1..=1_000_000);
        problems.range(
            "handshakes_per_source_max",
            self.handshakes_per_source_max,
            1..=1_000_000,
        );
        problems.range("fragments_max", self.fragments_max, 1..=65_536);
        problems.range("ping_interval_ms", self.ping_interval_ms, 1_000..=3_600_000);
    }
}
