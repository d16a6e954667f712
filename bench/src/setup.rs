//! Calls a second allocated and freed over gRPC, by a media node on one core (`make bench-setup`).

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use hdrhistogram::Histogram;
use ops::clock::MonotonicClock;
use serde::Serialize;

use crate::call_request;
use crate::host::Host;
use crate::node_client::{Held, NodeClient};
use crate::plane::{NodeOptions, Plane};
use crate::relay::bed::pin;
use crate::relay::privilege::allowed_cores;
use crate::usage;

/// Clients at once, each with a connection and one request at a time.
const CLIENTS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const CALLS_MAX: u32 = 1_000;
/// At thousands of calls a second the usual five seconds would need more ports than an address has.
const QUARANTINE: Duration = Duration::from_millis(500);

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct SetupReport {
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
    /// The node's packet back-end, which opens four ports a call.
    pub backend: String,
    /// The core of the node; absent when there is only one, which the clients share.
    pub node_core: Option<usize>,
}

impl fmt::Display for SetupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "set-ups            {:.0} a second ({} calls in {:.1} s, {} clients), each created and deleted",
            self.setups_per_s, self.calls, self.seconds, self.clients
        )?;
        writeln!(
            f,
            "create             p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            self.p50_ms, self.p99_ms, self.max_ms
        )?;
        writeln!(
            f,
            "delete             p50 {:.2} ms, p99 {:.2} ms",
            self.delete_p50_ms, self.delete_p99_ms
        )?;
        write!(
            f,
            "node               {} back-end, {:.0} µs of CPU a call, {}",
            self.backend,
            self.node_cpu_us_per_call,
            match self.node_core {
                Some(core) => format!("alone on core {core}"),
                None => "on the same core as the clients".to_owned(),
            }
        )
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

/// Measures for `duration` and writes `setup.json` to `folder`, logs to `setup` in it.
pub fn run(duration: Duration, backend: &str, folder: &Path) -> anyhow::Result<SetupReport> {
    let logs = folder.join("setup");
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let logs = fs::canonicalize(&logs)?;
    let allowed = allowed_cores()?;
    let node_core = (allowed.len() > 1).then(|| allowed[allowed.len() - 1]);
    let mut before: Vec<OsString> = Vec::new();
    if let Some(core) = node_core {
        before.extend(["taskset".into(), "--cpu-list".into(), core.to_string().into()]);
        // The clients, threads of this one, stay off it.
        pin(None, allowed[0])?;
    }
    let mut host = Host::reserve()?;
    let options = NodeOptions {
        backend: backend.to_owned(),
        steering: "off",
        kernel: "off",
        calls_max: CALLS_MAX,
        quarantine: QUARANTINE,
        log_filter: "warn",
        ..NodeOptions::new(
            "media-1",
            host.ip(),
            10_000..=59_999,
            [host.address()?, host.address()?],
        )
    };
    let mut node = Plane::start_node_after(&before, &options, &logs)?;
    churn(options.grpc, WARM_UP, "warm")?;
    let (clock, work) = (MonotonicClock::start(), usage::run_time(node.id())?);
    let started = clock.now();
    let seen = churn(options.grpc, duration, "call")?;
    let seconds = clock.now().saturating_since(started).as_secs_f64();
    let work = usage::run_time(node.id())?.saturating_sub(work);
    let mut client = NodeClient::connect(options.grpc)?;
    ensure!(
        client.held()? == Held::default(),
        "the node still holds {:?}",
        client.held()?
    );
    let backend = client.describe()?.backend;
    drop(client);
    node.stop()?;
    let calls = seen.create_us.len();
    ensure!(calls > 0, "no call was set up");
    let milliseconds =
        |histogram: &Histogram<u64>, share: f64| histogram.value_at_quantile(share) as f64 / 1e3;
    let report = SetupReport {
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
        backend,
        node_core,
    };
    let text = serde_json::to_string_pretty(&report)? + "\n";
    fs::write(folder.join("setup.json"), text)?;
    Ok(report)
}

/// All clients at once for `duration`. The first refusal ends it.
fn churn(grpc: SocketAddr, duration: Duration, name: &str) -> anyhow::Result<Seen> {
    let stop = AtomicBool::new(false);
    let clock = MonotonicClock::start();
    let end = clock.now() + duration;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let stop = &stop;
                scope.spawn(move || {
                    let result = one_client(grpc, &format!("{name}-{client}"), || {
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

fn one_client(grpc: SocketAddr, name: &str, goes_on: impl Fn() -> bool) -> anyhow::Result<Seen> {
    let mut client = NodeClient::connect(grpc)?;
    let mut seen = Seen::new()?;
    let clock = MonotonicClock::start();
    let remotes = [9_000, 9_002].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut number = 0u64;
    while goes_on() {
        let call = format!("{name}-{number}");
        number += 1;
        let request = call_request::plain(&call, remotes);
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
