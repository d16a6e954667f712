//! What came of a run of the load, from the generator or from live frames.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::endpoint::Faults;

/// What a run counted, all streams together.
#[derive(Debug)]
pub struct Outcome {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Distinct packets that arrived.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Of these, those that arrived and that the load's AF_XDP socket had no room for; the kernel counts those of UDP sockets.
    pub no_room: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Arrived after one with a higher number.
    pub reordered: u64,
    /// What else went wrong.
    pub faults: Faults,
    /// From the generator's system call to the arrival at its other socket, microseconds.
    pub latency_us: Histogram<u64>,
    /// Differences of transit between neighbouring packets of a stream (RFC 3550 §6.4.1, its D), microseconds.
    pub jitter_us: Histogram<u64>,
    /// How late packets were sent, microseconds.
    pub send_late_us: Histogram<u64>,
    /// From the first packet to the last.
    pub sending: Duration,
    /// What it should have been.
    pub planned: Duration,
    /// Times that a packet waited since as many were on their way as the rings hold.
    pub holds: u64,
}

impl Outcome {
    /// Whether the generator offered the rate that it was asked for: else the figures are those of a smaller load.
    pub fn kept_pace(&self) -> bool {
        self.sending <= self.planned + self.planned / 50
    }

    /// Whether everything that was to arrive did, once and unchanged.
    pub fn is_lossless(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.faults == Faults::default()
    }
}
