use sans_io::Timestamp;

use crate::{Flow, FlowReading, PathReason};

/// One of a line's flows as the engine knows it: its RTP, with RTCP when they share a port, or its RTCP.
#[derive(Debug, Default)]
pub(crate) struct LineFlow {
    /// Why it takes its path; `None` while there is no such flow.
    pub(crate) reason: Option<PathReason>,
    /// Not tried again before.
    pub(crate) retry_at: Timestamp,
    /// Since when it waits for a pause; `None` when it doesn't.
    pub(crate) waits_since: Option<Timestamp>,
    /// What is in the table.
    pub(crate) installed: Option<Box<Installed>>,
}

/// A flow that is in the table.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) flow: Flow,
    /// What has been added to the line's counts already.
    pub(crate) counted: Counted,
    /// RTP packets that it had forwarded when the line had its turn last.
    pub(crate) swept: u64,
}

/// The counts of a reading that add up over flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) rtp_packets: u64,
    pub(crate) rtcp_packets: u64,
    pub(crate) bytes: u64,
    pub(crate) streams_evicted: u64,
    pub(crate) drops: crate::Drops,
}

impl Counted {
    pub(crate) fn of(reading: &FlowReading) -> Self {
        Self {
            rtp_packets: reading.rtp_packets,
            rtcp_packets: reading.rtcp_packets,
            bytes: reading.rtp_bytes.saturating_add(reading.rtcp_bytes),
            streams_evicted: reading.streams_evicted,
            drops: reading.drops.clone(),
        }
    }

    /// What was counted since `before`; all of it when a table counts backwards, which has then been made anew.
    pub(crate) fn since(&self, before: &Self) -> Self {
        if self.rtp_packets < before.rtp_packets || self.rtcp_packets < before.rtcp_packets {
            return self.clone();
        }
        Self {
            rtp_packets: self.rtp_packets.saturating_sub(before.rtp_packets),
            rtcp_packets: self.rtcp_packets.saturating_sub(before.rtcp_packets),
            bytes: self.bytes.saturating_sub(before.bytes),
            streams_evicted: self.streams_evicted.saturating_sub(before.streams_evicted),
            drops: self.drops.since(&before.drops),
        }
    }
}
