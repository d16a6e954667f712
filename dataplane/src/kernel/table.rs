//! The relay's table of flows as the workers' engines and the keeper of neighbours share it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebpf::{Bucket, FlowKey, FlowSpec, FlowTable, Media, NextHop, ReasonSet, TableError};
use media_engine::{
    Aside, FLOW_STREAMS_MAX, Flow, FlowError, FlowMedia, FlowReading, Flows, OpenError, PortId, StreamState,
};
use rtp::Ssrc;
use sans_io::Timestamp;
use tokio::sync::Notify;

use super::hops::{Ends, Hops, Missing};
use super::{reasons, streams};
use crate::config;

/// Bytes of RTP or RTCP that a flow takes: nothing on a media port is shorter than an RTCP header with an SSRC, and what is
/// longer fits into no frame of user space.
const SIZES: RangeInclusive<u16> = 8..=net_io::PAYLOAD_MAX as u16;

/// A limit's bucket holds what it allows in a fifth of a second, and this at least: parties send in bursts.
const PACKETS_BURST_MIN: u64 = 20;
const BYTES_BURST_MIN: u64 = 20_000;

/// An interface that the relay is attached to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attached {
    pub mode: ebpf::Mode,
    /// Whether the kernel forwards what comes by it, IPv4 and IPv6: only then does it tell the programs its routes.
    pub forwards: [bool; 2],
}

/// What flows are made with, whoever makes them.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    dscp: Option<u8>,
    packets: Option<Bucket>,
    bytes: Option<Bucket>,
    pass_up: ReasonSet,
    drops_unowned: bool,
    /// By its number.
    attached: HashMap<NonZeroU32, Attached>,
    /// The interface of each local address that has the kernel path.
    addresses: HashMap<IpAddr, NonZeroU32>,
}

impl Terms {
    pub(super) fn new(
        config: &config::Kernel,
        attached: HashMap<NonZeroU32, Attached>,
        addresses: HashMap<IpAddr, NonZeroU32>,
    ) -> Self {
        Self {
            dscp: config.dscp,
            packets: bucket(config.packets_per_s_max, PACKETS_BURST_MIN),
            bytes: bucket(config.bytes_per_s_max, BYTES_BURST_MIN),
            pass_up: reasons::passed_up(config.refused),
            drops_unowned: config.unowned == config::Policy::Drop,
            attached,
            addresses,
        }
    }

    /// A flow on these terms.
    fn flow(&self, spec: FlowSpec) -> FlowSpec {
        FlowSpec {
            size: SIZES,
            dscp: self.dscp,
            packets: self.packets,
            bytes: self.bytes,
            pass_up: self.pass_up,
            ..spec
        }
    }

    /// The interface that packets to a local address come by.
    fn ingress(&self, local: IpAddr) -> Option<(NonZeroU32, Attached)> {
        let ifindex = *self.addresses.get(&local)?;
        Some((ifindex, *self.attached.get(&ifindex)?))
    }

    /// How the programs find the way of packets that come by `ingress`; `None` when they cannot leave by the neighbour's
    /// interface.
    fn next_hop(
        &self,
        ingress: (NonZeroU32, Attached),
        is_ipv6: bool,
        neighbour: ebpf::Neighbour,
    ) -> Option<NextHop> {
        let (ifindex, from) = ingress;
        let by = self.attached.get(&neighbour.ifindex);
        let leaves = match (from.mode, by) {
            _ if neighbour.ifindex == ifindex => true,
            // The driver of the other interface must take frames from this one's.
            (ebpf::Mode::Native, by) => by.is_some_and(|by| by.mode == ebpf::Mode::Native),
            _ => true,
        };
        leaves.then(|| {
            if from.forwards[usize::from(is_ipv6)] {
                NextHop::RoutingOr(neighbour)
            } else {
                // Asking the routes would cost each packet a lookup that has no answer.
                NextHop::Neighbour(neighbour)
            }
        })
    }
}

fn bucket(per_second: u64, burst_min: u64) -> Option<Bucket> {
    let burst = (per_second / 5).max(burst_min);
    Some(Bucket {
        per_second: NonZeroU64::new(per_second)?,
        burst: NonZeroU64::new(burst)?,
    })
}

/// The table, who owns what in it, and the ways of its flows. Shared by the workers and the control thread.
#[derive(Debug)]
pub struct SharedTable {
    pub(super) table: FlowTable,
    terms: Terms,
    book: Mutex<Book>,
    /// Tells the keeper that ways are to be asked for.
    pub(super) asked: Notify,
    pub(super) counts: Counts,
    /// Another process is about to write the table, or does.
    held: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// Ports that a worker has open.
    owners: HashMap<FlowKey, usize>,
    /// The flows that are in the table, as they were put in last.
    flows: HashMap<FlowKey, FlowSpec>,
    pub hops: Hops,
}

/// What happened to flows; each only grows.
#[derive(Debug, Default)]
pub struct Counts {
    /// Flows that got another next hop, or another link-layer address of it.
    pub moved: AtomicU64,
    /// Changes of flows that the kernel refused.
    pub failed: AtomicU64,
    /// Datagrams sent so that the kernel asks who has an address.
    pub probes: AtomicU64,
    /// Copies of RTCP that found no place on their way to their worker.
    pub copies_dropped: AtomicU64,
}

impl Counts {
    pub(super) fn count(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl SharedTable {
    /// Of a table with the flows that are in it; each of them gets the next hop that is found for it.
    pub(super) fn new(table: FlowTable, terms: Terms) -> Result<Arc<Self>, ebpf::Error> {
        let shared = Self {
            table,
            terms,
            book: Mutex::default(),
            asked: Notify::new(),
            counts: Counts::default(),
            held: AtomicBool::new(false),
        };
        shared.read();
        Ok(Arc::new(shared))
    }

    /// Looks at the table again, which another process has written since; no worker has a port yet.
    pub(super) fn reload(&self) {
        self.table.reload();
        self.read();
        self.asked.notify_one();
    }

    /// Takes note of the flows that are in the table.
    fn read(&self) {
        let mut book = Book::default();
        for left in self.table.flows() {
            let spec = self.terms.flow(FlowSpec::new(
                left.local,
                left.source,
                left.egress_local,
                left.destination,
                left.media,
            ));
            // Asks for the way.
            let _ = book.hops.find(ends(&spec));
            book.flows.insert(spec.key(), spec);
        }
        *self.book() = book;
    }

    /// What a panicked thread has left is whole: the book is written after the table, in one step.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table for a worker's engine.
    pub fn of_worker(self: &Arc<Self>, worker: usize) -> WorkerFlows {
        WorkerFlows {
            shared: self.clone(),
            worker,
            ports: Vec::new(),
            rtcp: HashSet::new(),
        }
    }

    /// The local addresses that have the kernel path.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.terms.addresses.keys().copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// The worker that has a port open.
    pub(super) fn owner(&self, key: FlowKey) -> Option<usize> {
        self.book().owners.get(&key).copied()
    }

    /// Takes out flows and ports of an earlier process that no worker has taken over.
    pub(super) fn sweep(&self) {
        let mut book = self.book();
        for (key, _) in self.table.keys() {
            if book.owners.contains_key(&key) {
                continue;
            }
            book.flows.remove(&key);
            if let Err(error) = self.table.remove(key) {
                tracing::warn!(port = %key.local(), %error, "a flow of an earlier process is left");
            }
        }
    }

    /// The ends of every flow.
    pub(super) fn ends(&self) -> HashSet<Ends> {
        self.book().flows.values().map(ends).collect()
    }

    /// Gives every flow the next hop that is known now; one that has no way any more is left to user space, whose engine finds
    /// it gone. The book is let go of between two flows, for workers that wait.
    pub(super) fn refresh(&self) {
        if self.held.load(Ordering::Relaxed) {
            self.book().hops.set_changed();
            return;
        }
        let keys: Vec<FlowKey> = self.book().flows.keys().copied().collect();
        for key in keys {
            if let Err(error) = self.refresh_flow(key) {
                Counts::count(&self.counts.failed);
                tracing::warn!(port = %key.local(), %error, "a kernel flow keeps its next hop");
            }
        }
    }

    fn refresh_flow(&self, key: FlowKey) -> Result<(), TableError> {
        let mut book = self.book();
        let Book { flows, hops, .. } = &mut *book;
        let Some(spec) = flows.get_mut(&key) else {
            return Ok(());
        };
        let ingress = self.terms.ingress(spec.local.ip());
        let is_ipv6 = spec.destination.is_ipv6();
        let next_hop = match hops.find(ends(spec)) {
            // Not asked yet: it keeps what it has.
            Err(Missing::Neighbour) => return Ok(()),
            Err(Missing::Way) => None,
            Ok(neighbour) => ingress.and_then(|ingress| self.terms.next_hop(ingress, is_ipv6, neighbour)),
        };
        match next_hop {
            None => {
                self.table.leave_to_user_space(key)?;
                flows.remove(&key);
            }
            Some(next_hop) if next_hop != spec.next_hop => {
                let moved = FlowSpec {
                    next_hop,
                    ..spec.clone()
                };
                self.table.replace(&moved, &[])?;
                *spec = moved;
                Counts::count(&self.counts.moved);
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn ends(spec: &FlowSpec) -> Ends {
    Ends {
        from: spec.egress_local.ip(),
        to: spec.destination.ip(),
    }
}

/// The table as one worker's engine sees it.
#[derive(Debug)]
pub struct WorkerFlows {
    shared: Arc<SharedTable>,
    worker: usize,
    /// By the number of the port.
    ports: Vec<Option<SocketAddr>>,
    /// Those of the worker's flows that carry RTCP alone, whose foreign sources the engine has a word of its own for.
    rtcp: HashSet<FlowKey>,
}

/// A table of flows that also knows which ports are open, so that it can tell their packets from those that nobody owns.
pub trait PortTable: Flows {
    /// A port was opened.
    ///
    /// # Errors
    /// When the table has no place for it, and its packets would be dropped.
    fn opened(&mut self, port: PortId, local: SocketAddr) -> Result<(), OpenError>;

    /// A port is about to be closed.
    fn closing(&mut self, port: PortId);

    /// Another process is about to write the table in place of this one, or, with `false`, is not: until then nothing here may
    /// write it.
    fn hold(&mut self, hold: bool);
}

impl PortTable for media_engine::NoFlows {
    fn opened(&mut self, _: PortId, _: SocketAddr) -> Result<(), OpenError> {
        Ok(())
    }

    fn closing(&mut self, _: PortId) {}

    fn hold(&mut self, _: bool) {}
}

impl PortTable for WorkerFlows {
    fn opened(&mut self, port: PortId, local: SocketAddr) -> Result<(), OpenError> {
        if self.shared.terms.ingress(local.ip()).is_none() {
            return Ok(());
        }
        let key = FlowKey::new(local);
        let mut book = self.shared.book();
        if let Some(left) = book.flows.get(&key) {
            // An earlier process's: it goes on until the engine has looked at it.
            if left.media == Media::Rtcp {
                self.rtcp.insert(key);
            }
        } else if let Err(error) = self.shared.table.leave_to_user_space(key) {
            Counts::count(&self.shared.counts.failed);
            tracing::warn!(port = %local, %error, "the kernel path does not know an open port");
            if self.shared.terms.drops_unowned {
                return Err(OpenError::Exhausted);
            }
        }
        book.owners.insert(key, self.worker);
        drop(book);
        let place = port.0 as usize;
        if self.ports.len() <= place {
            self.ports.resize(place + 1, None);
        }
        self.ports[place] = Some(local);
        Ok(())
    }

    fn closing(&mut self, port: PortId) {
        let Some(local) = self.ports.get_mut(port.0 as usize).and_then(Option::take) else {
            return;
        };
        let key = FlowKey::new(local);
        let mut book = self.shared.book();
        book.owners.remove(&key);
        book.flows.remove(&key);
        self.rtcp.remove(&key);
        if let Err(error) = self.shared.table.remove(key) {
            Counts::count(&self.shared.counts.failed);
            tracing::warn!(port = %local, %error, "a closed port stays in the table of kernel flows");
        }
    }

    fn hold(&mut self, hold: bool) {
        self.shared.held.store(hold, Ordering::Relaxed);
    }
}

/// Notes a flow that is in the table.
fn keep(rtcp: &mut HashSet<FlowKey>, book: &mut Book, spec: FlowSpec) {
    let key = spec.key();
    if spec.media == Media::Rtcp {
        rtcp.insert(key);
    } else {
        rtcp.remove(&key);
    }
    book.flows.insert(key, spec);
}

/// Whether packets of two flows come from and go to the same places.
fn goes_the_same_way(a: &FlowSpec, b: &FlowSpec) -> bool {
    (a.local, a.source, a.egress_local, a.destination) == (b.local, b.source, b.egress_local, b.destination)
}

impl Flows for WorkerFlows {
    fn install(&mut self, flow: &Flow, streams: &[StreamState]) -> Result<(), FlowError> {
        let Self { shared, rtcp, .. } = self;
        let shared = &**shared;
        let terms = &shared.terms;
        let ingress = terms.ingress(flow.local.ip()).ok_or(FlowError::Unavailable)?;
        let mut spec = terms.flow(FlowSpec::new(
            flow.local,
            flow.source,
            flow.egress_local,
            flow.destination,
            media(&flow.media),
        ));
        let mut book = shared.book();
        let neighbour = match book.hops.find(ends(&spec)) {
            Ok(neighbour) => neighbour,
            Err(missing) => {
                shared.asked.notify_one();
                let left = book.flows.get(&spec.key());
                if missing == Missing::Neighbour && left.is_some_and(|left| goes_the_same_way(left, &spec)) {
                    // An earlier process's. It has a next hop, and gets the terms of this one with the next that is found.
                    keep(rtcp, &mut book, spec);
                    return Ok(());
                }
                return Err(match missing {
                    Missing::Way => FlowError::NoRoute,
                    Missing::Neighbour => FlowError::NoNeighbour,
                });
            }
        };
        let is_ipv6 = flow.destination.is_ipv6();
        spec.next_hop = terms
            .next_hop(ingress, is_ipv6, neighbour)
            .ok_or(FlowError::NoRoute)?;
        let streams: Vec<ebpf::StreamState> = streams.iter().map(streams::to_kernel).collect();
        let installed = match shared.table.replace(&spec, &streams) {
            Err(TableError::Absent(_)) => shared.table.install(&spec, &streams),
            replaced => replaced,
        };
        match installed {
            Ok(()) => {
                keep(rtcp, &mut book, spec);
                Ok(())
            }
            Err(TableError::Full(_)) => Err(FlowError::Full),
            Err(error) => {
                Counts::count(&shared.counts.failed);
                tracing::debug!(port = %flow.local, %error, "not put into the kernel");
                Err(FlowError::Refused)
            }
        }
    }

    fn remove(&mut self, local: SocketAddr) -> Option<FlowReading> {
        let key = FlowKey::new(local);
        let mut book = self.shared.book();
        let removed = if book.owners.contains_key(&key) {
            self.shared.table.leave_to_user_space(key)
        } else {
            self.shared.table.remove(key)
        };
        match removed {
            Ok(reading) => {
                book.flows.remove(&key);
                let reading = self.reading(key, &reading?);
                self.rtcp.remove(&key);
                Some(reading)
            }
            Err(TableError::Absent(_)) => None,
            Err(error) => {
                Counts::count(&self.shared.counts.failed);
                tracing::warn!(port = %local, %error, "a flow stays in the kernel");
                None
            }
        }
    }

    fn read(&mut self, local: SocketAddr) -> Option<FlowReading> {
        let key = FlowKey::new(local);
        let reading = self.shared.table.read(key)?;
        Some(self.reading(key, &reading))
    }

    fn keep_aside(&mut self, local: SocketAddr, ssrc: Ssrc, aside: Aside) -> bool {
        !self.shared.held.load(Ordering::Relaxed)
            && self
                .shared
                .table
                .add_aside(FlowKey::new(local), ssrc.0, aside.packets, aside.bytes)
    }
}

impl WorkerFlows {
    fn reading(&self, key: FlowKey, reading: &ebpf::FlowReading) -> FlowReading {
        let refused = |reason| reading.refused(reason);
        let latest = reading.streams().map(|stream| stream.last_seen_ns()).max();
        let mut streams = [None; FLOW_STREAMS_MAX];
        for (place, stream) in streams.iter_mut().zip(reading.streams()) {
            *place = streams::from_kernel(&stream.state());
        }
        FlowReading {
            rtp_packets: reading.rtp_packets(),
            rtp_bytes: reading.rtp_bytes(),
            rtcp_packets: reading.rtcp_packets(),
            rtcp_bytes: reading.rtcp_bytes(),
            latest_rtp: latest
                .filter(|_| reading.rtp_packets() > 0)
                .map(Timestamp::from_nanos),
            streams_evicted: reading.streams_evicted(),
            drops: reasons::drops(refused, self.shared.terms.pass_up, self.rtcp.contains(&key)),
            streams,
        }
    }
}

fn media(media: &FlowMedia) -> Media {
    let types = |types: &[(rtp::PayloadType, u32)]| {
        types.iter().map(|(kind, clock)| (kind.value(), *clock)).collect()
    };
    match media {
        FlowMedia::Rtp(list) => Media::Rtp(types(list)),
        FlowMedia::Mux(list) => Media::Mux(types(list)),
        FlowMedia::Rtcp => Media::Rtcp,
    }
}
