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
