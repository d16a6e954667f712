use std::time::Duration;

use crate::Network;

/// What a [`crate::Guard`] is made with. Every limit has an answer, named here.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sources that are never limited and never banned.
    pub allow: Vec<Network>,
    /// Messages a second that are taken from one source; beyond it they are dropped before they are parsed. Zero: no limit.
    pub source_rate_per_s: u32,
    /// Messages that a source may send at once after a silence.
    pub source_burst: u32,
    /// Sources that are remembered, rounded up to a power of two; beyond it the one that was silent longest is forgotten,
    /// and begins anew.
    pub sources_max: usize,
    /// Points at which a source is banned. Zero: nobody is banned by points.
    pub ban_score: u32,
    /// The time in which that many points are forgotten again.
    pub ban_window: Duration,
    /// How long a ban lasts.
    pub ban_lasts: Duration,
    /// Bans at once; beyond it the one that ends first is lifted.
    pub bans_max: usize,
    /// How long a source that has proven a password is believed: what could be forged in its name does not count.
    pub vouched_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            source_rate_per_s: 20_000,
            source_burst: 20_000,
            sources_max: 65_536,
            ban_score: 100,
            ban_window: Duration::from_secs(60),
            ban_lasts: Duration::from_secs(600),
            bans_max: 10_000,
            vouched_for: Duration::from_secs(7_200),
        }
    }
}
