//! Requests within established calls, while strangers flood the control plane with requests that show no credentials
//! (`make bench-flood`).
//!
//! * [`established`] the calls, whose parties are next hops; [`stream`] the flood; [`row`] what came of both.

pub mod established;
pub mod row;
pub mod stream;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use ops::clock::MonotonicClock;

use crate::host::Host;
use crate::metrics::Metrics;
use crate::sip_flood::established::Established;
use crate::sip_flood::row::{Row, Run};
use crate::sip_flood::stream::{Kind, Stream};
use crate::sip_load::contender::{Role, System};
use crate::sip_load::search::rest;
use crate::sip_load::site::{Server, Site};
use crate::wait;

/// Calls that exist meanwhile.
const CALLS: u64 = 200;
/// How long the server keeps finished transactions, and what it has left of a flood.
const LINGER: Duration = Duration::from_secs(5);
/// From the beginning of a flood to where responses are timed: what its first moments do is in the figures, too, but not only they.
const HEAD_START: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is asked without credentials.
    pub kinds: Vec<Kind>,
    /// From how many addresses at once, each by itself.
    pub sources: Vec<u32>,
    /// Requests a second, of all sources.
    pub rate: u32,
    /// Of one run.
    pub duration: Duration,
    /// How often each is run, in turns with a run without a flood.
    pub rounds: u8,
}

/// Measures, and writes `flood.json` to the folder. The first row is without a flood.
pub fn run(options: &Options, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let mut site = Site::new(&folder.join("flood"), LINGER, 1)?;
    let server = site.start(System::Ringpath, Role::Guarded)?;
    let calls_core = site.load_core;
    let mut established = Established::set_up(site.probe, server.sip, calls_core, CALLS)?;
    let floods = options
        .kinds
        .iter()
        .flat_map(|kind| options.sources.iter().map(|sources| Some((*kind, *sources))));
    let mut rows: Vec<Row> = std::iter::once(None)
        .chain(floods)
        .map(|flood| Row::new(flood, options.rate))
        .collect();
    for _ in 0..options.rounds {
        for row in &mut rows {
            let run = run_one(row.flood(), &server, &mut established, calls_core, options)?;
            println!("{}: {run}", row.name());
            row.take(run);
            rest(&server.contender)?;
        }
    }
    let alive = established.end()?;
    ensure!(
        alive == CALLS,
        "{} of {CALLS} established calls did not outlive the floods",
        CALLS - alive
    );
    server.contender.stop()?;
    for row in &mut rows {
        row.settle();
    }
    fs::write(
        folder.join("flood.json"),
        serde_json::to_string_pretty(&rows)? + "\n",
    )?;
    Ok(rows)
}

fn run_one(
    flood: Option<(Kind, u32)>,
    server: &Server,
    established: &mut Established,
    core: usize,
    options: &Options,
) -> anyhow::Result<Run> {
    let before = Metrics::fetch(server.ops)?;
    let stream = flood
        .map(|(kind, sources)| {
            // Each at an address of its own, as the guard counts them.
            let hosts = (0..sources)
                .map(|_| Host::reserve())
                .collect::<anyhow::Result<Vec<_>>>()?;
            Stream::start(kind, hosts, server.sip, options.rate, core)
        })
        .transpose()?;
    wait::pass(HEAD_START);
    let clock = MonotonicClock::start();
    let begun = clock.now();
    let work = server.contender.run_time()?;
    let times = established.measure(options.duration)?;
    let work = server.contender.run_time()?.saturating_sub(work);
    let passed = clock.now().saturating_since(begun);
    let sent = stream.map_or(Ok((0, 0.0)), Stream::finish)?;
    let after = Metrics::fetch(server.ops)?;
    Ok(Run::of(
        times,
        sent,
        work.as_secs_f64() / passed.as_secs_f64(),
        [&before, &after],
    ))
}
