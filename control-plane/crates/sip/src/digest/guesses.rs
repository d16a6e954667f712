use std::time::Duration;

use sans_io::Timestamp;

/// Places that a user's may be in.
const WAYS: usize = 8;

/// How often somebody was wrong about each user's password of late, whether there is such a user or not.
///
/// A token bucket a user, kept as the time at which it is full again. The table has a fixed size: of those that share a place,
/// the user that was guessed at least is forgotten, so one that is under attack is not.
#[derive(Debug)]
pub(super) struct Guesses {
    /// The user's number, and when its bucket is full again.
    places: Box<[(u64, Timestamp)]>,
    interval: Duration,
    window: Duration,
}

impl Guesses {
    /// So many wrong proofs in a `window`, for so many users at once; zero of either limits nothing.
    pub(super) fn new(guesses_max: u32, window: Duration, users_max: usize) -> Self {
        let places = match guesses_max {
            0 => 0,
            _ => users_max.next_multiple_of(WAYS),
        };
        Self {
            places: vec![(0, Timestamp::ZERO); places].into(),
            interval: window / guesses_max.max(1),
            window,
        }
    }

    fn ways(&mut self, user: u64) -> &mut [(u64, Timestamp)] {
        let sets = (self.places.len() / WAYS) as u64;
        let at = user.checked_rem(sets).unwrap_or(0) as usize * WAYS;
        self.places.get_mut(at..at + WAYS).unwrap_or_default()
    }

    /// Whether no more may be said about that user's password for now.
    pub(super) fn is_spent(&mut self, now: Timestamp, user: u64) -> bool {
        let (interval, window) = (self.interval, self.window);
        let mut ways = self.ways(user).iter();
        let full = ways.find(|(known, _)| *known == user).map(|(_, full)| *full);
        full.is_some_and(|full| full.saturating_since(now) + interval > window)
    }

    /// Somebody was wrong.
    pub(super) fn note(&mut self, now: Timestamp, user: u64) {
        let interval = self.interval;
        let ways = self.ways(user);
        let known = ways.iter().position(|(known, _)| *known == user);
        let least = || ways.iter().enumerate().min_by_key(|(_, (_, full))| *full);
        let Some(place) = known.or_else(|| least().map(|(place, _)| place)) else {
            return;
        };
        let before = known.map_or(now, |_| ways[place].1.max(now));
        ways[place] = (user, before + interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_user_has_so_many_in_a_window_and_they_come_back() {
        let mut guesses = Guesses::new(3, Duration::from_secs(60), 100);
        for n in 0..3 {
            assert!(!guesses.is_spent(at(100), 7), "{n}");
            guesses.note(at(100), 7);
        }
        assert!(guesses.is_spent(at(100), 7) && guesses.is_spent(at(119), 7));
        assert!(!guesses.is_spent(at(100), 8));
        assert!(!guesses.is_spent(at(120), 7));
        guesses.note(at(120), 7);
        assert!(guesses.is_spent(at(120), 7));
        assert!(!guesses.is_spent(at(200), 7));
    }

    #[test]
    fn who_is_under_attack_is_not_forgotten_for_users_that_are_made_up() {
        let mut guesses = Guesses::new(30, Duration::from_secs(600), 64);
        for _ in 0..30 {
            guesses.note(at(1), 7);
        }
        for user in 1_000..100_000 {
            guesses.note(at(1), user);
        }
        assert_eq!(guesses.places.len(), 64);
        assert!(guesses.is_spent(at(1), 7));
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        for (guesses_max, users_max) in [(0, 100), (5, 0)] {
            let mut guesses = Guesses::new(guesses_max, Duration::from_secs(60), users_max);
            for _ in 0..100 {
                guesses.note(at(1), 7);
            }
            assert!(!guesses.is_spent(at(1), 7));
        }
    }
}
