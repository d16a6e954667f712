use std::collections::BTreeSet;

use sans_io::Timestamp;

/// One deadline a call, ordered. Setting, moving and removing cost the logarithm of the number of calls; nothing
/// stale stays behind.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Timestamp, u32)>);

impl Timers {
    /// Sets the deadline of a call that has none.
    pub(crate) fn set(&mut self, at: Timestamp, call: u32) {
        self.0.insert((at, call));
    }

    /// Removes the deadline of a call, which was set to `at`.
    pub(crate) fn remove(&mut self, at: Timestamp, call: u32) {
        self.0.remove(&(at, call));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Removes and returns a call whose deadline has come.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<u32> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, call)| call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_only_when_due() {
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        for (deadline, call) in [(30, 1), (10, 2), (10, 3), (20, 4)] {
            timers.set(at(deadline), call);
        }
        timers.remove(at(20), 4);
        assert_eq!((timers.next(), timers.pop(at(9))), (Some(at(10)), None));
        let due: Vec<u32> = std::iter::from_fn(|| timers.pop(at(10))).collect();
        assert_eq!((due, timers.next()), (vec![2, 3], Some(at(30))));
        assert_eq!(
            (timers.pop(at(40)), timers.pop(at(40)), timers.next()),
            (Some(1), None, None)
        );
    }
}
