use std::time::Duration;

use sans_io::Timestamp;

use super::timers::{Class, Timers};

/// Which of a transaction's two timers: no state of §17 runs more than one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The next retransmission, or the 100 (Trying).
    Repeat = 0,
    /// The end of the state.
    Limit = 1,
}

/// The deadlines of all transactions.
///
/// Each timer length has a list of its own, in the order of setting and so in the order of deadlines. Two nodes a
/// transaction slot are threaded through the lists by index: setting, cancelling and expiring take constant time,
/// a cancelled timer leaves nothing behind, and the next deadline is the smallest of the list heads.
#[derive(Debug)]
pub(super) struct Schedule {
    durations: [Duration; Class::COUNT],
    lists: [List; Class::COUNT],
    /// Node `2 * slot + role`.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Timestamp,
    previous: u32,
    next: u32,
    /// `UNSET` when the timer does not run.
    class: u8,
}

const NIL: u32 = u32::MAX;
const UNSET: u8 = u8::MAX;

impl Schedule {
    pub(super) fn new(timers: &Timers) -> Self {
        Self {
            durations: Class::durations(timers),
            lists: [List {
                first: NIL,
                last: NIL,
            }; Class::COUNT],
            nodes: Vec::new(),
        }
    }

    /// Sets the timer `role` of `slot`, in place of the one that runs.
    pub(super) fn set(&mut self, now: Timestamp, slot: u32, role: Role, class: Class) {
        let node = Self::node(slot, role);
        let end = (slot as usize + 1) * 2;
        if self.nodes.len() < end {
            let unset = Node {
                deadline: Timestamp::ZERO,
                previous: NIL,
                next: NIL,
                class: UNSET,
            };
            self.nodes.resize(end, unset);
        }
        self.unlink(node);
        let list = usize::from(class.0);
        let last = self.lists[list].last;
        let mut deadline = now + self.durations[list];
        if last == NIL {
            self.lists[list].first = node;
        } else {
            // The list stays sorted even under a clock that steps back.
            deadline = deadline.max(self.nodes[last as usize].deadline);
            self.nodes[last as usize].next = node;
        }
        self.lists[list].last = node;
        self.nodes[node as usize] = Node {
            deadline,
            previous: last,
            next: NIL,
            class: class.0,
        };
    }

    /// Stops the timer `role` of `slot`, if it runs.
    pub(super) fn cancel(&mut self, slot: u32, role: Role) {
        let node = Self::node(slot, role);
        if (node as usize) < self.nodes.len() {
            self.unlink(node);
        }
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.earliest().map(|node| self.nodes[node as usize].deadline)
    }

    /// Takes the timer with the earliest deadline, if that is `now` or past.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(u32, Role)> {
        let node = self
            .earliest()
            .filter(|&node| self.nodes[node as usize].deadline <= now)?;
        self.unlink(node);
        Some((node / 2, if node % 2 == 0 { Role::Repeat } else { Role::Limit }))
    }

    fn node(slot: u32, role: Role) -> u32 {
        slot * 2 + role as u32
    }

    fn earliest(&self) -> Option<u32> {
        let heads = self
            .lists
            .iter()
            .map(|list| list.first)
            .filter(|&first| first != NIL);
        heads.min_by_key(|&first| self.nodes[first as usize].deadline)
    }

    fn unlink(&mut self, node: u32) {
        let Node {
            previous,
            next,
            class,
            ..
        } = self.nodes[node as usize];
        if class == UNSET {
            return;
        }
        let list = &mut self.lists[usize::from(class)];
        if previous == NIL {
            list.first = next;
        }
        if next == NIL {
            list.last = previous;
        }
        if previous != NIL {
            self.nodes[previous as usize].next = next;
        }
        if next != NIL {
            self.nodes[next as usize].previous = previous;
        }
        self.nodes[node as usize].class = UNSET;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sans_io::Random;

    use super::*;

    #[test]
    fn timers_expire_in_the_order_of_their_deadlines_as_in_a_model() {
        let timers = Timers::default();
        let durations = Class::durations(&timers);
        for seed in 0..50 {
            let mut random = Random::from_number(seed);
            let mut schedule = Schedule::new(&timers);
            let mut model: BTreeMap<(u32, u8), Timestamp> = BTreeMap::new();
            let mut now = Timestamp::ZERO;
            for _ in 0..2_000 {
                let slot = random.below(40) as u32;
                let role = if random.below(2) == 0 {
                    Role::Repeat
                } else {
                    Role::Limit
                };
                match random.below(4) {
                    0 | 1 => {
                        let class = Class(random.below(Class::COUNT as u64) as u8);
                        schedule.set(now, slot, role, class);
                        model.insert((slot, role as u8), now + durations[usize::from(class.0)]);
                    }
                    2 => {
                        schedule.cancel(slot, role);
                        model.remove(&(slot, role as u8));
                    }
                    _ => {
                        now = now + Duration::from_millis(random.below(3_000));
                        let mut last = Timestamp::ZERO;
                        while let Some((slot, role)) = schedule.expire(now) {
                            let deadline = model.remove(&(slot, role as u8)).expect("it was set");
                            assert!(last <= deadline && deadline <= now, "seed {seed}");
                            last = deadline;
                        }
                        assert!(
                            model.values().all(|&deadline| deadline > now),
                            "seed {seed}: one did not expire"
                        );
                    }
                }
                assert_eq!(
                    schedule.next_deadline(),
                    model.values().min().copied(),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_timer() {
        let mut schedule = Schedule::new(&Timers::default());
        schedule.set(Timestamp::from_millis(10_000), 0, Role::Limit, Class(0));
        schedule.set(Timestamp::from_millis(1_000), 1, Role::Limit, Class(0));
        assert_eq!(schedule.next_deadline(), Some(Timestamp::from_millis(10_500)));
        assert_eq!(
            schedule.expire(Timestamp::from_millis(10_500)),
            Some((0, Role::Limit))
        );
        assert_eq!(
            schedule.expire(Timestamp::from_millis(10_500)),
            Some((1, Role::Limit))
        );
        assert_eq!(schedule.next_deadline(), None);
    }
}
