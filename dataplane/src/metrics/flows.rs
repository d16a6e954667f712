use std::fmt;
use std::sync::Arc;

use media_engine::ScoreHistogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Read, ReadEach};
use crate::kernel::Status;
use crate::node::Node;
use crate::worker::Published;

/// Flows by their path, what the kernel has done for them, and how streams sound.
pub(super) struct Flows {
    node: Arc<Node>,
    /// `None` without a relay in the kernel.
    kernel: Option<Status>,
}

impl Flows {
    pub(super) const fn new(node: Arc<Node>, kernel: Option<Status>) -> Self {
        Self { node, kernel }
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

/// Counters with one value a worker.
const COUNTERS: &[(&str, &str, Read)] = &[
    (
        "kernel_rtp_forwarded",
        "RTP packets that the kernel path forwarded",
        Published::kernel_rtp_forwarded,
    ),
    (
        "kernel_rtcp_forwarded",
        "RTCP datagrams that the kernel path forwarded",
        Published::kernel_rtcp_forwarded,
    ),
    (
        "kernel_forwarded_bytes",
        "Payload of datagrams that the kernel path forwarded, in bytes",
        Published::kernel_forwarded_bytes,
    ),
    (
        "kernel_flows_installed",
        "Flows put into the kernel",
        Published::kernel_flows_installed,
    ),
    (
        "kernel_flows_changed",
        "Flows that got other addresses or formats while in the kernel",
        Published::kernel_flows_changed,
    ),
    (
        "kernel_flows_removed",
        "Flows taken out of the kernel",
        Published::kernel_flows_removed,
    ),
    (
        "kernel_flows_lost",
        "Flows that were found gone from the kernel",
        Published::kernel_flows_lost,
    ),
    (
        "kernel_flows_adopted",
        "Flows of an earlier process that were taken over",
        Published::kernel_flows_adopted,
    ),
];

/// Counters with one value a worker and reason.
const LABELLED: &[(&str, &str, ReadEach)] = &[
    (
        "kernel_packets_dropped",
        "Packets that the kernel path dropped at flows, by reason",
        |worker| worker.kernel_dropped().collect(),
    ),
    (
        "kernel_flows_refused",
        "Tries to put a flow into the kernel that failed, by reason",
        |worker| worker.kernel_flows_refused().collect(),
    ),
];

impl Collector for Flows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_workers(&mut encoder)?;
        self.encode_scores(&mut encoder)?;
        let mut metric = encoder.encode_descriptor(
            "kernel_interface",
            "1: how the kernel path is attached to an interface of the machine, and why",
            None,
            MetricType::Gauge,
        )?;
        for interface in &self.node.identity().kernel {
            let labels = [
                ("interface", interface.name.as_str()),
                ("mode", interface.mode_name()),
                ("reason", interface.reason.as_str()),
            ];
            ConstGauge::new(1i64).encode(metric.encode_family(&labels)?)?;
        }
        match &self.kernel {
            Some(kernel) => encode_kernel(&mut encoder, kernel),
            None => Ok(()),
        }
    }
}

impl Flows {
    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let lanes = self.node.lanes().iter().enumerate();
        let workers: Vec<(String, &Published)> = lanes
            .map(|(index, lane)| (index.to_string(), &**lane.published()))
            .collect();
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (worker, published) in &workers {
                let labels = [("worker", worker.as_str())];
                ConstCounter::new(read(published)).encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, read) in LABELLED {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (worker, published) in &workers {
                for (reason, count) in read(published) {
                    let labels = [("worker", worker.as_str()), ("reason", reason)];
                    ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        let mut metric = encoder.encode_descriptor(
            "flows",
            "Flows by the path of their packets and the reason for it",
            None,
            MetricType::Gauge,
        )?;
        let backend = self.node.identity().backend;
        for (worker, published) in &workers {
            for (reason, count) in published.flows() {
                let path = if reason.is_kernel() { "kernel" } else { backend };
                let labels = [
                    ("worker", worker.as_str()),
                    ("path", path),
                    ("reason", reason.label()),
                ];
                ConstGauge::new(count as i64).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// The scores of all workers together.
    fn encode_scores(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let bounds = ScoreHistogram::BOUNDS_X100.map(|bound| f64::from(bound) / 100.0);
        let bounds = bounds.into_iter().chain([f64::MAX]);
        let mut buckets: Vec<(f64, u64)> = bounds.map(|bound| (bound, 0)).collect();
        let mut sum_x100 = 0;
        for lane in self.node.lanes() {
            let published = lane.published();
            sum_x100 += published.scores_sum_x100();
            for ((_, count), more) in buckets.iter_mut().zip(published.scores()) {
                *count += more;
            }
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut metric = encoder.encode_descriptor(
            "stream_score",
            "Mean opinion score (ITU-T G.107) of each second of each stream that had packets",
            None,
            MetricType::Histogram,
        )?;
        metric.encode_histogram::<NoLabelSet>(sum_x100 as f64 / 100.0, count, &buckets, None)
    }
}

/// What is counted for all workers together.
fn encode_kernel(encoder: &mut DescriptorEncoder<'_>, kernel: &Status) -> fmt::Result {
    if let Some(totals) = kernel.totals() {
        let passed: Vec<_> = Status::passed(&totals).collect();
        let dropped: Vec<_> = Status::dropped(&totals).collect();
        for (name, help, counts) in [
            (
                "kernel_relay_passed",
                "Packets that the relay gave to the stack, by reason; the traffic of other ports left out",
                passed,
            ),
            (
                "kernel_relay_dropped",
                "Packets that the relay dropped, by reason, those of flows that are gone among them",
                dropped,
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (reason, count) in counts {
                ConstCounter::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
            }
        }
        for (name, help, count) in [
            (
                "kernel_relay_forwarded",
                "Packets that the relay forwarded",
                totals.sent_back() + totals.redirected(),
            ),
            (
                "kernel_relay_uncounted",
                "Packets that were forwarded and not counted by their flow, since another CPU was counting",
                totals.uncounted(),
            ),
            (
                "kernel_rtcp_copies_lost",
                "RTCP datagrams that were forwarded and not copied, since the ring was full",
                totals.copies_lost(),
            ),
        ] {
            counter(encoder, name, help, count)?;
        }
    }
    let unowned = kernel.unowned();
    for (name, help, read) in [
        (
            "kernel_unowned_packets",
            "Packets to media ports that no call has, by local address",
            (|unowned| unowned.packets) as fn(&crate::kernel::Unowned) -> u64,
        ),
        (
            "kernel_unowned_bytes",
            "UDP payload of packets to media ports that no call has, by local address",
            |unowned| unowned.bytes,
        ),
    ] {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for unowned in &unowned {
            let address = unowned.address.to_string();
            let labels = [("address", address.as_str())];
            ConstCounter::new(read(unowned)).encode(metric.encode_family(&labels)?)?;
        }
    }
    for (name, help, count) in kernel.counts() {
        counter(encoder, name, help, count)?;
    }
    let (entries, flows_max) = kernel.table();
    let (next_hops, unconfirmed) = kernel.next_hops();
    for (name, help, value) in [
        (
            "kernel_table_entries",
            "Flows and ports of user space in the kernel's table",
            entries as i64,
        ),
        (
            "kernel_flows_max",
            "Flows that fit into the kernel's table",
            i64::from(flows_max),
        ),
        (
            "kernel_next_hops",
            "Next hops of kernel flows that are known",
            next_hops as i64,
        ),
        (
            "kernel_next_hops_unconfirmed",
            "Next hops that do not answer who has their address",
            unconfirmed as i64,
        ),
    ] {
        super::gauge(encoder, name, help, value)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    let metric = ConstCounter::new(count);
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}
