use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use media_types::CallId;
use sans_io::Timestamp;

/// How long the workers of ended calls are remembered, so that a repeated request reaches the worker that can answer it: as
/// long as the workers keep the answers.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// [`media_engine::Limits::tombstone_time`].
    pub time: Duration,
    /// Ended calls, of all workers: [`media_engine::Limits::tombstones_max`] of each.
    pub calls_max: usize,
}

/// Which worker has which call, and how many calls each has or is about to get.
#[derive(Debug)]
pub struct Placements {
    calls: BTreeMap<CallId, Placement>,
    /// Ended calls in the order of their ends.
    ended: VecDeque<(Timestamp, CallId)>,
    workers: Vec<Share>,
    memory: Memory,
}

/// One worker's part.
#[derive(Clone, Copy, Debug)]
struct Share {
    calls_max: usize,
    /// Calls that it has, and those being created.
    calls: usize,
}

#[derive(Clone, Copy, Debug)]
struct Placement {
    worker: usize,
    state: State,
    /// Requests to create the call that are under way.
    creating: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but requests to create.
    New,
    Live,
    Ended(Timestamp),
}

impl Placement {
    /// Whether it takes a place on its worker.
    fn counts(&self) -> bool {
        self.state == State::Live || self.creating > 0
    }
}

impl Placements {
    /// No calls, on workers that take so many each.
    pub fn new(calls_max: impl IntoIterator<Item = usize>, memory: Memory) -> Self {
        let workers = calls_max
            .into_iter()
            .map(|calls_max| Share { calls_max, calls: 0 })
            .collect();
        Self {
            calls: BTreeMap::new(),
            ended: VecDeque::new(),
            workers,
            memory,
        }
    }

    /// The worker that has the call, or had it until lately.
    pub fn worker(&self, call: &CallId) -> Option<usize> {
        self.calls.get(call).map(|placement| placement.worker)
    }

    /// Whether the call is there, or about to be.
    pub fn is_known(&self, call: &CallId) -> bool {
        self.calls.get(call).is_some_and(Placement::counts)
    }

    /// Whether the call is there.
    pub fn is_live(&self, call: &CallId) -> bool {
        self.calls
            .get(call)
            .is_some_and(|placement| placement.state == State::Live)
    }

    /// The worker with the most free capacity among those for which `open` is true; `ports_free` decides between equals.
    /// One without capacity is named as well when there is no other: its refusal is the answer.
    pub fn best(&self, open: impl Fn(usize) -> bool, ports_free: impl Fn(usize) -> u64) -> Option<usize> {
        let free = |worker: usize| {
            self.workers[worker]
                .calls_max
                .saturating_sub(self.workers[worker].calls)
        };
        (0..self.workers.len())
            .filter(|&worker| open(worker))
            .max_by_key(|&worker| {
                // The first of equals.
                (free(worker), ports_free(worker), std::cmp::Reverse(worker))
            })
    }

    /// A request to create `call` goes to `worker`, unless the call has one already; says which.
    pub fn begin_create(&mut self, call: &CallId, worker: usize) -> usize {
        let placement = self.calls.entry(call.clone()).or_insert(Placement {
            worker,
            state: State::New,
            creating: 0,
        });
        if !placement.counts() {
            // One that has ended may come back on another worker.
            placement.worker = worker;
            self.workers[worker].calls += 1;
        }
        placement.creating += 1;
        placement.worker
    }

    /// A request to create `call` was answered.
    pub fn finish_create(&mut self, call: &CallId, created: bool) {
        let Some(placement) = self.calls.get_mut(call) else {
            return;
        };
        placement.creating = placement.creating.saturating_sub(1);
        if created {
            placement.state = State::Live;
        } else if !placement.counts() {
            self.workers[placement.worker].calls -= 1;
            if placement.state == State::New {
                self.calls.remove(call);
            }
        }
    }

    /// `worker` says that it does not have the call. It is remembered for a while. A call that has come back on another
    /// worker since is not meant.
    pub fn end(&mut self, now: Timestamp, worker: usize, call: &CallId) {
        let Some(placement) = self.calls.get_mut(call) else {
            return;
        };
        if placement.state != State::Live || placement.worker != worker {
            return;
        }
        placement.state = State::Ended(now);
        if !placement.counts() {
            self.workers[placement.worker].calls -= 1;
        }
        self.ended.push_back((now, call.clone()));
        self.forget(now);
    }

    /// The live calls of a worker, for comparing with what it says itself.
    pub fn live_on(&self, worker: usize) -> impl Iterator<Item = &CallId> {
        self.calls
            .iter()
            .filter(move |(_, p)| p.worker == worker && p.state == State::Live)
            .map(|(call, _)| call)
    }

    /// At most `count` live calls after `after`, in the order of their names.
    pub fn page(&self, after: Option<&CallId>, count: usize) -> Vec<CallId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.calls.range::<CallId, _>((from, Bound::Unbounded));
        range
            .filter(|(_, p)| p.state == State::Live)
            .take(count)
            .map(|(call, _)| call.clone())
            .collect()
    }

    /// Calls that are there or about to be.
    pub fn count(&self) -> usize {
        self.workers.iter().map(|share| share.calls).sum()
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, call)) = self.ended.front() {
            if now.saturating_since(*at) < self.memory.time && self.ended.len() <= self.memory.calls_max {
                return;
            }
            // The call may have come back since, or ended once more.
            if self
                .calls
                .get(call)
                .is_some_and(|p| p.state == State::Ended(*at) && p.creating == 0)
            {
                self.calls.remove(call);
            }
            self.ended.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CallId {
        CallId::new(name).expect("a good name")
    }

    const T0: Timestamp = Timestamp::ZERO;
    const REMEMBERED: Duration = Duration::from_secs(60);
    const MEMORY: Memory = Memory {
        time: REMEMBERED,
        calls_max: 4,
    };

    #[test]
    fn calls_go_where_most_is_free() {
        let mut placements = Placements::new([2, 3], MEMORY);
        let best = |p: &Placements| p.best(|_| true, |_| 0).expect("two");
        let mut order = vec![];
        for n in 0..5 {
            let worker = best(&placements);
            order.push(worker);
            placements.begin_create(&id(&n.to_string()), worker);
            placements.finish_create(&id(&n.to_string()), true);
        }
        assert_eq!(order, [1, 0, 1, 0, 1]);
        assert_eq!(placements.count(), 5);
        assert_eq!(
            placements.best(|worker| worker == 0, |_| 0),
            Some(0),
            "a full one still answers"
        );
        assert_eq!(placements.best(|_| false, |_| 0), None);
        assert_eq!(
            Placements::new([1, 1], MEMORY).best(|_| true, |worker| worker as u64),
            Some(1),
            "more ports"
        );
    }

    #[test]
    fn a_refused_call_leaves_no_trace_and_a_racing_one_stays() {
        let mut placements = Placements::new([1, 1], MEMORY);
        assert_eq!(placements.begin_create(&id("a"), 0), 0);
        assert_eq!(
            placements.begin_create(&id("a"), 1),
            0,
            "follows the first request"
        );
        assert_eq!(placements.count(), 1);
        placements.finish_create(&id("a"), false);
        assert!(placements.is_known(&id("a")));
        placements.finish_create(&id("a"), true);
        assert!(placements.is_live(&id("a")));
        placements.begin_create(&id("a"), 1);
        placements.finish_create(&id("a"), false);
        assert!(
            placements.is_live(&id("a")),
            "a refused repetition does not end it"
        );

        placements.begin_create(&id("b"), 1);
        placements.finish_create(&id("b"), false);
        assert_eq!((placements.worker(&id("b")), placements.count()), (None, 1));
    }

    #[test]
    fn an_ended_call_is_remembered_for_a_while_and_can_come_back() {
        let mut placements = Placements::new([1, 1], MEMORY);
        let create = |p: &mut Placements, name: &str, worker| {
            p.begin_create(&id(name), worker);
            p.finish_create(&id(name), true);
        };
        create(&mut placements, "a", 1);
        placements.end(T0, 1, &id("a"));
        placements.end(T0, 1, &id("a"));
        assert_eq!((placements.worker(&id("a")), placements.count()), (Some(1), 0));
        assert!(!placements.is_known(&id("a")));

        create(&mut placements, "a", 0);
        assert_eq!((placements.worker(&id("a")), placements.count()), (Some(0), 1));
        create(&mut placements, "b", 1);
        placements.end(T0 + REMEMBERED, 1, &id("b"));
        assert!(
            placements.is_live(&id("a")),
            "the old end does not touch the new call"
        );
        placements.end(T0 + REMEMBERED, 1, &id("a"));
        assert!(
            placements.is_live(&id("a")),
            "the other worker does not speak for it"
        );
        placements.end(T0 + REMEMBERED, 0, &id("a"));
        create(&mut placements, "c", 0);
        placements.end(T0 + REMEMBERED * 2, 0, &id("c"));
        assert_eq!(
            (placements.worker(&id("a")), placements.worker(&id("b"))),
            (None, None)
        );
        assert_eq!(placements.worker(&id("c")), Some(0));
    }

    #[test]
    fn pages_have_live_calls_in_order_without_gaps() {
        let mut placements = Placements::new([10], MEMORY);
        for name in ["d", "b", "a", "c", "e"] {
            placements.begin_create(&id(name), 0);
            placements.finish_create(&id(name), true);
        }
        placements.begin_create(&id("aa"), 0);
        placements.end(T0, 0, &id("c"));
        let first = placements.page(None, 2);
        assert_eq!(first, [id("a"), id("b")]);
        assert_eq!(placements.page(first.last(), 2), [id("d"), id("e")]);
        assert!(placements.page(Some(&id("e")), 2).is_empty());
        assert_eq!(placements.live_on(0).count(), 4);
    }

    #[test]
    fn no_more_ended_calls_are_remembered_than_the_workers_answer_for() {
        let mut placements = Placements::new([10], MEMORY);
        for n in 0..6 {
            placements.begin_create(&id(&n.to_string()), 0);
            placements.finish_create(&id(&n.to_string()), true);
            placements.end(T0, 0, &id(&n.to_string()));
        }
        let remembered: Vec<bool> = (0..6)
            .map(|n| placements.worker(&id(&n.to_string())).is_some())
            .collect();
        assert_eq!(remembered, [false, false, true, true, true, true]);
    }
}
