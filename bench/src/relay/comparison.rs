//! The order of measurements: rounds in which all systems take turns, then how many calls each takes without loss.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ops::clock::MonotonicClock;
use sans_io::Timestamp;
use serde::Serialize;

use crate::relay::bar::{self, Bar};
use crate::relay::bed::Bed;
use crate::relay::chart;
use crate::relay::contender::{Contender, System};
use crate::relay::load::{self, Load as Source};
use crate::relay::machine::Machine;
use crate::relay::markdown::markdown;
use crate::relay::row::{Ceiling, Load, Round, Row};
use crate::relay::search::{Search, Verdict};
use crate::relay::{privilege, rtpengine};

const WARM_UP: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_secs(2);
/// Start, set-up of the calls and stop of a relay, generously: what is left of the time must hold it.
const AROUND: Duration = Duration::from_secs(4);
/// How long the generator is asked for all that it has.
const FLOOD: Duration = Duration::from_secs(2);
/// Calls of that: enough for the memory of streams to matter.
const FLOOD_CALLS: u32 = 1_000;

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
    /// Of one measurement.
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
    let logs = options.folder.join("relay");
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
    let clock = MonotonicClock::start();
    let mut bench = Bench {
        options,
        bed,
        source,
        logs,
        deadline: clock.now() + options.time,
        clock,
    };
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
        systems.retain(|&system| system != System::Rtpengine);
        let note = "rtpengine is not installed (`make bench-bootstrap` does it): no rows";
        comparison.notes.push(note.to_owned());
    }
    if !bench.source.is_live() && systems.iter().any(|system| system.is_in_kernel()) {
        systems.retain(|system| !system.is_in_kernel());
        let note = "Without live frames there is no row of a system whose packets stay in the kernel.";
        comparison.notes.push(note.to_owned());
    }
    bench.flood(&systems, &mut comparison);
    bench.rounds(&mut systems, &mut comparison);
    bench.long(&systems, &mut comparison);
    if options.calls_max > 0 {
        bench.ceilings(&systems, &mut comparison);
    }
    bar::relate(&mut comparison.rows);
    comparison.bars = bar::bars(&comparison.rows);
    for row in comparison.rows.iter().filter(|row| row.lost_all_rounds > 0) {
        let at = row.dropped_all_rounds;
        comparison.notes.push(format!(
            "{} {} with {} calls lost {}; of these the kernel dropped {} at the veth's end of the relay, {} at that of the \
             load, {} at the relay's sockets, {} at the load's.",
            row.system, row.path, row.calls, row.lost_all_rounds, at.veth_relay, at.veth_load, at.relay_sockets, at.load_sockets
        ));
    }
    if comparison.rows.iter().any(Row::generator_fell_behind) {
        let note = "† The generator's core could not offer the whole load; the figures belong to the rate that is given.";
        comparison.notes.push(note.to_owned());
    }
    Ok(comparison)
}

struct Bench<'a> {
    options: &'a Options,
    bed: Bed,
    source: Source,
    logs: PathBuf,
    clock: MonotonicClock,
    deadline: Timestamp,
}

impl Bench<'_> {
    /// Every system in turn, again and again. One that fails is left out from then on.
    fn rounds(&mut self, systems: &mut Vec<System>, comparison: &mut Comparison) {
        let options = self.options;
        let of_all = options.calls.iter().map(|&calls| (calls, false));
        let of_kernel = options.kernel_calls.iter().map(|&calls| (calls, true));
        let mut measured: Vec<(u32, System, Vec<Round>)> = of_all
            .chain(of_kernel)
            .flat_map(|(calls, kernel_only)| {
                systems
                    .iter()
                    .filter(move |system| !kernel_only || system.is_in_kernel())
                    .map(move |&system| (calls, system, Vec::new()))
            })
            .collect();
        'all: for number in 1..=options.rounds {
            for (calls, system, rounds) in &mut measured {
                if !systems.contains(system) {
                    continue;
                }
                if self.left() < WARM_UP + options.measure + AROUND + set_up(*calls) {
                    let note = format!("The time was over in round {number} of {}.", options.rounds);
                    comparison.notes.push(note);
                    break 'all;
                }
                match self.measure(*system, *calls, number) {
                    Ok(round) => {
                        println!(
                            "round {number}  {:<18} {calls:>6} calls  {:>7.0} packets/s  {:>6} lost  {:>6.0} ns/packet  \
                             p50 {} µs  p99 {} µs",
                            system.to_string(),
                            round.offered_pps,
                            round.lost,
                            round.cpu_ns_per_packet,
                            round.latency_us_p50,
                            round.latency_us_p99,
                        );
                        rounds.push(round);
                    }
                    Err(error) => {
                        eprintln!("{system}, {calls} calls: {error:#}");
                        comparison
                            .failures
                            .push(format!("{system} with {calls} calls failed: {error}"));
                        systems.retain(|other| other != system);
                    }
                }
            }
        }
        for (calls, system, rounds) in measured {
            if !rounds.is_empty() {
                comparison.rows.push(Row::new(system, calls, Load::Same, rounds));
            }
        }
    }

    /// How much the load's core can offer at all, so that what a relay loses is told from what was never sent to it.
    fn flood(&mut self, systems: &[System], comparison: &mut Comparison) {
        if !systems.contains(&System::BareXdpEcho) || self.left() < FLOOD + AROUND {
            return;
        }
        let mut flood = || -> anyhow::Result<f64> {
            let contender = self.start(System::BareXdpEcho, FLOOD_CALLS, "flood")?;
            self.bed.moderate(u32::MAX)?;
            let outcome = self.source.flood(FLOOD_CALLS, FLOOD)?.context("live frames")?;
            contender.stop()?;
            Ok(outcome.sent as f64 / outcome.sending.as_secs_f64().max(1e-9))
        };
        match flood() {
            Ok(pps) => {
                println!("the generator's core sends at most {pps:.0} packets/s");
                comparison.generator_pps_max = Some(pps);
            }
            Err(error) => comparison
                .failures
                .push(format!("the most of the generator: {error:#}")),
        }
    }

    /// The kernel path by itself for a longer time, at the most calls that it is to take.
    fn long(&mut self, systems: &[System], comparison: &mut Comparison) {
        let (calls, duration) = self.options.long;
        let Some(&system) = systems
            .iter()
            .find(|system| **system == System::Ringpath("kernel"))
            .filter(|_| calls > 0)
        else {
            return;
        };
        if self.left() < WARM_UP + duration + AROUND + set_up(calls) {
            let note = "The time was over before the long run of the kernel path.";
            comparison.notes.push(note.to_owned());
            return;
        }
        let mut long = || -> anyhow::Result<Round> {
            let contender = self.start(system, calls, "long")?;
            let round = self.observe(&contender, calls, duration)?;
            contender.stop()?;
            Ok(round)
        };
        match long() {
            Ok(round) => {
                println!(
                    "long     {:<18} {calls:>6} calls  {:>7.0} packets/s  {:>6} lost in {} s",
                    system.to_string(),
                    round.offered_pps,
                    round.lost,
                    duration.as_secs()
                );
                comparison
                    .rows
                    .push(Row::new(system, calls, Load::Long, vec![round]));
            }
            Err(error) => comparison
                .failures
                .push(format!("the long run of {system}: {error:#}")),
        }
    }

    fn measure(&mut self, system: System, calls: u32, number: u32) -> anyhow::Result<Round> {
        let name = format!("{}-{}-{calls}-{number}", system.name(), system.path());
        let contender = self.start(system, calls, &name)?;
        let round = self.observe(&contender, calls, self.options.measure)?;
        contender.stop()?;
        Ok(round)
    }

    fn start(&mut self, system: System, calls: u32, name: &str) -> anyhow::Result<Contender> {
        let folder = self.logs.join(name);
        let parties = self.source.parties();
        let contender = Contender::start(system, &self.bed, calls, parties, &folder)?;
        self.source.direct(contender.faces())?;
        self.source.wait_for_room(false);
        contender.settle(&mut self.source)?;
        self.source.wait_for_room(system.is_in_kernel());
        Ok(contender)
    }

    /// Warms up, then measures.
    fn observe(&mut self, contender: &Contender, calls: u32, duration: Duration) -> anyhow::Result<Round> {
        self.bed.moderate(calls * 100)?;
        self.source.run(calls, WARM_UP)?;
        let dropped = self.bed.drops()?;
        let before = contender.work(&self.bed)?;
        let outcome = self.source.run(calls, duration)?;
        let after = contender.work(&self.bed)?;
        let dropped = self.bed.drops()?.since(dropped);
        ensure!(
            outcome.received > 0,
            "no packet came through: {:?}, {} sent",
            outcome.faults,
            outcome.sent
        );
        let rss_bytes = contender.resident_bytes()?;
        Ok(Round::new(&outcome, before, after, dropped, rss_bytes))
    }

    /// The most calls of every system without loss, and a row at half of that.
    fn ceilings(&mut self, systems: &[System], comparison: &mut Comparison) {
        for (place, &system) in systems.iter().enumerate() {
            // What is left of the time is shared by the systems that are left.
            let share = self.left() / (systems.len() - place) as u32;
            if share < AROUND + PROBE * 4 {
                let note = format!("The time was over before the most calls of {system} were looked for.");
                comparison.notes.push(note);
                continue;
            }
            match self.ceiling(system, self.clock.now() + share) {
                Ok((ceiling, half)) => {
                    println!("ceiling  {system:<18} {ceiling:?}");
                    comparison.rows.extend(half);
                    for row in &mut comparison.rows {
                        if (row.system, row.path) == (system.name(), system.path()) {
                            row.max_lossless_calls = Some(ceiling.calls);
                            row.max_lossless_limit = Some(ceiling.limit);
                        }
                    }
                }
                Err(error) => {
                    eprintln!("{system}: {error:#}");
                    comparison
                        .failures
                        .push(format!("the most calls of {system}: {error}"));
                }
            }
        }
    }

    fn ceiling(&mut self, system: System, until: Timestamp) -> anyhow::Result<(Ceiling, Option<Row>)> {
        let calls_max = self.options.calls_max.min(system.calls_max());
        let first = if system.is_in_kernel() { 2_000 } else { 200 };
        let name = format!("{}-{}-most", system.name(), system.path());
        let contender = self.start(system, calls_max, &name)?;
        self.source.run(calls_max.min(first), WARM_UP)?;
        // Kept free for the row at half load, which ends the search.
        let reserve = WARM_UP + self.options.measure + AROUND / 2;
        let mut search = Search::new(first, calls_max);
        while let Some(calls) = search.next_calls() {
            if until.saturating_since(self.clock.now()) < reserve + PROBE * 2 {
                search.stop();
                break;
            }
            self.bed.moderate(calls * 100)?;
            let mut outcome = self.source.run(calls, PROBE)?;
            if outcome.kept_pace() && !outcome.is_lossless() {
                // Once is no proof on a machine with other things to do.
                outcome = self.source.run(calls, PROBE)?;
            }
            search.take(calls, Verdict::of(&outcome));
        }
        let ceiling = search.ceiling();
        let half = ceiling.calls / 2;
        let row = if half > 0 {
            let round = self.observe(&contender, half, self.options.measure)?;
            Some(Row::new(system, half, Load::Half, vec![round]))
        } else {
            None
        };
        contender.stop()?;
        Ok((ceiling, row))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_since(self.clock.now())
    }
}

/// How long a relay takes to get its calls, and these to be where they are to be measured.
fn set_up(calls: u32) -> Duration {
    Duration::from_millis(calls.into())
}

impl Comparison {
    /// Writes `relay.json` (the rows), `relay-machine.json` (everything else), `relay.md` and the charts.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let write =
            |name: &str, text: String| fs::write(folder.join(name), text).with_context(|| name.to_owned());
        write("relay.json", serde_json::to_string_pretty(&self.rows)? + "\n")?;
        let rest = Self {
            rows: Vec::new(),
            ..self.clone()
        };
        write("relay-machine.json", serde_json::to_string_pretty(&rest)? + "\n")?;
        write("relay.md", markdown(self))?;
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
            "relay-cpu.svg",
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
            "relay-latency.svg",
            chart::bars("One-way latency p99, median and range", "µs", &latency),
        )
    }
}
