use std::collections::BTreeMap;
use std::time::Duration;

use sans_io::Timestamp;

/// The counts of nonces that were used with success, so that none is used twice (RFC 7616 §3.4, `nc`).
///
/// Bounded: when a new nonce would not fit, the one issued first is forgotten, and from then on all nonces issued
/// up to that time are refused. So a full table costs clients a round trip and never lets a replay through.
#[derive(Debug)]
pub(super) struct Replays {
    used: BTreeMap<u64, Counts>,
    max: usize,
    /// Nonces up to this number are refused unless they are in the table.
    horizon: u64,
}

/// The counts used of one nonce: the highest, and which of the 64 up to it.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    seen: u64,
}

impl Replays {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            used: BTreeMap::new(),
            max,
            horizon: 0,
        }
    }

    /// Notes that nonce `number` was used with `count`; false when it was before, or may have been.
    pub(super) fn take(&mut self, number: u64, count: u32) -> bool {
        if count == 0 {
            return false;
        }
        if let Some(counts) = self.used.get_mut(&number) {
            return counts.take(count);
        }
        if number <= self.horizon {
            return false;
        }
        self.used.insert(
            number,
            Counts {
                highest: count,
                seen: 1,
            },
        );
        if self.used.len() > self.max
            && let Some((first, _)) = self.used.pop_first()
        {
            self.horizon = self.horizon.max(first);
            return first != number;
        }
        true
    }

    /// Forgets nonces that are too old to be used again. Cheap when there is none.
    pub(super) fn expire(&mut self, now: Timestamp, lifetime: Duration) {
        let oldest = now.saturating_sub(lifetime).as_nanos();
        while let Some(entry) = self.used.first_entry()
            && *entry.key() < oldest
        {
            entry.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used.len()
    }
}

impl Counts {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let by = count - self.highest;
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = match 1u64.checked_shl(self.highest - count) {
            Some(bit) => bit,
            None => return false,
        };
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sans_io::Random;

    use super::*;

    #[test]
    fn a_count_is_taken_once_in_any_order() {
        let seed = 11;
        let mut random = Random::from_number(seed);
        let (mut replays, mut model) = (Replays::new(4), HashSet::new());
        for _ in 0..2_000 {
            let count = u32::try_from(random.below(300)).unwrap();
            let taken = replays.take(1, count);
            assert!(
                !taken || model.insert(count),
                "{count} was taken twice, seed {seed}"
            );
        }
        assert!(model.len() > 60, "{}", model.len());
        assert!(!replays.take(1, 0), "counts begin with 1");
        assert!(replays.take(1, u32::MAX) && !replays.take(1, u32::MAX));
    }

    #[test]
    fn a_full_table_refuses_what_it_cannot_know() {
        let mut replays = Replays::new(2);
        assert!(replays.take(10, 1) && replays.take(30, 1) && replays.take(20, 1));
        assert_eq!(replays.len(), 2);
        assert!(!replays.take(10, 2), "forgotten, so refused");
        assert!(!replays.take(5, 1), "issued before it");
        assert!(replays.take(20, 2) && replays.take(30, 2) && !replays.take(30, 2));
        assert!(
            !replays.take(15, 1),
            "the first of three is the one that is given up"
        );
    }

    #[test]
    fn old_nonces_are_forgotten() {
        let mut replays = Replays::new(9);
        assert!(replays.take(1_000, 1) && replays.take(2_000, 1));
        replays.expire(Timestamp::from_nanos(2_500), Duration::from_nanos(1_000));
        assert_eq!(replays.len(), 1);
    }
}
