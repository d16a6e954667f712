use sans_io::Timestamp;

/// A token bucket: so much a second, and so much at once after a silence.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Nanoseconds of credit.
    credit_ns: u64,
    at: Timestamp,
}

impl Bucket {
    /// A full one.
    pub const fn full(now: Timestamp) -> Self {
        Self {
            credit_ns: u64::MAX,
            at: now,
        }
    }

    /// Takes one, if there is one. A rate of zero is no limit.
    pub fn take(&mut self, now: Timestamp, rate_per_s: u32, burst: u32) -> bool {
        if rate_per_s == 0 {
            return true;
        }
        let one = 1_000_000_000 / u64::from(rate_per_s).min(1_000_000_000);
        let most = one.saturating_mul(u64::from(burst.max(1)));
        let since = now.saturating_since(self.at).as_nanos() as u64;
        self.at = self.at.max(now);
        self.credit_ns = self.credit_ns.saturating_add(since).min(most);
        let is_there = self.credit_ns >= one;
        if is_there {
            self.credit_ns -= one;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_goes_at_once_and_the_rate_afterwards() {
        let mut bucket = Bucket::full(Timestamp::ZERO);
        let mut taken = |at: u64| {
            (0..1_000)
                .filter(|_| bucket.take(Timestamp::from_millis(at), 100, 50))
                .count()
        };
        assert_eq!(taken(0), 50);
        assert_eq!(taken(100), 10);
        assert_eq!(taken(50), 0, "a clock that goes back gives nothing");
        assert_eq!(taken(100_000), 50, "no more than the burst is saved up");
        assert!(bucket.take(Timestamp::ZERO, 0, 0), "no limit");
    }
}
