//! Waiting for ticks at absolute times, and the time of day that packets carry.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ops::clock::wall_clock;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Ticks at absolute times, so that no error adds up.
#[derive(Debug)]
pub struct Schedule {
    tick: Timespec,
    next: Timespec,
}

impl Schedule {
    /// The first tick is one `tick` from now; `tick` is less than a second.
    pub fn start(tick: Duration) -> Self {
        Self {
            tick: Timespec {
                tv_sec: 0,
                tv_nsec: tick.subsec_nanos().into(),
            },
            next: clock_gettime(ClockId::Monotonic),
        }
    }

    /// Sleeps until the next tick; not at all when it has passed.
    pub fn wait_for_tick(&mut self) -> anyhow::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        self.next = self
            .next
            .checked_add(self.tick)
            .context("the clock has run out")?;
        if self.next < now {
            // Ticks that were missed are not made up for: the one to come sends everything that is due.
            self.next = now;
            return Ok(());
        }
        loop {
            match rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &self.next) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for the tick"),
            }
        }
    }
}

/// Nanoseconds since 1970, the clock of the kernel's times of arrival.
pub fn wall_ns() -> u64 {
    wall_clock()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
