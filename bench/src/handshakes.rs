//! DTLS handshakes a second that a media node on one core completes while calls that are established lose nothing
//! (`make bench-handshakes`).
//!
//! The established calls have callers with SRTP and callees without, so that each packet takes the node's worker and its keys.
//! Rates are offered, not asked for as fast as answers come: a handshake's time counts from when it was due.
//!
//! * [`party`] one handshake, with its call; [`offer`] so many a second; [`row`] what came of it.

pub mod offer;
pub mod party;
pub mod row;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use dtls::{Endpoint, Identity, Settings};
use proto::convert;

use crate::call_request;
use crate::ground::Ground;
use crate::handshakes::offer::{Done, Offer};
use crate::handshakes::row::{Established, Report, Row};
use crate::metrics::Metrics;
use crate::node_client::{NodeClient, path_of};
use crate::plane::{NodeOptions, Plane};
use crate::relay::contender::{faces_of, name};
use crate::relay::load::Kind;
use crate::relay::secured_caller::CallerKeys;
use crate::usage;

const CALLS_MAX: u32 = 5_000;
const WARM_UP: Duration = Duration::from_secs(1);
/// At hundreds of calls a second the usual five seconds would need more ports than an address has.
const QUARANTINE: Duration = Duration::from_millis(500);

/// Measures each of `rates`, handshakes a second, for `duration`, after the established calls alone. Writes `handshakes.json`
/// to `folder`, logs to `handshakes` in it. The calling thread may not be used for anything else afterwards.
pub fn run(rates: &[u32], established: u32, duration: Duration, folder: &Path) -> anyhow::Result<Report> {
    let logs = folder.join("handshakes");
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let logs = fs::canonicalize(&logs)?;
    let (mut ground, note) = Ground::make(Kind::Frames, established, &logs)?;
    let options = NodeOptions {
        calls_max: CALLS_MAX,
        quarantine: QUARANTINE,
        log_filter: "warn",
        ..NodeOptions::new("media", ground.node, 10_000..=59_999, ground.listeners())
    };
    let mut node = ground.start(&options, &logs)?;
    let mut client = NodeClient::connect(options.grpc)?;
    let description = client.describe()?;
    let fingerprint = description.fingerprint.as_ref().context("the node knows DTLS")?;
    let fingerprint = convert::fingerprint_from_wire(fingerprint)?;
    establish(&mut ground, &mut client, established)?;
    // It lives until the last rate: nobody drives a connection while a measurement runs, and the node would close it.
    drop(client);
    ground.load.run(established, WARM_UP)?;
    let (alone, idle_cpu) = observe(&mut ground, &node, established, duration)?;
    let mut rows = Vec::new();
    for &rate in rates {
        let offer = Offer {
            rate,
            duration,
            grpc: options.grpc,
            local: ground.local(),
            callee: ground.load.parties()[1],
            endpoint: Endpoint::new(Settings::default(), Arc::new(Identity::generate()?))?,
            fingerprint: fingerprint.clone(),
        };
        let before = completed(&options)?;
        let (established, cpu, done) = std::thread::scope(|scope| -> anyhow::Result<_> {
            let offering = scope.spawn(|| offer.make());
            let (established, cpu) = observe(&mut ground, &node, established, duration)?;
            let done: Done = offering
                .join()
                .map_err(|_| anyhow::anyhow!("who offers handshakes panicked"))??;
            Ok((established, cpu, done))
        })?;
        let by_node = completed(&options)? - before;
        ensure!(
            by_node == done.completed + done.late,
            "the parties completed {} handshakes, the node {by_node}",
            done.completed + done.late
        );
        let row = Row::new(&offer, &done, cpu.saturating_sub(idle_cpu), established);
        println!("{row}");
        rows.push(row);
    }
    node.stop()?;
    let report = Report {
        path: path_of(&description),
        established_calls: established,
        alone,
        rows,
        notes: note.into_iter().collect(),
    };
    let text = serde_json::to_string_pretty(&report)? + "\n";
    fs::write(folder.join("handshakes.json"), text)?;
    Ok(report)
}

/// The calls that go on meanwhile.
fn establish(ground: &mut Ground, client: &mut NodeClient, established: u32) -> anyhow::Result<()> {
    let keys: Vec<CallerKeys> = (0..established).map(CallerKeys::of_call).collect();
    let parties = ground.load.parties();
    let faces = keys
        .iter()
        .enumerate()
        .map(|(call, keys)| {
            let mut request = call_request::plain(&name(call as u32), parties);
            call_request::secure_caller(&mut request, keys.request()?);
            faces_of(&client.create(request)?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    ground.load.direct(&faces)?;
    ground.load.secure(&keys)
}

/// What the established calls see for `duration`, and the processor time of the node meanwhile.
fn observe(
    ground: &mut Ground,
    node: &Plane,
    established: u32,
    duration: Duration,
) -> anyhow::Result<(Established, Duration)> {
    let before = usage::run_time(node.id())?;
    let outcome = ground.load.run(established, duration)?;
    let cpu = usage::run_time(node.id())?.saturating_sub(before);
    Ok((Established::new(&outcome), cpu))
}

/// Handshakes that the node has completed since it began; it says nothing before the first.
fn completed(options: &NodeOptions) -> anyhow::Result<u64> {
    let metrics = Metrics::fetch(options.ops)?;
    let value = metrics.value("dtls_handshakes_total", r#"result="secured""#);
    Ok(value.unwrap_or(0.0) as u64)
}
