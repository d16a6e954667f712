//! What `/metrics` shows. Counters are read where they are kept, at each scrape: nothing is counted twice.

mod calls;
mod messages;
mod trunks;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use store::Journal;

use crate::reload::Reloads;
use crate::routing::Lookups;
use crate::standing::Standing;

/// Where the figures are.
#[derive(Clone)]
pub struct Sources {
    /// Calls and transactions.
    pub standing: Standing,
    /// Messages and connections.
    pub transport: sip_transport::View,
    /// Media nodes.
    pub media: media_client::View,
    /// Call records.
    pub journal: Journal,
    /// Operators.
    pub admin: Arc<api::Counters>,
    /// How often trunks and routes were read again.
    pub reloads: Arc<Reloads>,
    /// Next hops without an address.
    pub lookups: Arc<Lookups>,
}

/// Everything that the control plane shows.
pub fn registry(sources: Sources) -> Registry {
    let mut registry = Registry::with_prefix("ringpath_control");
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "The control plane and its version", Info::new(version));
    let standing = &sources.standing;
    for (name, help, histogram) in [
        (
            "call_ring_delay_seconds",
            "From the INVITE to ringing",
            &standing.ring_delay,
        ),
        (
            "call_answer_delay_seconds",
            "From the INVITE to the answer",
            &standing.answer_delay,
        ),
        (
            "call_duration_seconds",
            "From the answer to the end",
            &standing.duration,
        ),
    ] {
        registry.register(name, help, histogram.clone());
    }
    registry.register_collector(Box::new(sources));
    registry
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(&mut encoder);
        self.calls(&mut page)?;
        self.registrations(&mut page)?;
        self.trunks(&mut page)?;
        self.messages(&mut page)?;
        self.media(&mut page)?;
        self.records(&mut page)?;
        self.admin(&mut page)
    }
}

impl Sources {
    fn registrations(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let Some(registrar) = self.standing.now().registrar else {
            return Ok(());
        };
        page.gauge("users", "Users that may register", registrar.users as u64)?;
        page.gauge(
            "users_registered",
            "Users with a contact",
            registrar.registered as u64,
        )?;
        page.gauge("registrations", "Contacts of users", registrar.bindings as u64)?;
        let registrar::Counters {
            accepted,
            added,
            refreshed,
            removed,
            expired,
            registers_refused,
            calls_refused,
        } = registrar.counters;
        page.counters(
            "registration_events",
            "REGISTERs answered 200, and what became of contacts",
            "event",
            &[
                ("accepted", accepted),
                ("added", added),
                ("refreshed", refreshed),
                ("removed", removed),
                ("expired", expired),
            ],
        )?;
        let by_reason = |counts: [u64; registrar::Refusal::REASONS.len()]| -> Vec<(&str, u64)> {
            registrar::Refusal::REASONS.into_iter().zip(counts).collect()
        };
        page.counters(
            "registers_refused",
            "REGISTERs refused, the first of a challenge included",
            "reason",
            &by_reason(registers_refused),
        )?;
        page.counters(
            "user_calls_refused",
            "Calls refused for who makes them, the first of a challenge included",
            "reason",
            &by_reason(calls_refused),
        )
    }

    fn media(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let counted = self.media.counters();
        let attempts = counted
            .attempts
            .iter()
            .map(|((operation, result), count)| ([operation.as_str(), *result], *count));
        page.family(
            "media_attempts",
            "Requests to media nodes",
            ["operation", "result"],
            attempts,
        )?;
        let answers: Vec<_> = counted
            .answers
            .iter()
            .map(|(&result, &count)| (result, count))
            .collect();
        page.counters(
            "media_answers",
            "Answers to what calls asked of media nodes",
            "result",
            &answers,
        )?;
        page.counters(
            "media_events",
            "What media nodes told, and what became of it",
            "event",
            &[
                ("event", counted.events),
                ("missed", counted.events_missed),
                ("exchange_opened", counted.exchanges),
                ("call_lost", counted.calls_lost),
                ("overloaded", counted.overloaded),
                ("orphan_dropped", counted.orphans_dropped),
            ],
        )?;
        let nodes = self.media.nodes();
        let each = |of: fn(&media_client::NodeStatus) -> u64| -> Vec<(String, u64)> {
            nodes
                .iter()
                .map(|node| (node.name.to_string(), of(node)))
                .collect()
        };
        let up = each(|node| u64::from(node.health == media_client::Health::Up));
        page.gauges(
            "media_node_up",
            "1 for a node that answers and takes calls",
            "node",
            &up,
        )?;
        page.gauges(
            "media_node_free",
            "Calls that a node can still take",
            "node",
            &each(|node| node.free),
        )?;
        page.gauges(
            "media_node_calls",
            "Our calls on a node",
            "node",
            &each(|node| node.held as u64),
        )?;
        let orphans = each(|node| node.orphans as u64);
        page.gauges(
            "media_node_orphans",
            "Calls that may be left on a node, to be deleted",
            "node",
            &orphans,
        )
    }

    fn records(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let counted = self.journal.counters().snapshot();
        page.counter(
            "cdr_journal_records",
            "Call records written to the journal",
            counted.appended,
        )?;
        page.counters(
            "cdr_journal_failures",
            "Call records that the journal did not take",
            "reason",
            &[
                ("full", counted.append_full),
                ("too_large", counted.append_too_large),
                ("io", counted.append_io),
            ],
        )?;
        page.counter(
            "cdr_stored_records",
            "Call records committed to the database",
            counted.stored,
        )?;
        page.counter(
            "cdr_store_batches",
            "Transactions of the database",
            counted.batches,
        )?;
        page.counter(
            "cdr_store_errors",
            "Transactions that failed and are tried again",
            counted.database_errors,
        )?;
        page.counter(
            "cdr_store_refused_records",
            "Records that the database refused for what is in them, and that are left out",
            counted.refused,
        )?;
        page.counter(
            "cdr_journal_unreadable",
            "Journal frames without a record",
            counted.unreadable,
        )?;
        page.counter(
            "cdr_journal_torn_bytes",
            "Journal bytes that were no frame",
            counted.torn_bytes,
        )?;
        page.gauge(
            "cdr_store_lag_records",
            "Call records not in the database yet",
            counted.pending_records,
        )?;
        page.gauge("cdr_journal_bytes", "Size of the journal", counted.journal_bytes)
    }

    fn admin(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let counted = self.admin.counted();
        let requests = counted
            .requests
            .iter()
            .flat_map(|&(operation, succeeded, failed)| {
                let of = |outcome| [operation.as_str(), outcome];
                [(of("ok"), succeeded), (of("error"), failed)]
            });
        page.family(
            "admin_requests",
            "Requests of operators, by method and outcome",
            ["method", "outcome"],
            requests,
        )?;
        page.counter(
            "admin_unauthenticated",
            "Requests of operators without the right token",
            counted.unauthenticated,
        )?;
        page.counters(
            "admin_connections",
            "Connections of operators",
            "outcome",
            &[
                ("accepted", counted.connections),
                ("refused", counted.connections_refused),
            ],
        )?;
        page.counter(
            "admin_watch_missed",
            "Messages that watchers of calls were too slow for",
            counted.missed,
        )?;
        page.gauge(
            "admin_watchers",
            "Lists and watches of calls under way",
            counted.watchers,
        )
    }
}

/// Writes metrics, a line of code each.
struct Page<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Page<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            ConstCounter::new(*count).encode(metric.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(String, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, level) in values {
            let level = i64::try_from(*level).unwrap_or(i64::MAX);
            ConstGauge::new(level).encode(metric.encode_family(&[(label, value.as_str())])?)?;
        }
        Ok(())
    }

    fn family<'v>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: impl Iterator<Item = ([&'v str; 2], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, count) in values {
            let of = [(labels[0], of[0]), (labels[1], of[1])];
            ConstCounter::new(count).encode(metric.encode_family(&of)?)?;
        }
        Ok(())
    }
}
