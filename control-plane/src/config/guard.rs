use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// The most networks and names of scanners.
const ENTRIES_MAX: usize = 1_000;

/// The `[guard]` section: who is listened to. Next hops of trunks and routes are always allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Networks that are neither limited nor banned: proxies and operators.
    pub allow: Vec<String>,
    /// Messages a second from one source, an IPv4 address or an IPv6 /64; beyond it they are dropped unread, and
    /// connections closed. 0: no limit.
    pub source_rate_per_s: u32,
    /// Messages that a source may send at once after a silence.
    pub source_burst: u32,
    /// Sources that are remembered; beyond it the one that was silent longest begins anew.
    pub sources_max: usize,
    /// Points at which a source is banned; 0: never.
    pub ban_score: u32,
    /// The time in which that many points are forgotten.
    pub ban_window_s: u64,
    /// How long a ban lasts.
    pub ban_s: u64,
    /// Bans at once; beyond it the one that ends first is lifted.
    pub bans_max: usize,
    /// How long a source that has proven a password is believed.
    pub vouched_s: u64,
    /// Whether next hops and allowed networks that ask by `oc` (RFC 7339) are told how much less we want.
    pub overload_told: bool,
    /// Beginnings of `User-Agent` whose requests are dropped without an answer.
    pub scanners: Vec<String>,
}

impl Default for Guard {
    fn default() -> Self {
        let guard = ::guard::Config::default();
        Self {
            allow: Vec::new(),
            source_rate_per_s: guard.source_rate_per_s,
            source_burst: guard.source_burst,
            sources_max: guard.sources_max,
            ban_score: guard.ban_score,
            ban_window_s: guard.ban_window.as_secs(),
            ban_s: guard.ban_lasts.as_secs(),
            bans_max: guard.bans_max,
            vouched_s: guard.vouched_for.as_secs(),
            overload_told: true,
            scanners: sip_transport::SCANNERS.map(Into::into).to_vec(),
        }
    }
}

impl Guard {
    /// What the guard is made with. `trusted` are allowed beside [`Guard::allow`].
    pub fn config(&self, trusted: &[String]) -> ::guard::Config {
        let allow = self.allow.iter().chain(trusted);
        ::guard::Config {
            allow: allow.filter_map(|text| text.parse().ok()).collect(),
            source_rate_per_s: self.source_rate_per_s,
            source_burst: self.source_burst,
            sources_max: self.sources_max,
            ban_score: self.ban_score,
            ban_window: Duration::from_secs(self.ban_window_s),
            ban_lasts: Duration::from_secs(self.ban_s),
            bans_max: self.bans_max,
            vouched_for: Duration::from_secs(self.vouched_s),
        }
    }
}

impl Validate for Guard {
    fn validate(&self, problems: &mut Problems) {
        for (key, list) in [("allow", &self.allow), ("scanners", &self.scanners)] {
            if list.len() > ENTRIES_MAX {
                problems.push(key, format!("has more than {ENTRIES_MAX} entries"));
            }
        }
        for network in &self.allow {
            if let Err(reason) = network.parse::<::guard::Network>() {
                problems.push("allow", format!("has \"{network}\", which {reason}"));
            }
        }
        if self.scanners.iter().any(String::is_empty) {
            problems.push("scanners", "has an empty entry, which would be every user agent");
        }
        problems.range("source_rate_per_s", self.source_rate_per_s, 0..=10_000_000);
        problems.range("source_burst", self.source_burst, 1..=10_000_000);
        problems.range("sources_max", self.sources_max, 8..=10_000_000);
        problems.range("ban_score", self.ban_score, 0..=1_000_000);
        problems.range("ban_window_s", self.ban_window_s, 1..=86_400);
        problems.range("ban_s", self.ban_s, 1..=31_536_000);
        problems.range("bans_max", self.bans_max, 1..=1_000_000);
        problems.range("vouched_s", self.vouched_s, 0..=31_536_000);
    }
}
