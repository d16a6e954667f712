use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sans_io::{Random, Timestamp};

use crate::Rank;
use crate::admission::RANKS;

/// What is left of earlier requests in the mix of ranks when one more comes: the last hundred count.
const MEMORY: f64 = 0.99;

/// A neighbour's word about its overload, by the algorithm `loss` (RFC 7339 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// The share of requests that it does not want, 0 to 100.
    pub percent: u8,
    /// How long that holds.
    pub validity: Duration,
    /// Of two words the one with the greater number counts.
    pub sequence: u64,
}

/// Keeps back what overloaded neighbours do not want to be sent (RFC 7339 §6): the least important [`Rank`] first, an
/// emergency call when nothing else is left.
///
/// The share is taken of requests that begin calls. Those within dialogs are never kept back, and as many fewer of them come
/// when fewer calls begin. A word ends by itself: after the time that the neighbour names, and no later than
/// `validity_max`.
///
/// It knows only the neighbours that it is told by [`set`](Self::set), so its size is that of the configuration.
#[derive(Debug)]
pub struct Throttle<K> {
    neighbours: HashMap<K, Neighbour>,
    random: Random,
    validity_max: Duration,
}

#[derive(Debug, Default)]
struct Neighbour {
    percent: u8,
    until: Timestamp,
    sequence: u64,
    /// Requests for it of late, by rank.
    arrived: [f64; RANKS],
}

impl<K: Copy + Eq + Hash> Throttle<K> {
    /// One that obeys nobody yet, and nobody longer than `validity_max` for one word.
    pub fn new(validity_max: Duration, random: Random) -> Self {
        Self {
            neighbours: HashMap::new(),
            random,
            validity_max,
        }
    }

    /// Obeys these neighbours and no others. Those that stay keep their state.
    pub fn set(&mut self, neighbours: impl IntoIterator<Item = K>) {
        let mut before = std::mem::take(&mut self.neighbours);
        let known = |key: K| (key, before.remove(&key).unwrap_or_default());
        self.neighbours = neighbours.into_iter().map(known).collect();
    }

    /// Whether a neighbour is obeyed.
    pub fn obeys(&self, neighbour: K) -> bool {
        self.neighbours.contains_key(&neighbour)
    }

    /// Takes a neighbour's word; false if it does not count: it is older than another, or nobody is to obey it.
    pub fn hear(&mut self, now: Timestamp, neighbour: K, feedback: Feedback) -> bool {
        let Some(known) = self.neighbours.get_mut(&neighbour) else {
            return false;
        };
        if feedback.sequence <= known.sequence {
            return false;
        }
        known.sequence = feedback.sequence;
        known.percent = feedback.percent.min(100);
        known.until = now + feedback.validity.min(self.validity_max);
        true
    }

    /// Whether a request that begins a call may go to `neighbour`. Asked once for each.
    pub fn admit(&mut self, now: Timestamp, neighbour: K, rank: Rank) -> bool {
        let Some(known) = self.neighbours.get_mut(&neighbour) else {
            return true;
        };
        for arrived in &mut known.arrived {
            *arrived *= MEMORY;
        }
        known.arrived[rank as usize] += 1.0;
        let percent = known.percent_at(now);
        if percent == 0 {
            return true;
        }
        // What is to go, less what those of lower ranks give.
        let wanted = known.arrived.iter().sum::<f64>() * f64::from(percent) / 100.0;
        let lower: f64 = known.arrived[..rank as usize].iter().sum();
        let share = ((wanted - lower) / known.arrived[rank as usize]).clamp(0.0, 1.0);
        !self.random.chance_permille((share * 1_000.0).round() as u64)
    }

    /// The share that is kept from `neighbour` now, 0 to 100.
    pub fn percent(&self, now: Timestamp, neighbour: K) -> u8 {
        let known = self.neighbours.get(&neighbour);
        known.map_or(0, |known| known.percent_at(now))
    }
}

impl Neighbour {
    fn percent_at(&self, now: Timestamp) -> u8 {
        if now < self.until { self.percent } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: Duration = Duration::from_millis(500);

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    const fn word(percent: u8, sequence: u64) -> Feedback {
        Feedback {
            percent,
            validity: VALIDITY,
            sequence,
        }
    }

    fn throttle() -> Throttle<u8> {
        let mut throttle = Throttle::new(Duration::from_secs(60), Random::from_number(7));
        throttle.set([1, 2]);
        throttle
    }

    /// How many of 10,000 requests pass, of which every tenth is an emergency call.
    fn passed(throttle: &mut Throttle<u8>, neighbour: u8) -> (u32, u32) {
        let mut passed = (0, 0);
        for n in 0..10_000 {
            let rank = if n % 10 == 0 {
                Rank::Emergency
            } else {
                Rank::UserInvite
            };
            if throttle.admit(at(1), neighbour, rank) {
                match rank {
                    Rank::Emergency => passed.1 += 1,
                    _ => passed.0 += 1,
                }
            }
        }
        passed
    }

    #[test]
    fn the_share_is_kept_back_and_emergency_calls_last() {
        let mut throttle = throttle();
        assert_eq!(passed(&mut throttle, 1), (9_000, 1_000));
        for (sequence, percent) in [(1, 20), (2, 50), (3, 80)] {
            assert!(throttle.hear(at(0), 1, word(percent, sequence)));
            let (calls, emergency) = passed(&mut throttle, 1);
            assert_eq!(emergency, 1_000, "{percent}");
            let wanted = 10_000 - 100 * u32::from(percent);
            assert!((calls + emergency).abs_diff(wanted) < 300, "{percent}: {calls}");
        }
        assert!(throttle.hear(at(0), 1, word(95, 4)));
        let (calls, emergency) = passed(&mut throttle, 1);
        assert!(
            calls < 100 && emergency.abs_diff(500) < 100,
            "{calls} {emergency}"
        );
        assert!(throttle.hear(at(0), 1, word(100, 5)));
        assert_eq!(passed(&mut throttle, 1), (0, 0));
        assert_eq!(
            passed(&mut throttle, 2),
            (9_000, 1_000),
            "the other one said nothing"
        );
    }

    /// RFC 7339 §4.3, §4.4 and §5.7.
    #[test]
    fn a_word_ends_in_time_and_an_older_one_does_not_count() {
        let mut throttle = throttle();
        assert!(throttle.hear(at(0), 1, word(100, 10)));
        assert!(!throttle.hear(at(1), 1, word(0, 10)), "the same again");
        assert!(!throttle.hear(at(1), 1, word(0, 9)));
        assert_eq!(throttle.percent(at(499), 1), 100);
        assert!(throttle.admit(at(500), 1, Rank::UserInvite));
        assert!(!throttle.hear(at(501), 1, word(100, 9)), "still older");
        let endless = Feedback {
            validity: Duration::from_millis(u32::MAX.into()),
            ..word(100, 11)
        };
        assert!(throttle.hear(at(0), 1, endless));
        assert_eq!(
            (throttle.percent(at(59_999), 1), throttle.percent(at(60_000), 1)),
            (100, 0)
        );
        let end = Feedback {
            validity: Duration::ZERO,
            ..word(100, 12)
        };
        assert!(throttle.hear(at(1), 1, end));
        assert_eq!(throttle.percent(at(1), 1), 0);
    }

    #[test]
    fn only_neighbours_that_are_named_are_obeyed_and_kept() {
        let mut throttle = throttle();
        assert!(!throttle.hear(at(0), 3, word(100, 1)));
        assert!(throttle.admit(at(0), 3, Rank::UserInvite));
        assert!(throttle.hear(at(0), 1, word(100, 1)));
        throttle.set([1, 3]);
        assert_eq!(throttle.percent(at(0), 1), 100);
        assert_eq!(throttle.neighbours.len(), 2);
    }
}
