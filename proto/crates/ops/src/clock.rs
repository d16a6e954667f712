//! The two places in the workspace that read a clock.

use std::time::{Instant, SystemTime};

use sans_io::Timestamp;

/// A monotonic clock whose epoch is its own start. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    epoch: Instant,
}

impl MonotonicClock {
    /// A clock that reads zero now.
    #[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// The time on this clock. Costs a vDSO call; does not allocate.
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.epoch.elapsed()
    }

    /// The moment of `timestamp`, for runtimes that take the standard library's type.
    pub fn instant(&self, timestamp: Timestamp) -> Instant {
        let since = timestamp.saturating_since(Timestamp::ZERO);
        self.epoch
            .checked_add(since)
            .unwrap_or_else(|| self.epoch + std::time::Duration::from_secs(1 << 32))
    }

    /// The wall-clock time of `timestamp`, as well as it can be known: clock steps since then move it.
    pub fn wall_time(&self, timestamp: Timestamp) -> SystemTime {
        let (now, wall) = (self.now(), wall_clock());
        if timestamp > now {
            wall + timestamp.saturating_since(now)
        } else {
            wall - now.saturating_since(timestamp)
        }
    }
}

/// The wall-clock time, for records that people read; never for timers.
#[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn conversions_go_both_ways() {
        let clock = MonotonicClock::start();
        let later = clock.now() + Duration::from_secs(10);
        assert!(clock.instant(later) > clock.instant(clock.now()));
        let ahead = clock
            .wall_time(later)
            .duration_since(wall_clock())
            .expect("it lies ahead");
        assert!((9..=10).contains(&ahead.as_secs()), "{ahead:?}");
        assert!(
            clock.instant(Timestamp::MAX) > clock.instant(later),
            "the end of time does not overflow"
        );
    }
}
