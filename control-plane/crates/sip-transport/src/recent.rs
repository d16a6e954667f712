use std::collections::{HashMap, VecDeque};

/// What became of a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was handed over.
    Admitted,
    /// It was refused without state.
    Refused,
}

/// What became of the latest new requests, so that a repetition of one meets the same fate: a request that is being
/// worked on must not be refused by its repetition, and one that was refused must not begin work when its repetition
/// finds room, since its client has given it up (RFC 3261 §8.2.7 wants a stateless answer to be the same each time).
///
/// Holds a number of requests, not a time: the oldest is forgotten first.
#[derive(Debug)]
pub(crate) struct Recent {
    verdicts: HashMap<u64, Verdict>,
    order: VecDeque<u64>,
    max: usize,
}

impl Recent {
    /// Remembers at most `max` requests, 1 at least.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            verdicts: HashMap::new(),
            order: VecDeque::new(),
            max: max.max(1),
        }
    }

    /// What became of the request with that fingerprint, if it is remembered.
    pub(crate) fn of(&self, fingerprint: u64) -> Option<Verdict> {
        self.verdicts.get(&fingerprint).copied()
    }

    /// Remembers what became of it.
    pub(crate) fn note(&mut self, fingerprint: u64, verdict: Verdict) {
        if self.verdicts.insert(fingerprint, verdict).is_some() {
            return;
        }
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.verdicts.remove(&oldest);
        }
        self.order.push_back(fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_oldest_forgotten() {
        let mut recent = Recent::new(2);
        recent.note(1, Verdict::Refused);
        recent.note(2, Verdict::Admitted);
        recent.note(2, Verdict::Admitted);
        assert_eq!(
            (recent.of(1), recent.of(2)),
            (Some(Verdict::Refused), Some(Verdict::Admitted))
        );
        recent.note(3, Verdict::Refused);
        assert_eq!(
            (recent.of(1), recent.of(2), recent.of(3)),
            (None, Some(Verdict::Admitted), Some(Verdict::Refused))
        );
        assert_eq!(recent.order.len(), recent.verdicts.len());
    }
}
