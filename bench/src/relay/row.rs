//! What was measured: one round, and the median over the rounds.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::median::median;
use crate::relay::contender::{System, Work};
use crate::relay::drops::Drops;
use crate::relay::outcome::Outcome;

/// One round of one system with one number of calls.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Round {
    /// Packets a second that the generator did send, both ways together.
    pub offered_pps: f64,
    /// Packets sent.
    pub sent: u64,
    /// Distinct packets at the receiver.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Where the kernel dropped them; the rest was dropped by the relay or came too late to be counted.
    pub dropped: Drops,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Arrived after a later one.
    pub reordered: u64,
    /// Packets that arrived changed, at the wrong place or from the wrong port, and errors of sending.
    pub faults: u64,
    /// Process and receive work, by packet received.
    pub cpu_ns_per_packet: f64,
    /// The process' part of it.
    pub process_ns_per_packet: f64,
    /// The receive work's part of it.
    pub receive_ns_per_packet: f64,
    /// One way, from the generator's system call to the arrival at its other socket.
    pub latency_us_p50: u64,
    /// See `latency_us_p50`.
    pub latency_us_p99: u64,
    /// See `latency_us_p50`.
    pub latency_us_p999: u64,
    /// See `latency_us_p50`.
    pub latency_us_max: u64,
    /// 99 % of the packets left the generator no later than this after their time.
    pub send_late_us_p99: u64,
    /// Differences of transit between neighbouring packets of a stream.
    pub jitter_us_p99: u64,
    /// Times that a packet waited since the rings of the bed were full; its wait is in the latency.
    pub holds: u64,
    /// Whether the generator offered the rate that it was to offer.
    pub kept_pace: bool,
    /// Resident memory of the relay's process at the end.
    pub rss_bytes: u64,
}

impl Round {
    /// Of a run during which the relay's processor time went from `before` to `after`, and the kernel dropped `dropped`.
    pub fn new(outcome: &Outcome, before: Work, after: Work, dropped: Drops, rss_bytes: u64) -> Self {
        let received = outcome.received.max(1) as f64;
        let per_packet =
            |before: Duration, after: Duration| after.saturating_sub(before).as_nanos() as f64 / received;
        let process = per_packet(before.process, after.process);
        let receive = per_packet(before.receive, after.receive);
        let faults = outcome.faults;
        Self {
            offered_pps: outcome.sent as f64 / outcome.sending.as_secs_f64().max(1e-9),
            sent: outcome.sent,
            received: outcome.received,
            lost: outcome.lost,
            dropped,
            duplicates: outcome.duplicates,
            reordered: outcome.reordered,
            faults: faults.foreign + faults.corrupt + faults.asymmetric + faults.send_errors,
            cpu_ns_per_packet: process + receive,
            process_ns_per_packet: process,
            receive_ns_per_packet: receive,
            latency_us_p50: outcome.latency_us.value_at_quantile(0.5),
            latency_us_p99: outcome.latency_us.value_at_quantile(0.99),
            latency_us_p999: outcome.latency_us.value_at_quantile(0.999),
            latency_us_max: outcome.latency_us.max(),
            send_late_us_p99: outcome.send_late_us.value_at_quantile(0.99),
            jitter_us_p99: outcome.jitter_us.value_at_quantile(0.99),
            holds: outcome.holds,
            kept_pace: outcome.kept_pace(),
            rss_bytes,
        }
    }
}

/// The most calls without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ceiling {
    /// Calls.
    pub calls: u32,
    /// What kept it from being higher.
    pub limit: Limit,
}

impl Ceiling {
    /// Whether it is the relay's own limit.
    pub fn is_the_relays(self) -> bool {
        self.limit == Limit::Relay
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Limit::Relay => write!(f, "{}", self.calls),
            Limit::Generator => write!(f, "≥ {} (generator)", self.calls),
            Limit::Trial => write!(f, "≥ {} (no more tried)", self.calls),
            Limit::Time => write!(f, "≥ {} (time)", self.calls),
        }
    }
}

/// See [`Ceiling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The relay lost packets of more calls.
    Relay,
    /// The generator could not offer more.
    Generator,
    /// No more calls were tried.
    Trial,
    /// The time of the run was over: the true ceiling may be higher.
    Time,
}

/// Why a row has the number of calls that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// It was asked for, for all systems alike.
    Same,
    /// It is half of the system's own `max_lossless_calls`.
    Half,
    /// The bare XDP echo with as many calls as a row at half load: what of that one's latency is the bed's.
    Floor,
    /// A run of its own, longer than the others, for a packet lost.
    Long,
}

/// A system with a number of calls: medians over the rounds. All figures except the ranges are the medians, each by
/// itself.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `ringpath`, `ringpath-program`, `bare-xdp-echo`, `bare-epoll`, `rtpengine`.
    pub system: &'static str,
    /// `kernel`, `uring`, `xsk`, `uring-no-steering`, `socket`, `user-space`; with `-srtp` where callers have SRTP and callees none.
    pub path: &'static str,
    /// Whether they have.
    #[serde(skip)]
    pub is_secured: bool,
    /// Calls; each is 50 packets a second both ways.
    pub calls: u32,
    /// Why so many.
    pub load: Load,
    /// Packets a second, both ways together.
    pub offered_pps: f64,
    /// Distinct packets at the receiver in a round.
    pub received: u64,
    /// Sent and not received in a round.
    pub lost: u64,
    /// Lost in all rounds together.
    pub lost_all_rounds: u64,
    /// Where the kernel dropped them, in all rounds together; see [`Round::dropped`].
    pub dropped_all_rounds: Drops,
    /// Times that a packet waited since the rings of the bed were full, in all rounds together; see [`Round::holds`].
    pub holds_all_rounds: u64,
    /// Processor time of the relay's process and of its interface's receive thread, by packet received.
    pub cpu_ns_per_packet: f64,
    /// The least and the most of the rounds.
    pub cpu_ns_per_packet_range: [f64; 2],
    /// The process' part.
    pub process_ns_per_packet: f64,
    /// The receive thread's part.
    pub receive_ns_per_packet: f64,
    /// Ours by that of the bare XDP echo with as many calls, and so on; absent for others, and where there is none.
    pub cpu_by_bare_xdp_echo: Option<f64>,
    /// See `cpu_by_bare_xdp_echo`.
    pub cpu_by_bare_epoll: Option<f64>,
    /// See `cpu_by_bare_xdp_echo`; rtpengine does the same as ours, with SRTP or without.
    pub cpu_by_rtpengine: Option<f64>,
    /// Ours with SRTP by ours without it, as many calls on the same path.
    pub cpu_by_clear: Option<f64>,
    /// One way through the bed and the relay.
    pub latency_us_p50: u64,
    /// See `latency_us_p50`.
    pub latency_us_p99: u64,
    /// The least and the most of the rounds.
    pub latency_us_p99_range: [u64; 2],
    /// See `latency_us_p50`.
    pub latency_us_p999: u64,
    /// Resident memory of the relay's process.
    pub rss_bytes: u64,
    /// The most calls of the system without a lost packet; absent when it was not looked for.
    pub max_lossless_calls: Option<u32>,
    /// What kept `max_lossless_calls` from being higher.
    pub max_lossless_limit: Option<Limit>,
    /// Every round.
    pub rounds: Vec<Round>,
}

impl Row {
    /// Of at least one round.
    pub fn new(system: System, calls: u32, load: Load, rounds: Vec<Round>) -> Self {
        let float = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
        let whole = |of: fn(&Round) -> u64| {
            median(rounds.iter().map(|round| of(round) as f64).collect()).round() as u64
        };
        let cpu = rounds.iter().map(|round| round.cpu_ns_per_packet);
        let p99 = rounds.iter().map(|round| round.latency_us_p99);
        Self {
            system: system.name(),
            path: system.path(),
            is_secured: system.is_secured(),
            calls,
            load,
            offered_pps: float(|round| round.offered_pps),
            received: whole(|round| round.received),
            lost: whole(|round| round.lost),
            lost_all_rounds: rounds.iter().map(|round| round.lost).sum(),
            dropped_all_rounds: Drops {
                veth_relay: rounds.iter().map(|round| round.dropped.veth_relay).sum(),
                veth_load: rounds.iter().map(|round| round.dropped.veth_load).sum(),
                relay_sockets: rounds.iter().map(|round| round.dropped.relay_sockets).sum(),
                load_sockets: rounds.iter().map(|round| round.dropped.load_sockets).sum(),
            },
            holds_all_rounds: rounds.iter().map(|round| round.holds).sum(),
            cpu_ns_per_packet: float(|round| round.cpu_ns_per_packet),
            cpu_ns_per_packet_range: [cpu.clone().fold(f64::INFINITY, f64::min), cpu.fold(0.0, f64::max)],
            process_ns_per_packet: float(|round| round.process_ns_per_packet),
            receive_ns_per_packet: float(|round| round.receive_ns_per_packet),
            cpu_by_bare_xdp_echo: None,
            cpu_by_bare_epoll: None,
            cpu_by_rtpengine: None,
            cpu_by_clear: None,
            latency_us_p50: whole(|round| round.latency_us_p50),
            latency_us_p99: whole(|round| round.latency_us_p99),
            latency_us_p99_range: [p99.clone().min().unwrap_or(0), p99.max().unwrap_or(0)],
            latency_us_p999: whole(|round| round.latency_us_p999),
            rss_bytes: whole(|round| round.rss_bytes),
            max_lossless_calls: None,
            max_lossless_limit: None,
            rounds,
        }
    }

    /// Whether in some round the generator sent more slowly than it was to.
    pub fn generator_fell_behind(&self) -> bool {
        self.rounds.iter().any(|round| !round.kept_pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(cpu: f64, lost: u64) -> Round {
        Round {
            cpu_ns_per_packet: cpu,
            lost,
            kept_pace: lost == 0,
            ..Round::default()
        }
    }

    #[test]
    fn a_row_is_the_median_of_its_rounds_with_their_range() {
        let rounds = vec![round(9_000.0, 0), round(5_000.0, 7), round(6_000.0, 0)];
        let row = Row::new(System::BareEpoll, 100, Load::Same, rounds);
        assert_eq!(row.cpu_ns_per_packet, 6_000.0);
        assert_eq!(row.cpu_ns_per_packet_range, [5_000.0, 9_000.0]);
        assert_eq!((row.lost, row.lost_all_rounds), (0, 7));
        assert!(row.generator_fell_behind());
    }

    #[test]
    fn the_median_of_two_rounds_is_the_mean_of_both() {
        let row = Row::new(
            System::BareEpoll,
            100,
            Load::Same,
            vec![round(9_000.0, 1), round(5_000.0, 8)],
        );
        assert_eq!(
            (row.cpu_ns_per_packet, row.lost),
            (7_000.0, 5),
            "4.5 lost are rounded"
        );
    }

    #[test]
    fn the_names_of_the_fields_are_those_that_readers_of_the_file_know() {
        let row = Row::new(System::Rtpengine, 10, Load::Half, vec![round(1.0, 0)]);
        let json = serde_json::to_value(&row).unwrap();
        for field in [
            "system",
            "path",
            "calls",
            "offered_pps",
            "received",
            "lost",
            "cpu_ns_per_packet",
            "latency_us_p50",
            "latency_us_p99",
            "latency_us_p999",
            "rss_bytes",
            "max_lossless_calls",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert_eq!(json["load"], "half");
    }
}
