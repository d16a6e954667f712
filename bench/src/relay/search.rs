//! The search for the most calls that a relay takes without loss.

use crate::relay::outcome::Outcome;
use crate::relay::row::{Ceiling, Limit};

/// How exactly it is looked for: so many calls, or a twentieth of them if that is more.
const STEP: u32 = 25;

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was lost.
    Whole,
    /// Something was.
    Lossy,
    /// The generator could not offer so much.
    TooMuchToOffer,
}

impl Verdict {
    /// Of one probe.
    pub fn of(outcome: &Outcome) -> Self {
        if !outcome.kept_pace() {
            Self::TooMuchToOffer
        } else if outcome.is_lossless() {
            Self::Whole
        } else {
            Self::Lossy
        }
    }
}

/// Doubles until something is lost, then halves the difference.
#[derive(Debug)]
pub struct Search {
    first: u32,
    calls_max: u32,
    whole: u32,
    /// The least that failed, and how.
    failed: Option<(u32, Verdict)>,
    is_stopped: bool,
}

impl Search {
    /// From `first` calls on, up to `calls_max`.
    pub fn new(first: u32, calls_max: u32) -> Self {
        Self {
            first: first.min(calls_max),
            calls_max,
            whole: 0,
            failed: None,
            is_stopped: false,
        }
    }

    /// What to try next; `None` at the end.
    pub fn next_calls(&self) -> Option<u32> {
        match self.failed {
            None if self.whole == 0 => Some(self.first),
            None if self.whole < self.calls_max => Some((self.whole * 2).min(self.calls_max)),
            None => None,
            Some((failed, _)) if failed - self.whole <= STEP.max(self.whole / 20) => None,
            Some((failed, _)) => Some(self.whole + (failed - self.whole) / 2),
        }
    }

    /// Takes what came of that.
    pub fn take(&mut self, calls: u32, verdict: Verdict) {
        if verdict == Verdict::Whole {
            self.whole = self.whole.max(calls);
        } else {
            self.failed = Some((calls, verdict));
        }
    }

    /// The time is over.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// What was found.
    pub fn ceiling(&self) -> Ceiling {
        let limit = match self.failed {
            _ if self.is_stopped => Limit::Time,
            Some((_, Verdict::TooMuchToOffer)) => Limit::Generator,
            Some(_) => Limit::Relay,
            None => Limit::Trial,
        };
        Ceiling {
            calls: self.whole,
            limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(calls_max: u32, probe: impl Fn(u32) -> Verdict) -> Ceiling {
        let mut search = Search::new(100, calls_max);
        let mut probes = 0;
        while let Some(calls) = search.next_calls() {
            search.take(calls, probe(calls));
            probes += 1;
            assert!(probes < 20, "{search:?}");
        }
        search.ceiling()
    }

    #[test]
    fn the_most_calls_are_found_from_below() {
        for most in [0, 1, 99, 100, 512, 777, 1_599, 10_900] {
            let found = search(11_000, |calls| {
                if calls <= most {
                    Verdict::Whole
                } else {
                    Verdict::Lossy
                }
            });
            assert_eq!(found.limit, Limit::Relay);
            assert!(
                found.calls <= most && most - found.calls <= STEP.max(most / 20),
                "{most}: {found:?}"
            );
        }
    }

    #[test]
    fn what_ended_the_search_is_said() {
        let all = search(1_600, |_| Verdict::Whole);
        assert_eq!((all.calls, all.limit), (1_600, Limit::Trial));
        let offered = search(1_600, |calls| {
            if calls <= 900 {
                Verdict::Whole
            } else {
                Verdict::TooMuchToOffer
            }
        });
        assert_eq!(offered.limit, Limit::Generator);
        let mut stopped = Search::new(100, 100);
        stopped.stop();
        assert_eq!(stopped.ceiling().limit, Limit::Time);
    }
}
