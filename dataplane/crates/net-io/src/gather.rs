//! How long to gather packets before a turn.

use std::time::Duration;

/// The gathering wait of a back-end. A wake-up costs some ten times what a packet costs, so turns shall find about
/// [`crate::IoConfig::gather_packets`] packets: the wait follows the rate of packets, and is never longer than
/// [`crate::IoConfig::gather`]. The busier a worker is, the shorter its packets wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather {
    longest: Duration,
    packets: u32,
    now: Duration,
}

impl Gather {
    /// The shortest wait is this part of the longest: below it the timer costs more than the wait gains.
    const SHORTEST: u32 = 32;

    pub(crate) fn new(longest: Duration, packets: u32) -> Self {
        Self {
            longest,
            packets: packets.max(1),
            now: longest,
        }
    }

    /// Whether there is none.
    pub(crate) fn is_off(&self) -> bool {
        self.longest.is_zero()
    }

    /// The wait of the next turn, when `limit` is all that may be waited.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Duration {
        limit.map_or(self.now, |limit| limit.min(self.now))
    }

    /// Whether `limit` makes the wait shorter.
    pub(crate) fn is_cut_by(&self, limit: Option<Duration>) -> bool {
        limit.is_some_and(|limit| limit < self.now)
    }

    /// A turn after such a wait has found so many packets. Goes half of the way to the wait that would have found the right number,
    /// so that one turn's chance does not decide.
    ///
    /// Does not allocate, and reads no clock: the time that the turn itself takes counts as none, which makes a loaded worker's wait
    /// shorter, as it should be.
    pub(crate) fn found(&mut self, packets: usize) {
        let packets = packets.clamp(1, 1 << 20) as u32;
        let ideal = (self.now * self.packets / packets).min(self.longest);
        self.now = ((self.now + ideal) / 2).max(self.longest / Self::SHORTEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(1);

    /// The wait that a steady rate ends in, when handling a packet takes `each`.
    fn settled(packets_per_s: u32, each: Duration) -> Duration {
        let mut gather = Gather::new(LONGEST, 16);
        let mut found = 0;
        for _ in 0..100 {
            let turn = gather.wait(None) + each * found;
            found = (turn.as_nanos() * u128::from(packets_per_s) / 1_000_000_000) as u32;
            gather.found(found as usize);
        }
        gather.wait(None)
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
        let gather = Gather::new(LONGEST, 16);
        assert_eq!(
            gather.wait(Some(Duration::from_micros(3))),
            Duration::from_micros(3)
        );
        assert_eq!(gather.wait(Some(Duration::from_secs(3))), LONGEST);
        assert!(Gather::new(Duration::ZERO, 16).is_off());
    }
}
