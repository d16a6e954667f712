use std::time::Duration;

use media_engine::EngineConfig;
use ops::config::{Problems, Validate};
use serde::Deserialize;

/// A week: what `proto` takes at most for a lease.
const LEASE_MS_MAX: u64 = proto::convert::LEASE_MS_MAX;

/// The longest [`Limits::takeover_ms`]. Parties notice far less.
pub const TAKEOVER_MS_MAX: u64 = 15_000;

/// What the node holds at most, and how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls at once; one more is refused with `no_capacity`.
    pub calls_max: usize,
    /// The lease of a call that asks for none.
    pub lease_default_ms: u64,
    /// The longest lease that may be asked for.
    pub lease_max_ms: u64,
    /// The silence after which a line's media timeout is told, for a call that asks for none.
    pub media_timeout_ms: u64,
    /// How long a port rests after its call has ended.
    pub port_quarantine_ms: u64,
    /// Media lines of a leg; a call with more is invalid.
    pub lines_max: usize,
    /// Payload formats of a line; a line with more is invalid.
    pub codecs_max: usize,
    /// Streams of a line that have statistics; a new one takes the place of the one silent for longest.
    pub streams_per_line_max: usize,
    /// SSRCs that a line with SRTP takes, and sends, under one key; packets of further ones are dropped.
    pub srtp_ssrcs_per_line_max: usize,
    /// Keys that a line with SRTP may have had in each direction; an update with another one is refused.
    pub srtp_keys_per_line_max: usize,
    /// Datagrams of ICE and DTLS that a line takes in a second: from where its party is, of what is likely its party's, and
    /// of all others each; more are dropped.
    pub setup_datagrams_per_second_max: u32,
    /// Datagrams of ICE and DTLS of a worker that wait for the thread that sets lines up, and of that thread for the worker; more are
    /// dropped.
    pub setup_queue: usize,
    /// DTLS handshakes under way at once, of all lines; one more does not begin.
    pub dtls_handshakes_max: usize,
    /// DTLS handshakes that one address may begin in a second; one more does not begin.
    pub dtls_handshakes_per_source_max: u32,
    /// Places that may try a DTLS handshake with a line at once, where its party may be elsewhere than it says; another place waits.
    pub dtls_places_per_line_max: usize,
    /// DTLS handshakes of a line, those that came to nothing included, after which only the signalled address may begin another.
    pub dtls_handshakes_per_line_max: u32,
    /// DTLS handshakes that the node begins with one place of a party, when one after the other is broken; then the line fails.
    pub dtls_attempts_max: u32,
    /// Ports tried for a line while other processes hold them; then the refusal is `no_ports`.
    pub open_tries_max: usize,
    /// How long a port that another process holds is left alone.
    pub port_set_aside_ms: u64,
    /// Deleted calls of a worker whose last statistics are kept for a repeated delete; the oldest goes first.
    pub tombstones_max: usize,
    /// How long they are kept.
    pub tombstone_ms: u64,
    /// Commands under way to one worker; one more is refused with `busy`.
    pub command_queue: usize,
    /// Events that a worker, or a watcher, may be behind; older ones are dropped and told as `missed`.
    pub event_queue: usize,
    /// Size of the journal. New calls may take half of it, updated ones three quarters; one beyond that does not outlive the process.
    pub journal_bytes_max: u64,
    /// How long calls may stand still in a takeover, from the last packet that this process receives; then it goes on.
    pub takeover_ms: u64,
    /// Calls whose packets are copied for operators at once; one more is refused. 0 allows none.
    pub taps_max: usize,
    /// The longest time that may be asked for.
    pub tap_seconds_max: u32,
    /// The most packets that may be asked for; those received and those sent count one each.
    pub tap_packets_max: u64,
    /// What a worker copied and nobody has read yet; more packets are left out and counted.
    pub tap_ring_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_max: 10_000,
            lease_default_ms: 60_000,
            lease_max_ms: 3_600_000,
            media_timeout_ms: 30_000,
            port_quarantine_ms: 5_000,
            lines_max: 8,
            codecs_max: 32,
            streams_per_line_max: 4,
            srtp_ssrcs_per_line_max: 16,
            srtp_keys_per_line_max: 256,
            setup_datagrams_per_second_max: 200,
            setup_queue: 256,
            dtls_handshakes_max: 1_024,
            dtls_handshakes_per_source_max: 1_000,
            dtls_places_per_line_max: 3,
            dtls_handshakes_per_line_max: 16,
            dtls_attempts_max: 8,
            open_tries_max: 16,
            port_set_aside_ms: 60_000,
            tombstones_max: 1_024,
            tombstone_ms: 60_000,
            command_queue: 256,
            event_queue: 1_024,
            journal_bytes_max: 64 << 20,
            takeover_ms: 5_000,
            taps_max: 4,
            tap_seconds_max: 600,
            tap_packets_max: 1_000_000,
            tap_ring_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// Puts the limits of a worker's engine into its configuration, all but the number of calls, which the workers share.
    pub fn apply(&self, engine: &mut EngineConfig) {
        let ms = Duration::from_millis;
        engine.lease_default = ms(self.lease_default_ms);
        engine.lease_max = ms(self.lease_max_ms);
        engine.media_timeout_default = ms(self.media_timeout_ms);
        engine.quarantine = ms(self.port_quarantine_ms);
        engine.limits = media_engine::Limits {
            lines_max: self.lines_max,
            codecs_max: self.codecs_max,
            streams_per_line_max: self.streams_per_line_max,
            srtp_ssrcs_per_line_max: self.srtp_ssrcs_per_line_max,
            srtp_keys_per_line_max: self.srtp_keys_per_line_max,
            setup_datagrams_per_second_max: self.setup_datagrams_per_second_max,
            open_tries_max: self.open_tries_max,
            set_aside: ms(self.port_set_aside_ms),
            tombstones_max: self.tombstones_max,
            tombstone_time: ms(self.tombstone_ms),
            // At a stop every call ends in one moment.
            events_max: engine.calls_max + self.event_queue,
        };
    }
}

impl Limits {
    /// How lines are set up.
    pub fn line_setup(&self) -> line_setup::Config {
        line_setup::Config {
            handshakes_max: self.dtls_handshakes_max,
            handshakes_per_source_max: self.dtls_handshakes_per_source_max,
            places_per_line_max: self.dtls_places_per_line_max,
            handshakes_per_line_max: self.dtls_handshakes_per_line_max,
            attempts_max: self.dtls_attempts_max,
            ..line_setup::Config::default()
        }
    }
}

impl Validate for Limits {
    fn validate(&self, problems: &mut Problems) {
        problems.range("calls_max", self.calls_max, 1..=1_000_000);
        problems.range("lease_max_ms", self.lease_max_ms, 100..=LEASE_MS_MAX);
        problems.range(
            "lease_default_ms",
            self.lease_default_ms,
            100..=self.lease_max_ms.max(100),
        );
        problems.range("media_timeout_ms", self.media_timeout_ms, 100..=LEASE_MS_MAX);
        problems.range("port_quarantine_ms", self.port_quarantine_ms, 0..=3_600_000);
        problems.range("lines_max", self.lines_max, 1..=proto::convert::LINES_PER_LEG_MAX);
        problems.range(
            "codecs_max",
            self.codecs_max,
            1..=proto::convert::CODECS_PER_LINE_MAX,
        );
        problems.range("streams_per_line_max", self.streams_per_line_max, 1..=64);
        problems.range("srtp_ssrcs_per_line_max", self.srtp_ssrcs_per_line_max, 1..=256);
        problems.range("srtp_keys_per_line_max", self.srtp_keys_per_line_max, 4..=65_536);
        problems.range(
            "setup_datagrams_per_second_max",
            self.setup_datagrams_per_second_max,
            10..=100_000,
        );
        problems.range("setup_queue", self.setup_queue, 16..=65_536);
        problems.range("dtls_handshakes_max", self.dtls_handshakes_max, 1..=1_000_000);
        problems.range(
            "dtls_handshakes_per_source_max",
            self.dtls_handshakes_per_source_max,
            1..=1_000_000,
        );
        problems.range("dtls_places_per_line_max", self.dtls_places_per_line_max, 1..=64);
        problems.range(
            "dtls_handshakes_per_line_max",
            self.dtls_handshakes_per_line_max,
            1..=1_000_000,
        );
        problems.range("dtls_attempts_max", self.dtls_attempts_max, 1..=1_000);
        problems.range("open_tries_max", self.open_tries_max, 1..=1_024);
        problems.range("port_set_aside_ms", self.port_set_aside_ms, 0..=3_600_000);
        problems.range("tombstones_max", self.tombstones_max, 0..=1 << 20);
        problems.range("tombstone_ms", self.tombstone_ms, 0..=3_600_000);
        problems.range("command_queue", self.command_queue, 1..=65_536);
        problems.range("event_queue", self.event_queue, 1..=1 << 20);
        problems.range("takeover_ms", self.takeover_ms, 10..=TAKEOVER_MS_MAX);
        problems.range("taps_max", self.taps_max, 0..=64);
        problems.range("tap_seconds_max", self.tap_seconds_max, 1..=86_400);
        problems.range("tap_packets_max", self.tap_packets_max, 1..=1_000_000_000);
        problems.range("tap_ring_bytes", self.tap_ring_bytes, 16_384..=256 << 20);
        problems.range("journal_bytes_max", self.journal_bytes_max, 65_536..=1 << 34);
    }
}

/// What happens at SIGTERM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long calls may go on after the first SIGTERM, while new ones are refused. What is left then ends with the
    /// event `shutdown`. Without calls the node stops at once; a second signal cuts the time short.
    pub grace_ms: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace_ms: 5_000 }
    }
}

impl Shutdown {
    /// [`Self::grace_ms`].
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

impl Validate for Shutdown {
    fn validate(&self, problems: &mut Problems) {
        problems.range("grace_ms", self.grace_ms, 0..=86_400_000);
    }
}
