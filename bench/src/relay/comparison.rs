//! Relays compared: what to compare, and all that was found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::relay::bar::{self, Bar};
use crate::relay::bed::Bed;
use crate::relay::bench::{Bench, FLOOD_CALLS};
use crate::relay::chart;
use crate::relay::contender::System;
use crate::relay::load::{self, Load as Source};
use crate::relay::machine::Machine;
use crate::relay::markdown::markdown;
use crate::relay::plan::WARM_UP;
use crate::relay::row::Row;
use crate::relay::{note, privilege, rtpengine};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to compare, in the order of turns.
    pub systems: Vec<System>,
    /// Numbers of calls.
    pub calls: Vec<u32>,
    /// Further numbers of calls, for systems whose packets do not leave the kernel.
    pub kernel_calls: Vec<u32>,
    /// Calls and time of a run of the kernel path by itself, for a packet lost; no calls leave it out.
    pub long: (u32, Duration),
    /// Measurements of each system and number of calls.
    pub rounds: u32,
    /// Of one measurement; shorter when the time would not do for everything.
    pub measure: Duration,
    /// The most calls that are tried for loss; 0 leaves that out.
    pub calls_max: u32,
    /// Where the load comes from.
    pub load: load::Kind,
    /// The relay's receive work runs ahead of the relay.
    pub receive_first: bool,
    /// No measurement is begun that would not be over after this.
    pub time: Duration,
    /// Where results and logs go.
    pub folder: PathBuf,
    /// What the results' files are called before their endings.
    pub name: String,
    /// What the build was made from, for the report.
    pub commit: String,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Where.
    pub machine: Machine,
    /// Seconds of a measurement.
    pub measure_s: f64,
    /// Seconds before it.
    pub warm_up_s: f64,
    /// Rounds that were wanted.
    pub rounds: u32,
    /// By number of calls, then in the order of turns; half loads last.
    pub rows: Vec<Row>,
    /// Packets a second that the generator's core sends at most, while it counts what the bare XDP echo sends back.
    pub generator_pps_max: Option<f64>,
    /// What was to be reached, and whether it was.
    pub bars: Vec<Bar>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// What failed; not empty fails the run.
    pub failures: Vec<String>,
}

/// Makes the bed, compares, and removes it. Prints what it does. The calling thread stays in the namespace of the load
/// afterwards, and should end.
pub fn run(options: &Options) -> anyhow::Result<Comparison> {
    let cores = privilege::check()?;
    ensure!(
        options.rounds > 0
            && options
                .calls
                .iter()
                .chain(&options.kernel_calls)
                .all(|&calls| calls > 0),
        "at least one round and one call"
    );
    let machine = Machine::read(cores, &options.commit)?;
    println!("{machine}");
    let logs = options.folder.join(&options.name);
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let logs = fs::canonicalize(logs)?;
    let bed = Bed::make(cores, options.receive_first, &logs)?;
    bed.enter()?;
    let calls_max = options
        .calls
        .iter()
        .chain(&options.kernel_calls)
        .copied()
        .chain([options.calls_max, options.long.0, FLOOD_CALLS])
        .max()
        .unwrap_or(1);
    let (source, hitch) = Source::new(options.load, &bed, calls_max, &logs)?;
    let mut bench = Bench::new(options, bed, source, logs);
    let mut comparison = Comparison {
        machine,
        measure_s: options.measure.as_secs_f64(),
        warm_up_s: WARM_UP.as_secs_f64(),
        rounds: options.rounds,
        rows: Vec::new(),
        generator_pps_max: None,
        bars: Vec::new(),
        notes: Vec::new(),
        failures: Vec::new(),
    };
    if !options.receive_first {
        let note = "The relay's receive work shared its core evenly with the relay, which softirq does not.";
        comparison.notes.push(note.to_owned());
    }
    comparison.notes.extend(hitch);
    let mut systems = options.systems.clone();
    if !rtpengine::is_installed() {
        systems.retain(|system| system.name() != System::Rtpengine.name());
        let note = "rtpengine is not installed (`make bench-bootstrap` does it): no rows";
        comparison.notes.push(note.to_owned());
    }
    if !bench.is_live() && systems.iter().any(|system| system.is_in_kernel()) {
        systems.retain(|system| !system.is_in_kernel());
        let note = "Without live frames there is no row of a system whose packets stay in the kernel.";
        comparison.notes.push(note.to_owned());
    }
    if bench.is_live() && systems.iter().any(|system| system.is_secured()) {
        systems.retain(|system| !system.is_secured());
        let note =
            "Live frames are in clear: calls with SRTP need `--load sockets` (`make bench-relay-srtp`).";
        comparison.notes.push(note.to_owned());
    }
    bench.run(&systems, &mut comparison);
    bar::relate(&mut comparison.rows);
    comparison.bars = bar::bars(&comparison.rows);
    comparison
        .notes
        .extend(note::notes(&comparison.rows, options.rounds));
    Ok(comparison)
}

impl Comparison {
    /// Writes `relay.json` (the rows) for the name `relay`, `relay-machine.json` (everything else), `relay.md` and the charts.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let write = |ending: &str, text: String| {
            let file = format!("{name}{ending}");
            fs::write(folder.join(&file), text).context(file)
        };
        write(".json", serde_json::to_string_pretty(&self.rows)? + "\n")?;
        let rest = Self {
            rows: Vec::new(),
            ..self.clone()
        };
        write("-machine.json", serde_json::to_string_pretty(&rest)? + "\n")?;
        write(".md", markdown(self))?;
        let bar = |row: &Row, value: f64, range: [f64; 2]| chart::Bar {
            label: format!("{} {}, {} calls", row.system, row.path, row.calls),
            value,
            range,
            is_ours: row.system == "ringpath",
        };
        let cpu: Vec<chart::Bar> = self
            .rows
            .iter()
            .map(|row| bar(row, row.cpu_ns_per_packet, row.cpu_ns_per_packet_range))
            .collect();
        write(
            "-cpu.svg",
            chart::bars("CPU a packet, median and range", "ns", &cpu),
        )?;
        let latency: Vec<chart::Bar> = self
            .rows
            .iter()
            .map(|row| {
                let value = row.latency_us_p99 as f64;
                bar(row, value, row.latency_us_p99_range.map(|us| us as f64))
            })
            .collect();
        write(
            "-latency.svg",
            chart::bars("One-way latency p99, median and range", "µs", &latency),
        )
    }
}
