//! Calls a second allocated and freed over gRPC, by a media node on one core (`make bench-setup`).

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use hdrhistogram::Histogram;
use ops::clock::MonotonicClock;
use serde::Serialize;

use crate::call_request;
use crate::ground::Ground;
use crate::node_client::{Held, NodeClient, path_of};
use crate::plane::NodeOptions;
use crate::relay::load::Kind;
use crate::usage;

/// Clients at once, each with a connection and one request at a time.
const CLIENTS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const CALLS_MAX: u32 = 1_000;
/// At thousands of calls a second the usual five seconds would need more ports than an address has.
const QUARANTINE: Duration = Duration::from_millis(500);

/// What came of one node.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The best path that the node had for the calls: `kernel`, `uring` (all ports steered to one socket), `uring-no-steering` or
    /// `socket` (four sockets a call).
    pub path: &'static str,
    /// Calls created *and* deleted a second.
    pub setups_per_s: f64,
    /// From the request to the answer of `CreateCall`, at the client.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// See `p50_ms`.
    pub max_ms: f64,
    /// The same for `DeleteCall`.
    pub delete_p50_ms: f64,
    /// See `delete_p50_ms`.
    pub delete_p99_ms: f64,
    /// Calls of the measurement.
    pub calls: u64,
    /// How long it took.
    pub seconds: f64,
    /// Clients at once.
    pub clients: usize,
    /// Processor time of the node by call.
    pub node_cpu_us_per_call: f64,
    /// The node's packet back-end.
    pub backend: String,
    /// The core of the node; absent when there is only one, which the clients share.
    pub node_core: Option<usize>,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct SetupReport {
    /// The node as it comes: what a carrier runs.
    #[serde(flatten)]
    pub default: Row,
    /// That one, and the same without steering and kernel path.
    pub rows: [Row; 2],
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl fmt::Display for SetupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18} {:>14} {:>30} {:>22} {:>14}",
            "path", "set-ups a s", "create p50 / p99 / max ms", "delete p50 / p99 ms", "node µs a call"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<18} {:>14.0} {:>30} {:>22} {:>14.0}",
                row.path,
                row.setups_per_s,
                format!("{:.2} / {:.2} / {:.2}", row.p50_ms, row.p99_ms, row.max_ms),
                format!("{:.2} / {:.2}", row.delete_p50_ms, row.delete_p99_ms),
                row.node_cpu_us_per_call
            )?;
        }
        let row = &self.default;
        writeln!(
            f,
            "{} clients; node with the {} back-end, {}; a set-up is a call created and deleted",
            row.clients,
            row.backend,
            match row.node_core {
                Some(core) => format!("on core {core}"),
                None => "on the same core as the clients".to_owned(),
            }
        )?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

/// What one client saw.
struct Seen {
    create_us: Histogram<u64>,
    delete_us: Histogram<u64>,
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            create_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            delete_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        })
    }
}

/// Measures a node as it comes, then one without steering and kernel path, for `duration` each, and writes `setup.json` to
/// `folder`, logs to `setup` in it. The calling thread may not be used for anything else afterwards.
pub fn run(duration: Duration, backend: &str, folder: &Path) -> anyhow::Result<SetupReport> {
    let logs = folder.join("setup");
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let logs = fs::canonicalize(&logs)?;
    let (ground, note) = Ground::make(Kind::Auto, CALLS_MAX, &logs)?;
    let as_it_comes = NodeOptions {
        backend: backend.to_owned(),
        calls_max: CALLS_MAX,
        quarantine: QUARANTINE,
        log_filter: "warn",
        ..NodeOptions::new("media-default", ground.node, 10_000..=59_999, ground.listeners())
    };
    let without = NodeOptions {
        name: "media-without".to_owned(),
        steering: "off",
        kernel: "off",
        ..as_it_comes.clone()
    };
    let rows = [
        measure(&ground, &as_it_comes, duration, &logs)?,
        measure(&ground, &without, duration, &logs)?,
    ];
    let report = SetupReport {
        default: rows[0].clone(),
        rows,
        notes: note.into_iter().collect(),
    };
    let text = serde_json::to_string_pretty(&report)? + "\n";
    fs::write(folder.join("setup.json"), text)?;
    Ok(report)
}

/// One node, from its start to its end.
fn measure(ground: &Ground, options: &NodeOptions, duration: Duration, logs: &Path) -> anyhow::Result<Row> {
    let mut node = ground.start(options, logs)?;
    let parties = ground.load.parties();
    churn(options.grpc, parties, WARM_UP, "warm")?;
    let (clock, work) = (MonotonicClock::start(), usage::run_time(node.id())?);
    let started = clock.now();
    let seen = churn(options.grpc, parties, duration, "call")?;
    let seconds = clock.now().saturating_since(started).as_secs_f64();
    let work = usage::run_time(node.id())?.saturating_sub(work);
    let mut client = NodeClient::connect(options.grpc)?;
    ensure!(
        client.held()? == Held::default(),
        "the node still holds {:?}",
        client.held()?
    );
    let description = client.describe()?;
    drop(client);
    node.stop()?;
    let calls = seen.create_us.len();
    ensure!(calls > 0, "no call was set up");
    let milliseconds =
        |histogram: &Histogram<u64>, share: f64| histogram.value_at_quantile(share) as f64 / 1e3;
    Ok(Row {
        path: path_of(&description),
        setups_per_s: calls as f64 / seconds,
        p50_ms: milliseconds(&seen.create_us, 0.5),
        p99_ms: milliseconds(&seen.create_us, 0.99),
        max_ms: seen.create_us.max() as f64 / 1e3,
        delete_p50_ms: milliseconds(&seen.delete_us, 0.5),
        delete_p99_ms: milliseconds(&seen.delete_us, 0.99),
        calls,
        seconds,
        clients: CLIENTS,
        node_cpu_us_per_call: work.as_micros() as f64 / calls as f64,
        backend: description.backend,
        node_core: ground.node_core,
    })
}

/// All clients at once for `duration`. The first refusal ends it.
fn churn(grpc: SocketAddr, parties: [SocketAddr; 2], duration: Duration, name: &str) -> anyhow::Result<Seen> {
    let stop = AtomicBool::new(false);
    let clock = MonotonicClock::start();
    let end = clock.now() + duration;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let stop = &stop;
                scope.spawn(move || {
                    let result = one_client(grpc, parties, &format!("{name}-{client}"), || {
                        !stop.load(Ordering::Relaxed) && clock.now() < end
                    });
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .collect();
        let mut all = Seen::new()?;
        for client in clients {
            let seen = client.join().map_err(|_| anyhow!("a client panicked"))??;
            all.create_us.add(seen.create_us)?;
            all.delete_us.add(seen.delete_us)?;
        }
        Ok(all)
    })
}

fn one_client(
    grpc: SocketAddr,
    parties: [SocketAddr; 2],
    name: &str,
    goes_on: impl Fn() -> bool,
) -> anyhow::Result<Seen> {
    let mut client = NodeClient::connect(grpc)?;
    let mut seen = Seen::new()?;
    let clock = MonotonicClock::start();
    let mut number = 0u64;
    while goes_on() {
        let call = format!("{name}-{number}");
        number += 1;
        let request = call_request::plain(&call, parties);
        let begun = clock.now();
        client
            .create(request)
            .with_context(|| format!("creating {call}"))?;
        let created = clock.now();
        client.delete(&call).with_context(|| format!("deleting {call}"))?;
        let deleted = clock.now();
        let microseconds = |from, to: sans_io::Timestamp| to.saturating_since(from).as_micros() as u64;
        seen.create_us.saturating_record(microseconds(begun, created));
        seen.delete_us.saturating_record(microseconds(created, deleted));
    }
    Ok(seen)
}
