//! The search for the most calls a second of which none fails.

/// From below in steps, so that a server is rarely brought to collapse; then step by step down again until a rate has
/// held as often as it must.
#[derive(Debug)]
pub struct Ceiling {
    step: u32,
    rate_max: u32,
    runs_wanted: usize,
    /// The rate that is tried now.
    rate: u32,
    /// The least rate that ever failed.
    failed: Option<u32>,
    /// Runs that held at `rate`.
    held: usize,
    /// Whether a failure at `rate` has been put down to chance once.
    forgiven: bool,
}

impl Ceiling {
    /// From `first` in steps of `step` up to `rate_max` calls a second; the last is held `runs_wanted` times.
    pub fn new(first: u32, step: u32, rate_max: u32, runs_wanted: usize) -> Self {
        Self {
            step,
            rate_max,
            runs_wanted,
            rate: first.min(rate_max),
            failed: None,
            held: 0,
            forgiven: false,
        }
    }

    /// What to try next; `None` at the end.
    pub fn next_rate(&self) -> Option<u32> {
        (self.rate > 0 && self.held < self.runs_wanted).then_some(self.rate)
    }

    /// Takes what came of that.
    pub fn take(&mut self, held: bool) {
        if held {
            self.held += 1;
            let next = self.rate + self.step;
            if next <= self.rate_max && self.failed.is_none() {
                self.rate = next;
                self.held = 0;
                self.forgiven = false;
            }
        } else if self.failed.is_none() && !self.forgiven {
            // On the way up one failure may be the machine's.
            self.forgiven = true;
        } else {
            self.failed = Some(self.rate);
            self.rate = self.rate.saturating_sub(self.step);
            self.held = 0;
        }
    }

    /// What was found: a rate that held as often as wanted.
    pub fn rate(&self) -> Option<u32> {
        (self.rate > 0 && self.held >= self.runs_wanted).then_some(self.rate)
    }

    /// Whether the server, or the load, failed at a rate above; else nothing higher was tried.
    pub fn is_limited(&self) -> bool {
        self.failed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(mut holds: impl FnMut(u32) -> bool) -> (Option<u32>, bool, usize) {
        let mut ceiling = Ceiling::new(1_000, 500, 8_000, 3);
        let mut runs = 0;
        while let Some(rate) = ceiling.next_rate() {
            ceiling.take(holds(rate));
            runs += 1;
            assert!(runs < 60, "{ceiling:?}");
        }
        (ceiling.rate(), ceiling.is_limited(), runs)
    }

    #[test]
    fn the_highest_rate_that_held_three_times_is_found() {
        assert_eq!(search(|rate| rate <= 4_700), (Some(4_500), true, 13));
        assert_eq!(search(|rate| rate <= 400), (None, true, 3));
        assert_eq!(search(|_| true).0, Some(8_000));
        assert!(!search(|_| true).1);
    }

    #[test]
    fn one_failure_on_the_way_up_is_chance_and_one_of_three_at_the_top_is_not() {
        let mut tries = 0;
        let once = search(|rate| {
            tries += usize::from(rate == 2_000);
            rate <= 3_000 && !(rate == 2_000 && tries == 1)
        });
        assert_eq!(once.0, Some(3_000));
        let mut tries = 0;
        let unsteady = search(|rate| {
            tries += usize::from(rate == 3_000);
            rate <= 3_000 && !(rate == 3_000 && tries == 3)
        });
        assert_eq!(unsteady.0, Some(2_500));
    }
}
