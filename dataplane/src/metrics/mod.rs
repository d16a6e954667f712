//! What `/metrics` shows: read from the workers' published counters at each scrape, so that nothing is counted twice and
//! no worker waits for a reader.

mod flows;
mod journal;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::kernel::Status;
use crate::node::{Lane, Node};
use crate::setting_up::Tally;
use crate::worker::Published;
use flows::Flows;

/// Everything that the node shows.
pub fn registry(node: &Arc<Node>, kernel: Option<Status>, setting_up: &Tally) -> Registry {
    let mut registry = Registry::with_prefix("ringpath_dataplane");
    let identity = node.identity();
    registry.register(
        "node",
        "The node, its version and its packet back-end",
        Info::new(vec![
            ("node_id", identity.node_id.clone()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("backend", identity.backend.to_owned()),
            ("backend_reason", identity.backend_reason.to_owned()),
        ]),
    );
    node.tally().register(&mut registry);
    setting_up.register(&mut registry);
    registry.register_collector(Box::new(Workers(node.clone())));
    registry.register_collector(Box::new(Flows::new(node.clone(), kernel)));
    registry
}

struct Workers(Arc<Node>);

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.0.lanes().len())
    }
}

type Read = fn(&Published) -> u64;
type ReadLane = fn(&Lane) -> i64;
type ReadEach = fn(&Published) -> Vec<(&'static str, u64)>;

/// Counters with one value a worker.
const COUNTERS: &[(&str, &str, Read)] = &[
    (
        "packets_received",
        "Datagrams received on media ports",
        Published::received,
    ),
    (
        "received_bytes",
        "Payload of datagrams received, in bytes",
        Published::received_bytes,
    ),
    (
        "packets_sent",
        "Datagrams that the kernel took for sending",
        Published::sent,
    ),
    (
        "sent_bytes",
        "Payload of datagrams sent, in bytes",
        Published::sent_bytes,
    ),
    ("rtp_forwarded", "RTP packets forwarded", Published::rtp_forwarded),
    (
        "rtcp_forwarded",
        "RTCP datagrams forwarded",
        Published::rtcp_forwarded,
    ),
    (
        "setup_datagrams",
        "Datagrams of ICE and DTLS for lines that have it, also those that are refused then",
        Published::set_up,
    ),
    (
        "receive_errors",
        "Errors of receiving calls, such as ICMP answers",
        Published::receive_errors,
    ),
    (
        "no_buffer",
        "Times that datagrams waited since no frame was free",
        Published::no_buffer,
    ),
    (
        "kernel_drops",
        "Datagrams that the kernel dropped at full sockets, as far as it tells",
        Published::kernel_drops,
    ),
    (
        "sources_learned",
        "Sources learned and locked",
        Published::latches,
    ),
    (
        "streams_evicted",
        "Streams whose statistics gave way to newer ones",
        Published::streams_evicted,
    ),
    (
        "ports_in_use",
        "Ports that something else on the machine had",
        Published::ports_in_use,
    ),
    (
        "ports_refused",
        "Ports that the kernel refused, such as those of an address that the machine has lost",
        Published::ports_refused,
    ),
    (
        "ports_exhausted",
        "Ports that did not open since the process or the back-end can hold no more",
        Published::ports_exhausted,
    ),
    ("calls_created", "Calls made", Published::calls_created),
    (
        "calls_deleted",
        "Calls that their control planes deleted",
        Published::calls_deleted,
    ),
    (
        "calls_ended",
        "Calls that the node ended: leases and stops",
        Published::calls_ended,
    ),
    (
        "leases_expired",
        "Calls that ended since nobody renewed their leases",
        |worker| worker.events_of("ended_lease_expired"),
    ),
    (
        "events_lost",
        "Events that found no place on their way to the control thread",
        Published::events_lost,
    ),
    (
        "worker_wake_ups",
        "Waits of workers that commands ended",
        Published::wake_ups,
    ),
    (
        "worker_system_calls",
        "System calls on the packet path",
        Published::system_calls,
    ),
    (
        "uring_receives_rearmed",
        "Multishot receives that were asked for again",
        Published::receives_rearmed,
    ),
    (
        "uring_completion_overflows",
        "Times that a completion queue was full",
        Published::completion_overflows,
    ),
    (
        "uring_submissions_full",
        "Times that a submission queue was full",
        Published::submissions_full,
    ),
    (
        "xsk_packets_received",
        "Datagrams that came by AF_XDP sockets",
        Published::xdp_received,
    ),
    (
        "xsk_packets_sent",
        "Packets that left by AF_XDP sockets",
        Published::xdp_sent,
    ),
    ("worker_turns", "Turns of the workers' loops", Published::turns),
];

/// Counters with one value a worker and label.
const LABELLED: &[(&str, &str, &str, ReadEach)] = &[
    (
        "packets_dropped",
        "Datagrams received and not forwarded, by reason",
        "reason",
        |worker| {
            let io = [
                ("truncated", worker.truncated()),
                ("malformed", worker.malformed()),
                ("port_closed", worker.port_closed()),
            ];
            worker.dropped().chain(io).collect()
        },
    ),
    (
        "send_errors",
        "Datagrams that the kernel did not take, by reason",
        "reason",
        |worker| worker.send_errors().collect(),
    ),
    (
        "events",
        "Events told by the engines, by kind",
        "kind",
        |worker| worker.events().collect(),
    ),
];

/// Gauges with one value a worker.
const GAUGES: &[(&str, &str, ReadLane)] = &[
    ("calls", "Calls", |lane| lane.published().calls() as i64),
    (
        "commands_under_way",
        "Commands that a worker has not answered",
        |lane| lane.queue_length() as i64,
    ),
    (
        "worker_core",
        "The core that a worker is pinned to; -1 when it is not",
        |lane| lane.published().core().map_or(-1, |core| core as i64),
    ),
];

/// Port pairs by state.
const PORT_PAIRS: &[(&str, Read)] = &[
    ("free", Published::port_pairs_free),
    ("quarantined", Published::port_pairs_quarantined),
    ("used", |worker| {
        let idle = worker.port_pairs_free() + worker.port_pairs_quarantined();
        worker.port_pairs().saturating_sub(idle)
    }),
];

impl Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let lanes: Vec<(String, &Lane)> = self
            .0
            .lanes()
            .iter()
            .enumerate()
            .map(|(index, lane)| (index.to_string(), lane))
            .collect();
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (worker, lane) in &lanes {
                let labels = [("worker", worker.as_str())];
                ConstCounter::new(read(lane.published())).encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, label, read) in LABELLED {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (worker, lane) in &lanes {
                for (value, count) in read(lane.published()) {
                    let labels = [("worker", worker.as_str()), (*label, value)];
                    ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, read) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (worker, lane) in &lanes {
                let labels = [("worker", worker.as_str())];
                ConstGauge::new(read(lane)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "port_pairs",
            "Pairs of RTP and RTCP ports by state",
            None,
            MetricType::Gauge,
        )?;
        for (worker, lane) in &lanes {
            for (state, read) in PORT_PAIRS {
                let labels = [("worker", worker.as_str()), ("state", *state)];
                ConstGauge::new(read(lane.published()) as i64).encode(metric.encode_family(&labels)?)?;
            }
        }
        gauge(
            &mut encoder,
            "calls_max",
            "Calls at once that the node takes",
            self.0.identity().calls_max as i64,
        )?;
        gauge(
            &mut encoder,
            "draining",
            "1 while new calls are refused",
            i64::from(self.0.is_draining()),
        )?;
        journal::encode(&mut encoder, &self.0.journal())?;
        gauge(
            &mut encoder,
            "packets_per_second",
            "Datagrams received in the last second",
            self.0.packets_per_s() as i64,
        )?;
        gauge(
            &mut encoder,
            "uptime_seconds",
            "Time since the start",
            self.0.uptime_s() as i64,
        )
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
