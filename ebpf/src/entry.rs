//! What a table of flows has at a port, and why it does not take something.

use std::net::SocketAddr;

use crate::{Error, FlowKey, FlowReading, Media, SpecError, layout};

/// Who takes the packets of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    User,
    Flow { flow: u32, state: u32 },
}

impl Owner {
    /// The word of the port.
    pub(crate) fn word(self) -> u64 {
        match self {
            Self::User => layout::PORT_USER.into(),
            Self::Flow { flow, state } => u64::from(state) << 32 | (u64::from(flow) + 1),
        }
    }

    /// `None` when nobody owns the port.
    pub(crate) fn of(word: u64) -> Option<Self> {
        match word as u32 {
            0 => None,
            layout::PORT_USER => Some(Self::User),
            flow => Some(Self::Flow {
                flow: flow - 1,
                state: (word >> 32) as u32,
            }),
        }
    }
}

/// A flow that is in the table, as an adopting process finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledFlow {
    /// Where packets come to.
    pub local: SocketAddr,
    /// Where they must come from.
    pub source: SocketAddr,
    /// Where they leave from.
    pub egress_local: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
    /// What they are; payload types in rising order.
    pub media: Media,
    /// What was counted so far.
    pub reading: FlowReading,
}

/// Why a flow was not put in or changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The description was wrong: the caller's mistake.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// All places are taken.
    #[error("all {0} flows are in use")]
    Full(u32),
    /// The relay has as many local addresses as it was made for.
    #[error("all {0} places for local addresses are taken")]
    Addresses(u32),
    /// A flow of RTCP has no room for streams, and does not become one of RTP.
    #[error("the flow of {} is for RTCP", .0.local())]
    Rtcp(FlowKey),
    /// The key has a flow already.
    #[error("{} has a flow already", .0.local())]
    Occupied(FlowKey),
    /// The key has no flow.
    #[error("{} has no flow", .0.local())]
    Absent(FlowKey),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] Error),
}
