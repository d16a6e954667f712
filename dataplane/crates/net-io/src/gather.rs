//! How long to gather packets before a turn.

use std::io;
use std::time::Duration;

use crate::counters::IoCounters;
use crate::waker::Waker;

/// The gathering wait of a back-end. A wake-up costs some ten times what a packet costs, so turns shall find about
/// [`crate::IoConfig::gather_packets`] packets: the wait follows the rate of packets, and is never longer than
/// [`crate::IoConfig::gather`]. The busier a worker is, the shorter its packets wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather {
    longest: Duration,
    packets: u32,
    now: Duration,
    /// Whether the last turn found something: only then is it worth gathering.
    busy: bool,
}

impl Gather {
    /// The shortest wait is this part of the longest: below it the timer costs more than the wait gains.
    const SHORTEST: u32 = 32;

    pub(crate) fn new(longest: Duration, packets: u32) -> Self {
        Self {
            longest,
            packets: packets.max(1),
            now: longest,
            busy: false,
        }
    }

    /// The wait of this turn, when `limit` is all that may be waited; `None` when there is nothing to gather.
    pub(crate) fn due(&self, limit: Option<Duration>) -> Option<Duration> {
        let wait = limit.map_or(self.now, |limit| limit.min(self.now));
        (self.busy && !wait.is_zero()).then_some(wait)
    }

    /// Sleeps for the wait that is due. A wake-up ends it, and is counted. What is left to wait then.
    ///
    /// # Errors
    /// The waker cannot be waited for.
    pub(crate) fn sleep(
        &self,
        limit: Option<Duration>,
        waker: &Waker,
        counters: &mut IoCounters,
    ) -> io::Result<Option<Duration>> {
        let Some(wait) = self.due(limit) else {
            return Ok(limit);
        };
        counters.system_calls += 1;
        if waker.wait(Some(wait))? {
            counters.wake_ups += 1;
            return Ok(Some(Duration::ZERO));
        }
        Ok(limit.map(|limit| limit.saturating_sub(wait)))
    }

    /// A turn that might have waited for `limit` has found so many packets. Goes half of the way to the wait that would have found
    /// the right number, so that one turn's chance does not decide.
    ///
    /// Does not allocate, and reads no clock: the time that the turn itself takes counts as none, which makes a loaded worker's wait
    /// shorter, as it should be.
    pub(crate) fn found(&mut self, packets: usize, limit: Option<Duration>) {
        // What a shorter wait finds says little about the rate.
        let is_cut = limit.is_some_and(|limit| limit < self.now);
        if self.busy && !is_cut {
            let found = packets.clamp(1, 1 << 20) as u32;
            let ideal = (self.now * self.packets / found).min(self.longest);
            self.now = ((self.now + ideal) / 2).max(self.longest / Self::SHORTEST);
        }
        self.busy = packets > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(1);

    /// One that has found packets.
    fn busy(longest: Duration) -> Gather {
        let mut gather = Gather::new(longest, 16);
        gather.found(16, None);
        gather
    }

    /// The wait that a steady rate ends in, when handling a packet takes `each`.
    fn settled(packets_per_s: u32, each: Duration) -> Duration {
        let mut gather = busy(LONGEST);
        let mut found = 0;
        for _ in 0..100 {
            let turn = gather.now + each * found;
            found = (turn.as_nanos() * u128::from(packets_per_s) / 1_000_000_000) as u32;
            gather.found(found as usize, None);
        }
        gather.now
    }

    #[test]
    fn the_wait_follows_the_rate_within_its_bounds() {
        let free = Duration::ZERO;
        for slow in [0, 50, 10_000] {
            assert!(settled(slow, free) >= LONGEST * 9 / 10, "{slow}");
        }
        let near = |rate: u32, expected_us: u64| {
            let wait = settled(rate, free).as_micros() as u64;
            assert!(
                (expected_us * 8 / 10..=expected_us * 12 / 10).contains(&wait),
                "{rate}: {wait}"
            );
        };
        near(40_000, 400);
        near(160_000, 100);
        assert_eq!(settled(10_000_000, free), LONGEST / 32);
    }

    #[test]
    fn a_worker_that_cannot_keep_up_waits_least() {
        assert_eq!(settled(200_000, Duration::from_micros(6)), LONGEST / 32);
    }

    #[test]
    fn a_wait_ends_with_what_may_be_waited() {
        let gather = busy(LONGEST);
        let short = Duration::from_micros(3);
        assert_eq!(gather.due(Some(short)), Some(short));
        assert_eq!(gather.due(Some(Duration::from_secs(3))), Some(LONGEST));
        assert_eq!(gather.due(Some(Duration::ZERO)), None);
        assert_eq!(busy(Duration::ZERO).due(None), None);
    }

    #[test]
    fn an_idle_worker_gathers_nothing() {
        let mut gather = Gather::new(LONGEST, 16);
        assert_eq!(gather.due(None), None);
        gather.found(1, None);
        assert_eq!(gather.due(None), Some(LONGEST));
        gather.found(0, None);
        assert_eq!(gather.due(None), None);
    }

    #[test]
    fn a_turn_that_was_cut_short_says_nothing_of_the_rate() {
        let mut gather = busy(LONGEST);
        gather.found(1_000, Some(Duration::ZERO));
        assert_eq!(gather.due(None), Some(LONGEST));
    }
}
