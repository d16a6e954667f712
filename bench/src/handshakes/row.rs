//! What was measured.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::handshakes::offer::{Done, Offer};
use crate::relay::outcome::Outcome;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The node's path for calls that do not stay in the kernel: see [`crate::node_client::path_of`].
    pub path: &'static str,
    /// Calls that went on meanwhile.
    pub established_calls: u32,
    /// What these saw before the first handshake.
    pub alone: Established,
    /// By rate.
    pub rows: Vec<Row>,
    /// Where it was not what was hoped for, and why.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether a handshake failed, or an established call lost a packet.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for row in &self.rows {
            if row.failed > 0 {
                let why = row.failure.as_deref().unwrap_or_default();
                failures.push(format!(
                    "{} a second: {} failed, {why}",
                    row.offered_per_s, row.failed
                ));
            }
            if row.established.lost > 0 {
                failures.push(format!(
                    "{} a second: established calls lost {} packets",
                    row.offered_per_s, row.established.lost
                ));
            }
        }
        failures
    }
}

/// One rate.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Handshakes a second that were to be.
    pub offered_per_s: u32,
    /// Handshakes a second that parties and node completed.
    pub completed_per_s: f64,
    /// Handshakes that they completed within the time that the established calls were measured for.
    pub completed: u64,
    /// Handshakes that were due in it and were not completed by its end.
    pub missed: u64,
    /// Those that came to nothing.
    pub failed: u64,
    /// Why the first of these did.
    pub failure: Option<String>,
    /// From when a handshake was due, its call not yet made, to its end at the party.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// Processor time of the node by handshake, its call made and removed; what the established calls take is not in it.
    pub node_cpu_us_per_handshake: f64,
    /// What the established calls saw.
    pub established: Established,
}

impl Row {
    /// `cpu` is the node's for these handshakes alone.
    pub fn new(offer: &Offer, done: &Done, cpu: Duration, established: Established) -> Self {
        let milliseconds = |share: f64| done.took_us.value_at_quantile(share) as f64 / 1e3;
        Self {
            offered_per_s: offer.rate,
            completed_per_s: done.completed as f64 / offer.duration.as_secs_f64(),
            completed: done.completed,
            missed: done.missed + done.late,
            failed: done.failed,
            failure: done.failure.clone(),
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            node_cpu_us_per_handshake: cpu.as_micros() as f64 / done.completed.max(1) as f64,
            established,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} offered a s  {:>7.1} completed a s  {:>4} missed  {:>4} failed  p50 {:.1} ms  p99 {:.1} ms  node {:.0} µs each  \
             established: {}",
            self.offered_per_s,
            self.completed_per_s,
            self.missed,
            self.failed,
            self.p50_ms,
            self.p99_ms,
            self.node_cpu_us_per_handshake,
            self.established
        )
    }
}

/// What the established calls saw, all together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Established {
    /// Packets sent.
    pub sent: u64,
    /// Sent and not received whole.
    pub lost: u64,
    /// One way, from the generator's system call to the arrival at its other socket.
    pub latency_us_p50: u64,
    /// See `latency_us_p50`.
    pub latency_us_p99: u64,
}

impl Established {
    /// Of a run of the load.
    pub fn new(outcome: &Outcome) -> Self {
        Self {
            sent: outcome.sent,
            lost: outcome.lost,
            latency_us_p50: outcome.latency_us.value_at_quantile(0.5),
            latency_us_p99: outcome.latency_us.value_at_quantile(0.99),
        }
    }
}

impl fmt::Display for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} lost, p50 {} µs, p99 {} µs",
            self.lost, self.sent, self.latency_us_p50, self.latency_us_p99
        )
    }
}
