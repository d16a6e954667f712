//! What comes out: one row a flood.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::median::median;
use crate::metrics::Metrics;
use crate::sip_flood::established::Times;
use crate::sip_flood::stream::Kind;

/// Counters by label.
type Counts = BTreeMap<String, u64>;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Quantiles 0.5 and 0.99 through the server, then past it, in milliseconds.
    through_ms: [f64; 2],
    direct_ms: [f64; 2],
    requests: u64,
    unanswered: u64,
    sent: u64,
    sent_per_s: f64,
    /// Processor time of the server by time that passed.
    busy: f64,
    answers: Counts,
    drops: Counts,
    dropped_by_kernel: u64,
}

/// A line of `flood.json`. Times are medians of the rounds, the rest their sums.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is asked without credentials; null without a flood.
    kind: Option<Kind>,
    /// From how many addresses.
    sources: u32,
    offered_per_s: u32,
    sent_per_s: f64,
    sent: u64,
    /// What the server answered, by status: those to requests within the calls are among the 200.
    answers: Counts,
    /// What it dropped, by reason, and what its kernel did for want of room.
    drops: Counts,
    dropped_by_kernel: u64,
    /// Within the established calls.
    requests: u64,
    unanswered: u64,
    response_ms_p50: f64,
    response_ms_p99: f64,
    /// The least and the most of the rounds.
    response_ms_p99_spread: [f64; 2],
    /// The same past the server.
    direct_ms_p50: f64,
    direct_ms_p99: f64,
    server_busy: f64,
    #[serde(skip)]
    runs: Vec<Run>,
}

impl Run {
    /// What the times and the server's metrics, before and after, say.
    pub fn of(times: Times, (sent, sent_per_s): (u64, f64), busy: f64, metrics: [&Metrics; 2]) -> Self {
        let ms = |times: &Histogram<u64>| [0.5, 0.99].map(|at| times.value_at_quantile(at) as f64 / 1_000.0);
        let [before, after] = metrics;
        let kernel = |metrics: &Metrics| metrics.value("sip_receive_buffer_drops_total", "").unwrap_or(0.0);
        Self {
            through_ms: ms(&times.through),
            direct_ms: ms(&times.direct),
            requests: times.through.len(),
            unanswered: times.unanswered,
            sent,
            sent_per_s,
            busy,
            answers: grown(
                [before, after],
                "sip_responses_total",
                "status",
                "direction=\"sent\"",
            ),
            drops: grown([before, after], "sip_drops_total", "reason", ""),
            dropped_by_kernel: (kernel(after) - kernel(before)) as u64,
        }
    }
}

/// By how much each counter of a name grew whose labels contain `with`, by the value of one label.
fn grown([before, after]: [&Metrics; 2], name: &str, label: &str, with: &str) -> Counts {
    let of = |metrics: &Metrics| -> Counts {
        let samples = metrics.text().lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| {
                let (sample, value) = line.rsplit_once(' ')?;
                let (sample_name, labels) = sample.split_once('{')?;
                let is_meant = sample_name.ends_with(name) && labels.contains(with);
                let (_, rest) = labels.split_once(&format!("{label}=\""))?;
                let (key, _) = rest.split_once('"')?;
                is_meant.then(|| Some((key.to_owned(), value.parse::<f64>().ok()? as u64)))?
            })
            .collect()
    };
    let earlier = of(before);
    let mut counts = of(after);
    for (key, count) in &mut counts {
        *count = count.saturating_sub(earlier.get(key).copied().unwrap_or(0));
    }
    counts.retain(|_, count| *count > 0);
    counts
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = self.through_ms;
        let [direct_p50, direct_p99] = self.direct_ms;
        write!(
            f,
            "{} requests within calls, {} unanswered: p50 {p50:.3} ms, p99 {p99:.3} ms (past the server {direct_p50:.3}, {direct_p99:.3}); \
             {:.0} sent a second; server {:.0} % busy; answers {:?}, drops {:?}, {} by the kernel",
            self.requests,
            self.unanswered,
            self.sent_per_s,
            self.busy * 100.0,
            self.answers,
            self.drops,
            self.dropped_by_kernel,
        )
    }
}

impl Row {
    /// One of no run yet.
    pub fn new(flood: Option<(Kind, u32)>, rate: u32) -> Self {
        Self {
            kind: flood.map(|(kind, _)| kind),
            sources: flood.map_or(0, |(_, sources)| sources),
            offered_per_s: flood.map_or(0, |_| rate),
            sent_per_s: 0.0,
            sent: 0,
            answers: Counts::new(),
            drops: Counts::new(),
            dropped_by_kernel: 0,
            requests: 0,
            unanswered: 0,
            response_ms_p50: 0.0,
            response_ms_p99: 0.0,
            response_ms_p99_spread: [0.0; 2],
            direct_ms_p50: 0.0,
            direct_ms_p99: 0.0,
            server_busy: 0.0,
            runs: Vec::new(),
        }
    }

    /// What floods.
    pub fn flood(&self) -> Option<(Kind, u32)> {
        self.kind.map(|kind| (kind, self.sources))
    }

    /// For people.
    pub fn name(&self) -> String {
        match self.kind {
            Some(kind) => format!("{} from {}", kind.name(), self.sources),
            None => "no flood".to_owned(),
        }
    }

    /// Takes a run.
    pub fn take(&mut self, run: Run) {
        self.sent += run.sent;
        self.requests += run.requests;
        self.unanswered += run.unanswered;
        self.dropped_by_kernel += run.dropped_by_kernel;
        for (all, more) in [(&mut self.answers, &run.answers), (&mut self.drops, &run.drops)] {
            for (key, count) in more {
                *all.entry(key.clone()).or_default() += count;
            }
        }
        self.runs.push(run);
    }

    /// When there is no further run.
    pub fn settle(&mut self) {
        let values = |of: fn(&Run) -> f64| self.runs.iter().map(of).collect::<Vec<_>>();
        let p99 = values(|run| run.through_ms[1]);
        self.response_ms_p99_spread = [
            p99.iter().copied().reduce(f64::min).unwrap_or(0.0),
            p99.iter().copied().reduce(f64::max).unwrap_or(0.0),
        ];
        self.response_ms_p99 = median(p99);
        self.response_ms_p50 = median(values(|run| run.through_ms[0]));
        self.direct_ms_p50 = median(values(|run| run.direct_ms[0]));
        self.direct_ms_p99 = median(values(|run| run.direct_ms[1]));
        self.sent_per_s = median(values(|run| run.sent_per_s));
        self.server_busy = median(values(|run| run.busy));
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = self.response_ms_p99_spread;
        write!(
            f,
            "| {} | {:.0} | {:.3} | {:.3} [{least:.3}–{most:.3}] | {:.3} | {} of {} | {:.0} % |",
            self.name(),
            self.sent_per_s,
            self.response_ms_p50,
            self.response_ms_p99,
            self.direct_ms_p99,
            self.unanswered,
            self.requests + self.unanswered,
            self.server_busy * 100.0
        )
    }
}
