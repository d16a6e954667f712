//! What an engine knows of a call beyond its record, as it goes to the next process.

use std::net::SocketAddr;

use super::security::Security;
use media_engine::{Aside, CallState, DropReason, Drops, LineState, SetupState, StreamState};
use rtp::{BurstSums, PayloadType, Ssrc, StatisticsState};
use sans_io::Timestamp;

/// What an engine has learned and counted of the lines of a call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lines {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(uint32, tag = "1")]
    leg: u32,
    #[prost(uint32, tag = "2")]
    place: u32,
    #[prost(string, tag = "3")]
    signalled: String,
    #[prost(string, tag = "4")]
    source: String,
    #[prost(string, tag = "5")]
    rtcp_source: String,
    #[prost(bool, tag = "6")]
    has_received: bool,
    #[prost(uint64, tag = "7")]
    rtcp_forwarded: u64,
    #[prost(message, repeated, tag = "8")]
    drops: Vec<Dropped>,
    #[prost(message, repeated, tag = "9")]
    streams: Vec<Stream>,
    #[prost(message, optional, tag = "10")]
    security: Option<Security>,
    /// The party's address of the pair that ICE has selected.
    #[prost(string, tag = "11")]
    selected: String,
    /// The handshake is done.
    #[prost(bool, tag = "12")]
    connected: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Dropped {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(uint64, tag = "2")]
    packets: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stream {
    #[prost(fixed32, tag = "1")]
    ssrc: u32,
    /// Times are of the machine's monotonic clock, which goes on over processes.
    #[prost(uint64, tag = "2")]
    first_ns: u64,
    #[prost(uint64, tag = "3")]
    latest_ns: u64,
    #[prost(bytes = "vec", tag = "4")]
    window: Vec<u8>,
    #[prost(uint64, tag = "5")]
    packets: u64,
    #[prost(uint64, tag = "6")]
    bytes: u64,
    #[prost(uint64, tag = "7")]
    duplicates: u64,
    #[prost(uint64, tag = "8")]
    reordered: u64,
    #[prost(uint64, tag = "9")]
    strays: u64,
    #[prost(uint64, tag = "10")]
    lost_before: u64,
    #[prost(uint64, tag = "11")]
    base: u64,
    #[prost(uint64, tag = "12")]
    highest: u64,
    #[prost(uint64, tag = "13")]
    distinct: u64,
    #[prost(uint64, tag = "14")]
    last_arrival_ns: u64,
    #[prost(uint64, tag = "15")]
    jitter_x16: u64,
    #[prost(uint64, tag = "16")]
    jitter_max_ns: u64,
    /// c11, c13, c14, c22, c23, c33, those lost in the burst that goes on, received since the latest loss.
    #[prost(uint32, repeated, tag = "17")]
    bursts: Vec<u32>,
    #[prost(uint32, tag = "18")]
    last_timestamp: u32,
    #[prost(uint32, tag = "19")]
    clock_rate_hz: u32,
    #[prost(uint32, optional, tag = "20")]
    after_stray: Option<u32>,
    #[prost(uint32, tag = "21")]
    payload_type: u32,
    #[prost(uint32, tag = "22")]
    probation: u32,
}

impl Lines {
    /// The lines of a call.
    pub fn new(state: &CallState) -> Self {
        let text = |address: Option<SocketAddr>| address.map(|it| it.to_string()).unwrap_or_default();
        let line = |leg: usize, place: usize, line: &LineState| Line {
            leg: leg as u32,
            place: place as u32,
            signalled: text(line.signalled),
            source: text(line.source),
            rtcp_source: text(line.rtcp_source),
            has_received: line.has_received,
            rtcp_forwarded: line.rtcp_forwarded,
            drops: line
                .drops
                .report()
                .into_iter()
                .map(|(reason, packets)| Dropped {
                    reason: reason.to_owned(),
                    packets,
                })
                .collect(),
            streams: line.streams.iter().map(Stream::new).collect(),
            security: line.security.as_ref().map(Security::new),
            selected: text(line.setup.selected),
            connected: line.setup.connected,
        };
        let lines = state.lines.iter().enumerate().flat_map(|(leg, lines)| {
            lines
                .iter()
                .enumerate()
                .map(move |(place, it)| line(leg, place, it))
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// Puts what is known into a call's state that was made from its record. What makes no sense, as of another version, is
    /// left out: the call goes on without it.
    pub fn apply(&self, state: &mut CallState) {
        for line in &self.lines {
            let found = state
                .lines
                .get_mut(line.leg as usize)
                .and_then(|lines| lines.get_mut(line.place as usize));
            if let Some(found) = found {
                line.apply(found);
            }
        }
    }
}

impl Line {
    fn apply(&self, state: &mut LineState) {
        state.signalled = self.signalled.parse().ok();
        state.source = self.source.parse().ok();
        state.rtcp_source = self.rtcp_source.parse().ok();
        state.has_received = self.has_received;
        state.rtcp_forwarded = self.rtcp_forwarded;
        state.drops = Drops::default();
        for dropped in &self.drops {
            let reason = DropReason::ALL
                .iter()
                .find(|reason| reason.reason() == dropped.reason);
            if let Some(reason) = reason {
                state.drops.add(*reason, dropped.packets);
            }
        }
        state.streams = self.streams.iter().filter_map(Stream::state).collect();
        state.setup = SetupState {
            selected: self.selected.parse().ok(),
            connected: self.connected,
        };
        state.security = self.security.as_ref().and_then(Security::state);
    }
}

impl Stream {
    fn new(stream: &StreamState) -> Self {
        let it = &stream.statistics;
        let bursts = &it.bursts;
        Self {
            ssrc: stream.ssrc.0,
            first_ns: stream.first.as_nanos(),
            latest_ns: stream.latest.as_nanos(),
            window: it.window.to_le_bytes().to_vec(),
            packets: it.packets,
            bytes: it.bytes,
            duplicates: it.duplicates,
            reordered: it.reordered,
            strays: it.strays,
            lost_before: it.lost_before,
            base: it.base,
            highest: it.highest,
            distinct: it.distinct,
            last_arrival_ns: it.last_arrival_ns,
            jitter_x16: it.jitter_x16,
            jitter_max_ns: it.jitter_max_ns,
            bursts: vec![
                bursts.c11,
                bursts.c13,
                bursts.c14,
                bursts.c22,
                bursts.c23,
                bursts.c33,
                bursts.burst_lost,
                bursts.since_loss,
            ],
            last_timestamp: it.last_timestamp,
            clock_rate_hz: it.clock_rate_hz,
            after_stray: it.after_stray.map(u32::from),
            payload_type: it.payload_type.value().into(),
            probation: it.probation.into(),
        }
    }

    fn state(&self) -> Option<StreamState> {
        let bursts: [u32; 8] = self.bursts.as_slice().try_into().ok()?;
        let [c11, c13, c14, c22, c23, c33, burst_lost, since_loss] = bursts;
        let after_stray = match self.after_stray {
            Some(sequence) => Some(u16::try_from(sequence).ok()?),
            None => None,
        };
        Some(StreamState {
            ssrc: Ssrc(self.ssrc),
            first: Timestamp::from_nanos(self.first_ns),
            latest: Timestamp::from_nanos(self.latest_ns),
            statistics: StatisticsState {
                window: u128::from_le_bytes(self.window.as_slice().try_into().ok()?),
                packets: self.packets,
                bytes: self.bytes,
                duplicates: self.duplicates,
                reordered: self.reordered,
                strays: self.strays,
                lost_before: self.lost_before,
                base: self.base,
                highest: self.highest,
                distinct: self.distinct,
                last_arrival_ns: self.last_arrival_ns,
                jitter_x16: self.jitter_x16,
                jitter_max_ns: self.jitter_max_ns,
                bursts: BurstSums {
                    c11,
                    c13,
                    c14,
                    c22,
                    c23,
                    c33,
                    burst_lost,
                    since_loss,
                },
                last_timestamp: self.last_timestamp,
                clock_rate_hz: self.clock_rate_hz,
                after_stray,
                payload_type: PayloadType::new(u8::try_from(self.payload_type).ok()?)?,
                probation: u8::try_from(self.probation).ok()?,
            },
            aside: Aside::NONE,
        })
    }
}
