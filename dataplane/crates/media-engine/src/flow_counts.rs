use crate::{FlowError, PathReason};

/// How many flows there are now, by the reason of their path. A line has one for RTP and one for RTCP, or one for both
/// when they share a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowCounts([u64; PathReason::COUNT]);

impl Default for FlowCounts {
    fn default() -> Self {
        Self([0; PathReason::COUNT])
    }
}

impl FlowCounts {
    /// Flows that take their path for `reason`.
    pub const fn of(&self, reason: PathReason) -> u64 {
        self.0[reason as usize]
    }

    /// Flows in the kernel.
    pub fn kernel(&self) -> u64 {
        PathReason::ALL
            .iter()
            .filter(|reason| reason.is_kernel())
            .map(|reason| self.of(*reason))
            .sum()
    }

    /// Flows on any path.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// A flow goes from one reason to another; `None` is none.
    pub(crate) const fn change(&mut self, from: Option<PathReason>, to: Option<PathReason>) {
        if let Some(from) = from {
            self.0[from as usize] -= 1;
        }
        if let Some(to) = to {
            self.0[to as usize] += 1;
        }
    }
}

/// What the kernel's table of flows has done for an engine since it was made. Packets in here are in no other counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// RTP packets forwarded.
    pub rtp_forwarded: u64,
    /// RTCP datagrams forwarded.
    pub rtcp_forwarded: u64,
    /// Bytes of UDP payload forwarded.
    pub bytes_forwarded: u64,
    /// Packets dropped.
    pub drops: crate::Drops,
    /// Flows put in.
    pub flows_installed: u64,
    /// Flows changed in place.
    pub flows_changed: u64,
    /// Flows taken out.
    pub flows_removed: u64,
    /// Flows that were found gone; what they had counted since they were read last is lost.
    pub flows_lost: u64,
    /// Flows of an earlier process that were taken over.
    pub flows_adopted: u64,
    /// Flows that were refused, in the order of [`FlowError::ALL`].
    pub flow_errors: [u64; FlowError::ALL.len()],
}

impl KernelCounters {
    /// Flows refused for one reason.
    pub const fn refused(&self, error: FlowError) -> u64 {
        self.flow_errors[error as usize]
    }
}
