use std::time::Duration;

use sans_io::Timestamp;

/// How many records of refused INVITEs are written in one second, so that a flood of them fills no journal.
#[derive(Debug)]
pub(super) struct RefusalRecords {
    per_s_max: u32,
    since: Timestamp,
    written: u32,
}

impl RefusalRecords {
    pub(super) const fn new(per_s_max: u32) -> Self {
        Self {
            per_s_max,
            since: Timestamp::ZERO,
            written: 0,
        }
    }

    /// Whether one more may be written at `now`; it counts as written then.
    pub(super) fn admit(&mut self, now: Timestamp) -> bool {
        if now.saturating_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.written = 0;
        }
        let is_admitted = self.written < self.per_s_max;
        self.written += u32::from(is_admitted);
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_share() {
        let mut records = RefusalRecords::new(2);
        let admitted = [5_000, 5_100, 5_200, 5_999, 6_000, 6_500, 6_600]
            .map(|ms| records.admit(Timestamp::from_millis(ms)));
        assert_eq!(admitted, [true, true, false, false, true, true, false]);
        assert!(!RefusalRecords::new(0).admit(Timestamp::from_millis(9_000)));
    }
}
