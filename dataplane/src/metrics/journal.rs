use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::gauge;
use crate::journal::Journal;

/// The journal: what is in it, and what became of entries.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, journal: &Journal) -> fmt::Result {
    let counts = journal.counters();
    gauge(
        encoder,
        "journal_calls",
        "Calls in the journal: they outlive the process",
        journal.calls() as i64,
    )?;
    gauge(
        encoder,
        "journal_bytes",
        "Size of the journal",
        journal.bytes() as i64,
    )?;
    gauge(
        encoder,
        "journal_left_out_bytes",
        "End of the journal of an earlier process that was cut off or damaged and not read",
        counts.left_out_bytes as i64,
    )?;
    let help = "Calls that the journal had no room for";
    let mut refused = encoder.encode_descriptor("journal_refused", help, None, MetricType::Counter)?;
    for (reason, count) in [
        ("full", counts.refused_full),
        ("too_large", counts.refused_too_large),
    ] {
        ConstCounter::new(count).encode(refused.encode_family(&[("reason", reason)])?)?;
    }
    for (name, help, count) in [
        (
            "journal_errors",
            "Entries of the journal that could not be written",
            counts.errors,
        ),
        (
            "journal_rewrites",
            "Times that the journal was written anew",
            counts.rewrites,
        ),
        (
            "journal_rewrite_errors",
            "Times that the journal could not be written anew",
            counts.rewrite_errors,
        ),
    ] {
        let metric = ConstCounter::new(count);
        metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}
