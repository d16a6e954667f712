//! A flow table that forwards by itself, as the kernel's does, and ports beside it.

use std::collections::HashMap;
use std::net::SocketAddr;

use media_engine::{
    Aside, DropReason, FLOW_STREAMS_MAX, Flow, FlowError, FlowMedia, FlowReading, Flows, OpenError, PortId,
    Ports, StreamState,
};
use rtp::rtcp::Compound;
use rtp::{Class, Packet, Ssrc, StreamStatistics, classify};
use sans_io::Timestamp;

use crate::bench::FakePorts;

/// What a table does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It leaves from the first to the second.
    Forward(SocketAddr, SocketAddr),
    Drop,
    /// User space gets it.
    PassUp,
}

/// A flow and its counters.
#[derive(Clone, Debug)]
struct Entry {
    flow: Flow,
    reading: FlowReading,
    streams: Vec<Counting>,
}

#[derive(Clone, Debug)]
struct Counting {
    state: StreamState,
    statistics: StreamStatistics,
}

/// The kernel: its table, and ports that are open in user space.
#[derive(Debug, Default)]
pub struct Kernel {
    pub ports: FakePorts,
    table: HashMap<SocketAddr, Entry>,
    /// Flows that fit in.
    pub room: Option<usize>,
    /// Every installation fails so while this is set.
    pub refuses: Option<FlowError>,
    /// Packets wait that the engine has not seen.
    pub is_behind: bool,
    /// RTCP that was forwarded: when, to which port, and its bytes.
    pub copies: Vec<(Timestamp, SocketAddr, Vec<u8>)>,
    pub installs: usize,
    pub removes: usize,
    pub reads: usize,
}

impl Ports for Kernel {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        self.ports.open(local)
    }

    fn close(&mut self, port: PortId) {
        let local = self.ports.local(port);
        assert!(
            !self.table.contains_key(&local),
            "{local} was closed with its flow in the table"
        );
        self.ports.close(port);
    }

    fn is_behind(&self) -> bool {
        self.is_behind
    }
}

impl Flows for Kernel {
    fn install(&mut self, flow: &Flow, streams: &[StreamState]) -> Result<(), FlowError> {
        assert!(streams.len() <= FLOW_STREAMS_MAX);
        for local in [flow.local, flow.egress_local] {
            assert!(self.ports.open.contains_key(&local), "{local} is not open");
        }
        if let Some(error) = self.refuses {
            return Err(error);
        }
        if let Some(entry) = self.table.get_mut(&flow.local) {
            entry.flow = flow.clone();
            return Ok(());
        }
        if self.room.is_some_and(|room| self.table.len() >= room) {
            return Err(FlowError::Full);
        }
        self.installs += 1;
        let counting = |state: &StreamState| Counting {
            state: *state,
            statistics: StreamStatistics::from_state(&state.statistics).expect("a whole state"),
        };
        let entry = Entry {
            flow: flow.clone(),
            reading: FlowReading::default(),
            streams: streams.iter().map(counting).collect(),
        };
        self.table.insert(flow.local, entry);
        Ok(())
    }

    fn remove(&mut self, local: SocketAddr) -> Option<FlowReading> {
        self.removes += 1;
        Some(self.table.remove(&local)?.reading())
    }

    fn read(&mut self, local: SocketAddr) -> Option<FlowReading> {
        self.reads += 1;
        Some(self.table.get(&local)?.reading())
    }

    fn keep_aside(&mut self, local: SocketAddr, ssrc: Ssrc, aside: Aside) -> bool {
        let entry = self.table.get_mut(&local);
        let mut streams = entry.into_iter().flat_map(|entry| &mut entry.streams);
        let Some(stream) = streams.find(|stream| stream.state.ssrc == ssrc) else {
            return false;
        };
        stream.state.aside = stream.state.aside.and(aside);
        true
    }
}

impl Kernel {
    pub fn has(&self, local: SocketAddr) -> bool {
        self.table.contains_key(&local)
    }

    pub fn flow(&self, local: SocketAddr) -> Option<&Flow> {
        self.table.get(&local).map(|entry| &entry.flow)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Somebody else empties the table.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// A new process has the table as it is, and no ports.
    pub fn survive(&mut self) {
        self.ports = FakePorts::default();
    }

    /// A packet comes to `local`.
    pub fn receive(
        &mut self,
        now: Timestamp,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    ) -> Outcome {
        let Some(entry) = self.table.get_mut(&local) else {
            return Outcome::PassUp;
        };
        let (from, to) = (entry.flow.egress_local, entry.flow.destination);
        match entry.judge(now, source, payload) {
            Ok(Class::Rtcp) => {
                self.copies.push((now, local, payload.to_vec()));
                Outcome::Forward(from, to)
            }
            Ok(_) => Outcome::Forward(from, to),
            Err(Some(reason)) => {
                entry.reading.drops.add(reason, 1);
                Outcome::Drop
            }
            Err(None) => Outcome::PassUp,
        }
    }
}

impl Entry {
    /// What class of packet is forwarded; why it is dropped; no reason when it goes up.
    fn judge(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        payload: &[u8],
    ) -> Result<Class, Option<DropReason>> {
        let types = match &self.flow.media {
            FlowMedia::Rtp(types) | FlowMedia::Mux(types) => types.as_slice(),
            FlowMedia::Rtcp => &[],
        };
        let is_rtcp_port = self.flow.media == FlowMedia::Rtcp;
        if source != self.flow.source {
            let reason = if is_rtcp_port {
                DropReason::RtcpSource
            } else {
                DropReason::SourceLocked
            };
            return Err(Some(reason));
        }
        match classify(payload) {
            Class::Rtp if is_rtcp_port => Err(Some(DropReason::RtpOnRtcpPort)),
            Class::Rtp => {
                let packet = Packet::parse(payload).map_err(|error| Some(error.into()))?;
                let clock = types.iter().find(|(of, _)| *of == packet.payload_type());
                // Packets of a type that is not listed go up.
                let (_, clock_hz) = *clock.ok_or(None)?;
                self.count(now, &packet, clock_hz);
                Ok(Class::Rtp)
            }
            Class::Rtcp if matches!(self.flow.media, FlowMedia::Rtp(_)) => {
                Err(Some(DropReason::RtcpNotMuxed))
            }
            Class::Rtcp => {
                Compound::parse(payload).map_err(|error| Some(error.into()))?;
                self.reading.rtcp_packets += 1;
                self.reading.rtcp_bytes += payload.len() as u64;
                Ok(Class::Rtcp)
            }
            Class::Unknown => Err(Some(DropReason::NotMedia)),
            Class::Stun | Class::Zrtp | Class::Dtls | Class::TurnChannel => Err(None),
        }
    }

    fn count(&mut self, now: Timestamp, packet: &Packet<'_>, clock_hz: u32) {
        self.reading.rtp_packets += 1;
        self.reading.rtp_bytes += packet.bytes().len() as u64;
        self.reading.latest_rtp = Some(now);
        if let Some(stream) = self
            .streams
            .iter_mut()
            .find(|stream| stream.state.ssrc == packet.ssrc())
        {
            stream.statistics.observe(packet, clock_hz, now.as_nanos());
            stream.state.latest = now;
            return;
        }
        if self.streams.len() == FLOW_STREAMS_MAX {
            let oldest = (0..self.streams.len()).min_by_key(|at| self.streams[*at].state.latest);
            self.streams.remove(oldest.expect("there are some"));
            self.reading.streams_evicted += 1;
        }
        let statistics = StreamStatistics::new(packet, clock_hz, now.as_nanos());
        let state = StreamState {
            ssrc: packet.ssrc(),
            first: now,
            latest: now,
            statistics: statistics.state(),
            aside: Aside::NONE,
        };
        self.streams.push(Counting { state, statistics });
    }

    fn reading(&self) -> FlowReading {
        let mut reading = self.reading.clone();
        for (place, stream) in reading.streams.iter_mut().zip(&self.streams) {
            *place = Some(StreamState {
                statistics: stream.statistics.state(),
                ..stream.state
            });
        }
        reading
    }
}
