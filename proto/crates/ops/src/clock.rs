//! The two places in the workspace that read a clock.

use std::time::{Duration, Instant, SystemTime};

use sans_io::Timestamp;

/// The machine's monotonic clock: nanoseconds since it was booted, as the kernel's programs and other processes read
/// them too (CLOCK_MONOTONIC). Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    epoch: Instant,
    /// What the clock read at `epoch`, within some hundred nanoseconds.
    at_epoch: Timestamp,
}

impl MonotonicClock {
    /// The clock.
    #[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
    pub fn start() -> Self {
        let read = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let since_boot = Duration::new(read.tv_sec as u64, read.tv_nsec as u32);
        Self {
            epoch: Instant::now(),
            at_epoch: Timestamp::ZERO + since_boot,
        }
    }

    /// The time on this clock. Costs a vDSO call; does not allocate.
    pub fn now(&self) -> Timestamp {
        self.at_epoch + self.epoch.elapsed()
    }

    /// The moment of `timestamp`, for runtimes that take the standard library's type.
    pub fn instant(&self, timestamp: Timestamp) -> Instant {
        let since = timestamp.saturating_since(self.at_epoch);
        self.epoch
            .checked_add(since)
            .unwrap_or_else(|| self.epoch + Duration::from_secs(1 << 32))
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
    use super::*;

    #[test]
    fn two_clocks_read_the_same() {
        let (one, other) = (MonotonicClock::start(), MonotonicClock::start());
        let apart = other.now().saturating_since(one.now());
        assert!(apart < Duration::from_millis(100), "{apart:?}");
        assert!(one.now() > Timestamp::ZERO);
    }

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
