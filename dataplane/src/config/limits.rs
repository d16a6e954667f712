use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// A week: what `proto` takes at most for a lease.
const LEASE_MS_MAX: u64 = proto::convert::LEASE_MS_MAX;

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
    /// Commands under way to one worker; one more is refused with `busy`.
    pub command_queue: usize,
    /// Events that a worker, or a watcher, may be behind; older ones are dropped and told as `missed`.
    pub event_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_max: 10_000,
            lease_default_ms: 60_000,
            lease_max_ms: 3_600_000,
            media_timeout_ms: 30_000,
            port_quarantine_ms: 5_000,
            command_queue: 256,
            event_queue: 1_024,
        }
    }
}

impl Limits {
    /// [`Self::lease_default_ms`].
    pub fn lease_default(&self) -> Duration {
        Duration::from_millis(self.lease_default_ms)
    }

    /// [`Self::lease_max_ms`].
    pub fn lease_max(&self) -> Duration {
        Duration::from_millis(self.lease_max_ms)
    }

    /// [`Self::media_timeout_ms`].
    pub fn media_timeout(&self) -> Duration {
        Duration::from_millis(self.media_timeout_ms)
    }

    /// [`Self::port_quarantine_ms`].
    pub fn port_quarantine(&self) -> Duration {
        Duration::from_millis(self.port_quarantine_ms)
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
        problems.range("command_queue", self.command_queue, 1..=65_536);
        problems.range("event_queue", self.event_queue, 1..=1 << 20);
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
