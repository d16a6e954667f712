//! The central machine. `create`, `update`, `remove` and `restore` hold the commands, `packet` what the network did,
//! `timeout` what the clock did, `flow` what the kernel does instead; this file has the state and what they share.

mod call_ports;
mod create;
mod flow;
mod opening;
mod packet;
mod remove;
mod restore;
mod setup;
mod status;
mod sweep;
mod timeout;
mod update;
mod wiring;

use std::collections::{HashMap, VecDeque};

use media_types::{CallId, Event, EventKind};
use sans_io::{Random, Timestamp};
use slab::Slab;

use crate::call::Call;
use crate::event_queue::EventQueue;
use crate::line::Line;
use crate::port_pool::PortPool;
use crate::timers::Timers;
use crate::tombstones::Tombstones;
use crate::{Counters, EngineConfig, FlowCounts, ScoreHistogram, SetupId, SetupOrder};
use sweep::Sweep;

pub use call_ports::{CallPort, CallPorts};

/// The media engine of one worker. The crate's documentation has the calling contract.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    random: Random,
    /// By [`crate::PortId`].
    slots: Vec<Slot>,
    lines: Slab<Line>,
    calls: Slab<Call>,
    names: HashMap<CallId, u32>,
    pool: PortPool,
    timers: Timers,
    tombstones: Tombstones,
    events: EventQueue,
    counters: Counters,
    /// Lines whose flows are to be decided anew. It has room for all lines: a packet may add one.
    undecided: Vec<u32>,
    /// Lines whose flow is to be told of packets that came past it; with room like the above.
    asides: Vec<u32>,
    /// Lines that wait for a pause between packets.
    pauses: Timers,
    flow_counts: FlowCounts,
    sweep: Sweep,
    scores: ScoreHistogram,
    /// The slab keys of lines that are set up.
    setups: HashMap<SetupId, u32>,
    next_setup: u64,
    orders: VecDeque<SetupOrder>,
}

/// What a port is for.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The slab key of its line; [`Slot::FREE`] when the port is not ours.
    line: u32,
    component: Component,
}

/// The two ports of a line (RFC 8445 calls them components).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Component {
    Rtp,
    Rtcp,
}

impl Slot {
    const FREE: u32 = u32::MAX;
}

impl Engine {
    /// An engine without calls. `random` chooses ports: production seeds it from the operating system.
    pub fn new(config: EngineConfig, random: Random) -> Self {
        let limits = &config.limits;
        Self {
            pool: PortPool::new(&config.interfaces, config.quarantine, limits.set_aside),
            tombstones: Tombstones::new(limits.tombstones_max, limits.tombstone_time),
            events: EventQueue::new(limits.events_max),
            config,
            random,
            slots: Vec::new(),
            lines: Slab::new(),
            calls: Slab::new(),
            names: HashMap::new(),
            timers: Timers::default(),
            counters: Counters::default(),
            undecided: Vec::new(),
            asides: Vec::new(),
            pauses: Timers::default(),
            flow_counts: FlowCounts::default(),
            sweep: Sweep::default(),
            scores: ScoreHistogram::default(),
            setups: HashMap::new(),
            next_setup: 0,
            orders: VecDeque::new(),
        }
    }

    /// The next thing to tell the control plane. Poll until `None` after every command, batch and timeout.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// When [`Self::handle_timeout`] wants to be called next; `None` while nothing is pending.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        // Ports end their rest in whole seconds, so that a busy node is not woken for each.
        const SECOND_NS: u64 = 1_000_000_000;
        let rested = self
            .pool
            .reclaim_at()
            .map(|at| Timestamp::from_nanos(at.as_nanos().div_ceil(SECOND_NS).saturating_mul(SECOND_NS)));
        let is_due = !self.undecided.is_empty() || !self.asides.is_empty();
        [
            is_due.then_some(Timestamp::ZERO),
            self.timers.next(),
            self.pauses.next(),
            self.sweep.next(),
            rested,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The slab key of a call.
    fn key(&self, id: &CallId) -> Option<u32> {
        self.names.get(id).copied()
    }

    fn call(&self, key: u32) -> &Call {
        &self.calls[key as usize]
    }

    fn call_mut(&mut self, key: u32) -> &mut Call {
        &mut self.calls[key as usize]
    }

    fn line(&self, key: u32) -> &Line {
        &self.lines[key as usize]
    }

    fn line_mut(&mut self, key: u32) -> &mut Line {
        &mut self.lines[key as usize]
    }

    /// The slab keys of all lines of a call: first leg, then second.
    fn line_keys(&self, call: u32) -> impl Iterator<Item = u32> + use<> {
        let [first, second] = &self.call(call).legs;
        let keys: Vec<u32> = first.lines.iter().chain(&second.lines).copied().collect();
        keys.into_iter()
    }

    /// Queues an event about a call.
    fn tell(&mut self, call: u32, kind: EventKind) {
        let call = self.call(call).id.clone();
        if !self.events.push(Event { call, kind }) {
            self.counters.events_missed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_ports_is_eight_bytes_a_port() {
        assert_eq!(size_of::<Slot>(), 8);
    }
}
