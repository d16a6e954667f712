//! Waiting for something to become true, with a deadline and a word for it.

use std::time::Duration;

use anyhow::bail;
use ops::clock::MonotonicClock;

/// Looks again and again, every 5 ms, until `look` gives something or fails. After `within` it is an error that says
/// `what` was waited for.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    const PAUSE: Duration = Duration::from_millis(5);
    let clock = MonotonicClock::start();
    let deadline = clock.now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if clock.now() >= deadline {
            bail!("waited {within:?} in vain: {what}");
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// [`until`] for a condition.
pub fn until_true(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    until(what, within, || Ok(look()?.then_some(())))
}

/// Lets `duration` pass.
pub fn pass(duration: Duration) {
    let clock = MonotonicClock::start();
    let end = clock.now() + duration;
    loop {
        let left = end.saturating_since(clock.now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let error = until_true("the impossible", Duration::ZERO, || Ok(false)).unwrap_err();
        assert!(error.to_string().contains("the impossible"));
    }
}
