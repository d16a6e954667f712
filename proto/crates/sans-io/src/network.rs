//! A simulated datagram network: loses, duplicates, delays and so reorders, all from one seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::{Random, Timestamp};

/// How badly the network behaves. Probabilities are per datagram, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Share of datagrams that never arrive.
    pub loss_permille: u64,
    /// Share of datagrams that arrive twice, the copy with a delay of its own.
    pub duplication_permille: u64,
    /// Shortest time in flight.
    pub delay_min: Duration,
    /// Longest time in flight. A spread larger than the sending interval reorders.
    pub delay_max: Duration,
}

impl Conditions {
    /// Everything arrives once, in order, after one millisecond.
    pub const PERFECT: Self = Self {
        loss_permille: 0,
        duplication_permille: 0,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(1),
    };
}

/// Datagrams of type `T` in flight between addresses of type `A`.
///
/// Contract: `send` when a machine transmits; `poll_timeout` says when the next datagram lands; `receive` hands over
/// those that have landed by `now`, one a call, in the order of their landing.
#[derive(Debug)]
pub struct Network<A, T> {
    conditions: Conditions,
    random: Random,
    in_flight: BinaryHeap<Reverse<InFlight<A, T>>>,
    sent: u64,
    lost: u64,
}

#[derive(Debug)]
struct InFlight<A, T> {
    lands: Timestamp,
    order: u64,
    from: A,
    to: A,
    payload: T,
}

impl<A, T> PartialEq for InFlight<A, T> {
    fn eq(&self, other: &Self) -> bool {
        (self.lands, self.order) == (other.lands, other.order)
    }
}

impl<A, T> Eq for InFlight<A, T> {}

impl<A, T> PartialOrd for InFlight<A, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<A, T> Ord for InFlight<A, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.lands, self.order).cmp(&(other.lands, other.order))
    }
}

impl<A: Clone, T: Clone> Network<A, T> {
    /// A network under `conditions`, its dice thrown by `random`.
    pub fn new(conditions: Conditions, random: Random) -> Self {
        Self {
            conditions,
            random,
            in_flight: BinaryHeap::new(),
            sent: 0,
            lost: 0,
        }
    }

    /// Changes the weather; datagrams already in flight keep their fate.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Takes a datagram from a sender.
    pub fn send(&mut self, now: Timestamp, from: A, to: A, payload: T) {
        if self.random.chance_permille(self.conditions.loss_permille) {
            self.sent += 1;
            self.lost += 1;
            return;
        }
        if self.random.chance_permille(self.conditions.duplication_permille) {
            self.launch(now, from.clone(), to.clone(), payload.clone());
        }
        self.launch(now, from, to, payload);
    }

    fn launch(&mut self, now: Timestamp, from: A, to: A, payload: T) {
        let spread = self
            .conditions
            .delay_max
            .saturating_sub(self.conditions.delay_min);
        let extra = Duration::from_nanos(self.random.below(spread.as_nanos() as u64 + 1));
        self.sent += 1;
        let lands = now + self.conditions.delay_min + extra;
        self.in_flight.push(Reverse(InFlight {
            lands,
            order: self.sent,
            from,
            to,
            payload,
        }));
    }

    /// When the next datagram lands; `None` with nothing in flight.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.in_flight.peek().map(|Reverse(next)| next.lands)
    }

    /// The next datagram that has landed by `now`: sender, receiver, payload.
    pub fn receive(&mut self, now: Timestamp) -> Option<(A, A, T)> {
        if self.poll_timeout()? > now {
            return None;
        }
        let Reverse(landed) = self.in_flight.pop()?;
        Some((landed.from, landed.to, landed.payload))
    }

    /// Datagrams taken (copies included) and datagrams lost, for a test that checks its own premise.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(conditions: Conditions, seed: u64) -> Vec<u32> {
        let mut network = Network::new(conditions, Random::from_number(seed));
        for n in 0..1_000u32 {
            network.send(Timestamp::from_millis(u64::from(n)), 'a', 'b', n);
        }
        let mut landed = Vec::new();
        while let Some(at) = network.poll_timeout() {
            let (from, to, n) = network.receive(at).expect("it has landed");
            assert_eq!((from, to), ('a', 'b'));
            landed.push(n);
        }
        landed
    }

    #[test]
    fn a_perfect_network_keeps_order_and_loses_nothing() {
        assert_eq!(run(Conditions::PERFECT, 1), (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_network_loses_duplicates_and_reorders_the_same_way_every_time() {
        let bad = Conditions {
            loss_permille: 100,
            duplication_permille: 50,
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(30),
        };
        let landed = run(bad, 3);
        assert_eq!(landed, run(bad, 3));
        let mut distinct = landed.clone();
        distinct.sort_unstable();
        assert_ne!(landed, distinct, "nothing was reordered");
        distinct.dedup();
        assert!(distinct.len() < landed.len(), "nothing was duplicated");
        assert!((850..950).contains(&distinct.len()), "{} arrived", distinct.len());
    }
}
