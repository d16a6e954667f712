use std::net::SocketAddr;

use rtp::{PayloadType, Ssrc, StatisticsState};
use sans_io::Timestamp;

use crate::{Aside, Drops};

/// Streams (SSRCs) of a flow that are counted apart.
pub const FLOW_STREAMS_MAX: usize = 4;

/// Different clock rates that the payload types of a flow may have; zero is one of them.
pub const FLOW_CLOCKS_MAX: usize = 7;

/// What the engine asks of a flow table that forwards by itself, the kernel's. Called on the worker's thread between
/// batches, never for a packet.
///
/// Every timestamp is on the engine's clock: whoever implements this translates from the table's.
pub trait Flows {
    /// From the next packet on the table forwards what comes to `flow.local` from `flow.source`. `streams`, at most
    /// [`FLOW_STREAMS_MAX`], is what was counted of them so far; the table goes on from there, all its other counts begin
    /// at zero.
    ///
    /// When `flow.local` has a flow already, that one becomes `flow` between two packets and its counters go on; `streams`
    /// is not looked at.
    ///
    /// # Errors
    /// When the flow is not in the table. One that was there before then still is.
    fn install(&mut self, flow: &Flow, streams: &[StreamState]) -> Result<(), FlowError>;

    /// From the next packet on what comes to `local` goes to its port in user space. Answers with the last counts;
    /// `None` when the table has no such flow.
    fn remove(&mut self, local: SocketAddr) -> Option<FlowReading>;

    /// What was counted; `None` when the table has no such flow.
    fn read(&mut self, local: SocketAddr) -> Option<FlowReading>;

    /// Keeps beside a stream of a flow that these packets of it, which the table sees missing, came to user space: so
    /// that the next process knows when this one is killed. Adds to [`StreamState::aside`]. False when the table cannot
    /// keep it, as of a stream that it does not know; the engine asks again after the next reading.
    fn keep_aside(&mut self, local: SocketAddr, ssrc: Ssrc, aside: Aside) -> bool;
}

/// Packets that leave as they came but for their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where they come to.
    pub local: SocketAddr,
    /// Where they must come from; the table drops those from elsewhere.
    pub source: SocketAddr,
    /// Where they leave from.
    pub egress_local: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
    /// What they are.
    pub media: FlowMedia,
}

/// What comes to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowMedia {
    /// RTP of these payload types, each with its clock rate in Hz; 0 leaves a type out of the jitter.
    Rtp(Vec<(PayloadType, u32)>),
    /// RTCP.
    Rtcp,
    /// Both (RFC 5761).
    Mux(Vec<(PayloadType, u32)>),
}

/// Why a flow did not get into the table. Becomes the reason of the line's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowError {
    /// There is no table for this address: the interface has no program, or this node has none at all.
    Unavailable,
    /// All its places are taken.
    Full,
    /// It knows no way to the destination.
    NoRoute,
    /// The link-layer address of the next hop is not known yet; it has been asked for.
    NoNeighbour,
    /// The kernel said no.
    Refused,
}

impl FlowError {
    /// Every error.
    pub const ALL: [Self; 5] = [
        Self::Unavailable,
        Self::Full,
        Self::NoRoute,
        Self::NoNeighbour,
        Self::Refused,
    ];

    /// Its label in metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Full => "table_full",
            Self::NoRoute => "no_route",
            Self::NoNeighbour => "no_neighbour",
            Self::Refused => "refused",
        }
    }
}

/// What a table has counted of a flow since it was installed, all at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowReading {
    /// RTP packets forwarded.
    pub rtp_packets: u64,
    /// Their bytes, RTP headers included.
    pub rtp_bytes: u64,
    /// RTCP datagrams forwarded.
    pub rtcp_packets: u64,
    /// Their bytes.
    pub rtcp_bytes: u64,
    /// When the latest RTP packet was forwarded; `None` before the first.
    pub latest_rtp: Option<Timestamp>,
    /// Streams that made room for newer ones.
    pub streams_evicted: u64,
    /// Packets that were dropped. Those that were passed up are not among them: the engine gets and counts them.
    pub drops: Drops,
    /// The streams, those that were given at the installation included, in no order.
    pub streams: [Option<StreamState>; FLOW_STREAMS_MAX],
}

/// What is known of a stream, to go on counting elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// When its first packet came.
    pub first: Timestamp,
    /// When its latest packet came.
    pub latest: Timestamp,
    /// What was counted. Its arrival time is on the engine's clock as well.
    pub statistics: StatisticsState,
    /// What came past the table that counts it, and is not in `statistics`.
    pub aside: Aside,
}

/// No table: every flow stays in user space.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFlows;

impl Flows for NoFlows {
    fn install(&mut self, _: &Flow, _: &[StreamState]) -> Result<(), FlowError> {
        Err(FlowError::Unavailable)
    }

    fn remove(&mut self, _: SocketAddr) -> Option<FlowReading> {
        None
    }

    fn read(&mut self, _: SocketAddr) -> Option<FlowReading> {
        None
    }

    fn keep_aside(&mut self, _: SocketAddr, _: Ssrc, _: Aside) -> bool {
        false
    }
}
