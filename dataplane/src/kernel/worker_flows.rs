//! The table of flows as one worker's engine sees it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use ebpf::{FlowKey, FlowSpec, Media, TableError};
use media_engine::{
    Aside, FLOW_STREAMS_MAX, Flow, FlowError, FlowMedia, FlowReading, Flows, OpenError, PortId, StreamState,
};
use rtp::Ssrc;
use sans_io::Timestamp;

use super::hops::Missing;
use super::table::{Book, Counts, SharedTable, ends};
use super::{reasons, streams};

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

impl WorkerFlows {
    pub(super) fn new(shared: Arc<SharedTable>, worker: usize) -> Self {
        Self {
            shared,
            worker,
            ports: Vec::new(),
            rtcp: HashSet::new(),
        }
    }
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

    /// Another process may have the table, or, with `false`, has not: until then nothing here changes where its packets go, so that
    /// either of the two can go on. What is taken out meanwhile stays, and goes then.
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
        book.ended.remove(&key);
        if let Some(left) = book.flows.get(&key) {
            // An earlier process's: it goes on until the engine has looked at it.
            if left.media == Media::Rtcp {
                self.rtcp.insert(key);
            }
        } else if let Err(error) = self.shared.table.leave_to_user_space(key) {
            Counts::count(&self.shared.counts.failed);
            tracing::warn!(port = %local, %error, "the kernel path does not know an open port");
            // Packets to it are dropped, or still go where an earlier call had them.
            if self.shared.terms.drops_unowned || book.kept.contains(&key) {
                return Err(OpenError::Exhausted);
            }
        } else {
            book.kept.remove(&key);
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
        book.ended.remove(&key);
        self.rtcp.remove(&key);
        if self.shared.is_held() {
            // Of a call that could not be made again here: the other process may have to go on with it.
            return;
        }
        if let Err(error) = self.shared.table.remove(key) {
            Counts::count(&self.shared.counts.failed);
            book.kept.insert(key);
            tracing::warn!(port = %local, %error, "a closed port stays in the table of kernel flows");
        }
    }

    fn hold(&mut self, hold: bool) {
        self.shared.hold(hold);
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
        let key = spec.key();
        if book.kept.contains(&key) {
            // What the flow there counts on with is not this one's.
            if let Err(error) = shared.table.leave_to_user_space(key) {
                Counts::count(&shared.counts.failed);
                tracing::debug!(port = %flow.local, %error, "an earlier flow stays in the kernel");
                return Err(FlowError::Refused);
            }
            book.kept.remove(&key);
        }
        let streams: Vec<ebpf::StreamState> = streams.iter().map(streams::to_kernel).collect();
        let installed = match shared.table.replace(&spec, &streams) {
            Err(TableError::Absent(_)) => shared.table.install(&spec, &streams),
            replaced => replaced,
        };
        match installed {
            Ok(()) => {
                book.ended.remove(&key);
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
        if self.shared.is_held() {
            book.flows.remove(&key);
            book.kept.insert(key);
            let reading = self.shared.table.read(key)?;
            let reading = self.reading(key, &reading);
            self.rtcp.remove(&key);
            return Some(reading);
        }
        let removed = if book.owners.contains_key(&key) {
            self.shared.table.leave_to_user_space(key)
        } else {
            self.shared.table.remove(key)
        };
        match removed {
            Ok(reading) => {
                book.flows.remove(&key);
                book.kept.remove(&key);
                // Its way may have gone before.
                let reading = reading.or(book.ended.remove(&key));
                let reading = reading.map(|reading| self.reading(key, &reading));
                self.rtcp.remove(&key);
                reading
            }
            Err(TableError::Absent(_)) => None,
            Err(error) => {
                Counts::count(&self.shared.counts.failed);
                book.flows.remove(&key);
                book.kept.insert(key);
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

    /// Also of a table that is held: the other process reads it when every worker has told that it stands still.
    fn keep_aside(&mut self, local: SocketAddr, ssrc: Ssrc, aside: Aside) -> bool {
        self.shared
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

#[cfg(test)]
mod tests;
