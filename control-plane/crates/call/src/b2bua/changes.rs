use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::by_key::ByKey;
use super::call::{Call, Phase};
use super::hub::CallKey;
use crate::{Changes, Overview, Progress, Transferred};

/// Which calls somebody who watches has yet to be told of. Costs nothing while nobody does.
///
/// A call that changes twice before it is told is told once, so there are at most as many entries as calls; and when
/// more calls have gone untold than are allowed, the list begins anew without them.
#[derive(Debug, Default)]
pub(super) struct Untold {
    watched: bool,
    restart: bool,
    /// The last call that there was when the list began; `None` once all up to it have been told.
    listing_until: Option<CallKey>,
    changed: BTreeSet<CallKey>,
    gone: VecDeque<Overview>,
}

/// What a watcher can see of a call, to tell whether it changed. Copying it does not allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    progress: Progress,
    next_hop: Option<SocketAddr>,
    has_node: bool,
    transferred: Option<Box<Transferred>>,
}

impl Untold {
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Begins the list anew, or stops watching and forgets everything.
    pub(super) fn watch(&mut self, on: bool, calls: &ByKey<CallKey, Box<Call>>) {
        *self = Self::default();
        if on {
            self.watched = true;
            self.restart = true;
            self.changed.extend(calls.keys());
            self.listing_until = self.changed.last().copied();
        }
    }

    pub(super) fn changed(&mut self, key: CallKey) {
        if self.watched {
            self.changed.insert(key);
        }
    }

    /// A call has gone. Gives whether more than `gone_max` wait to be told, so that the list must begin anew.
    pub(super) fn gone(&mut self, key: CallKey, call: &Call, gone_max: usize) -> bool {
        if !self.watched {
            return false;
        }
        self.changed.remove(&key);
        self.gone.push_back(call.overview());
        self.gone.len() > gone_max
    }

    /// At most `max` calls that have yet to be told, the gone ones and the oldest first; `None` when there is nothing
    /// to tell.
    pub(super) fn poll(&mut self, max: usize, calls: &ByKey<CallKey, Box<Call>>) -> Option<Changes> {
        if !self.restart && self.changed.is_empty() && self.gone.is_empty() {
            return None;
        }
        let gone: Vec<Overview> = self.gone.drain(..self.gone.len().min(max)).collect();
        let mut changed = Vec::new();
        while changed.len() + gone.len() < max
            && let Some(key) = self.changed.pop_first()
        {
            changed.extend(calls.get(&key).map(|call| call.overview()));
        }
        let left = self.changed.first();
        if left.is_none_or(|left| self.listing_until.is_none_or(|until| *left > until)) {
            self.listing_until = None;
        }
        Some(Changes {
            restart: std::mem::take(&mut self.restart),
            changed,
            gone,
            complete: self.listing_until.is_none(),
        })
    }
}

impl Call {
    pub(super) fn overview(&self) -> Overview {
        Overview {
            progress: self.progress(),
            record: self.record.so_far().clone(),
        }
    }

    pub(super) fn glance(&self) -> Glance {
        let record = self.record.so_far();
        Glance {
            progress: self.progress(),
            next_hop: record.next_hop,
            has_node: record.node.is_some(),
            transferred: record.transferred.clone(),
        }
    }

    fn progress(&self) -> Progress {
        match self.phase {
            Phase::Reserving => Progress::Reserving,
            Phase::Calling if self.record.so_far().times.ringing.is_some() => Progress::Ringing,
            Phase::Calling => Progress::Calling,
            Phase::Answering => Progress::Answering,
            Phase::Answered => Progress::Answered,
            Phase::Ended => Progress::Ended,
        }
    }
}
