use std::collections::BTreeSet;

use sans_io::Timestamp;

use super::by_key::ByKey;
use super::hub::CallKey;
use super::side::Side;

/// What a call waits for, so that no state waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Deadline {
    /// The next hop has said nothing: try the one after it.
    NextHop,
    /// Contacts have not answered: try those with the next lower preference.
    Branch,
    /// The callee has not answered.
    Ring,
    /// A reliable provisional response has no PRACK: send it again, or give up.
    Provisional,
    /// A request that was passed on within the dialog has no final response.
    Exchange,
    /// The media node has not answered.
    Media,
    /// A 2xx has no ACK: send it again, or give up.
    Accept(Side),
    /// A party's session wants its refresh, or was not refreshed.
    Session(Side),
    /// A transfer waits: for its newcomer, or for the party that stays.
    Transfer,
    /// A party that has been replaced has not said BYE.
    Departed,
    /// The call has lasted too long.
    Duration,
}

/// The deadlines of all calls, each at most once a call.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeSet<(Timestamp, CallKey, Deadline)>,
    set: ByKey<(CallKey, Deadline), Timestamp>,
}

impl Deadlines {
    /// Sets a deadline, in place of an earlier setting of the same.
    pub(super) fn set(&mut self, call: CallKey, deadline: Deadline, at: Timestamp) {
        if let Some(before) = self.set.insert((call, deadline), at) {
            self.due.remove(&(before, call, deadline));
        }
        self.due.insert((at, call, deadline));
    }

    /// Takes a deadline back, if it is set.
    pub(super) fn clear(&mut self, call: CallKey, deadline: Deadline) {
        if let Some(at) = self.set.remove(&(call, deadline)) {
            self.due.remove(&(at, call, deadline));
        }
    }

    /// Whether a deadline is set.
    pub(super) fn is_set(&self, call: CallKey, deadline: Deadline) -> bool {
        self.set.contains_key(&(call, deadline))
    }

    /// Takes all deadlines of a call back.
    pub(super) fn clear_all(&mut self, call: CallKey) {
        use Deadline::{
            Accept, Branch, Departed, Duration, Exchange, Media, NextHop, Provisional, Ring, Session,
            Transfer,
        };
        for deadline in [
            NextHop,
            Branch,
            Ring,
            Provisional,
            Exchange,
            Media,
            Accept(Side::Caller),
            Accept(Side::Callee),
            Session(Side::Caller),
            Session(Side::Callee),
            Transfer,
            Departed,
            Duration,
        ] {
            self.clear(call, deadline);
        }
    }

    /// The earliest deadline that is due at `now`; it is no longer set then.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(CallKey, Deadline)> {
        let &(at, call, deadline) = self.due.first()?;
        if at > now {
            return None;
        }
        self.clear(call, deadline);
        Some((call, deadline))
    }

    /// When the earliest deadline is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|&(at, ..)| at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_set_once_a_call_and_fires_in_order() {
        let at = Timestamp::from_millis;
        let mut deadlines = Deadlines::default();
        deadlines.set(CallKey(1), Deadline::Ring, at(50));
        deadlines.set(CallKey(2), Deadline::Ring, at(30));
        deadlines.set(CallKey(1), Deadline::Ring, at(20));
        deadlines.set(CallKey(1), Deadline::Accept(Side::Callee), at(40));
        deadlines.set(CallKey(2), Deadline::Media, at(10));
        deadlines.clear(CallKey(2), Deadline::Media);
        assert_eq!(deadlines.next(), Some(at(20)));
        assert_eq!(deadlines.pop(at(19)), None);
        assert_eq!(deadlines.pop(at(60)), Some((CallKey(1), Deadline::Ring)));
        assert_eq!(deadlines.pop(at(60)), Some((CallKey(2), Deadline::Ring)));
        deadlines.clear_all(CallKey(1));
        assert!(deadlines.is_empty() && deadlines.set.is_empty());
    }
}
