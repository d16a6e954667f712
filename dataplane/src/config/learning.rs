use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// How the source of a party's media is learned when it is not the signalled address, which is taken at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Learning {
    /// Consistent RTP packets from one source before it is locked. More make it harder to steal a call, and cost their
    /// time: packets before the lock are dropped.
    pub packets: u8,
    /// They must come within this time.
    pub window_ms: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            packets: 3,
            window_ms: 2_000,
        }
    }
}

impl From<Learning> for media_engine::Learning {
    fn from(learning: Learning) -> Self {
        Self {
            packets: learning.packets,
            window: Duration::from_millis(learning.window_ms),
        }
    }
}

impl Validate for Learning {
    fn validate(&self, problems: &mut Problems) {
        problems.range("packets", self.packets, 1..=64);
        problems.range("window_ms", self.window_ms, 20..=60_000);
    }
}
