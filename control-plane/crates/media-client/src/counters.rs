use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What a counted attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// CreateCall.
    Create,
    /// UpdateCall.
    Update,
    /// DeleteCall, as asked for by the owner.
    Delete,
    /// DeleteCall of what an unclear outcome may have left.
    Sweep,
    /// RenewLeases.
    Renew,
    /// Describe.
    Describe,
}

impl Operation {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Sweep => "sweep",
            Self::Renew => "renew",
            Self::Describe => "describe",
        }
    }
}

/// What the client counts.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Attempts at nodes by operation and result: `done`, `not_reached`, `unclear` or the refusal's reason.
    pub attempts: BTreeMap<(Operation, &'static str), u64>,
    /// Answers to requests by result: `done`, `no_node`, `refused`, `lost`.
    pub answers: BTreeMap<&'static str, u64>,
    /// Requests not taken because [`crate::Config::requests_max`] were under way.
    pub overloaded: u64,
    /// Streams of requests that nodes took. One that ends is opened again.
    pub exchanges: u64,
    /// Events taken from nodes.
    pub events: u64,
    /// Events that nodes said we missed.
    pub events_missed: u64,
    /// Calls that their node did not have any more.
    pub calls_lost: u64,
    /// Calls that may have been left on a node and were not noted for deletion, the list being full: their lease ends
    /// them.
    pub orphans_dropped: u64,
}

/// [`Counters`] shared between the client's tasks. None of them is on a packet's way, so a lock does.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Counters>);

impl Shared {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn attempt(&self, operation: Operation, label: &'static str) {
        self.change(|counters| *counters.attempts.entry((operation, label)).or_default() += 1);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
