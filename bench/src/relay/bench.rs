//! The measurements of a comparison, in the order of [`super::plan`].

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ops::clock::MonotonicClock;
use sans_io::Timestamp;

use crate::relay::bar::HALF_LOAD;
use crate::relay::bed::Bed;
use crate::relay::comparison::{Comparison, Options};
use crate::relay::contender::{Contender, System};
use crate::relay::load::Load as Source;
use crate::relay::plan::{self, Plan, WARM_UP, Work};
use crate::relay::row::{Ceiling, Load, Round, Row};
use crate::relay::search::{Search, Verdict};

const PROBE: Duration = Duration::from_secs(2);
/// So often something has to be lost with as many calls: once is no proof on a machine with other things to do.
const PROBES: u32 = 3;
/// Start and stop of a relay, generously: what is left of the time must hold it.
const AROUND: Duration = Duration::from_secs(4);
/// How long the generator is asked for all that it has.
const FLOOD: Duration = Duration::from_secs(2);
/// Calls of that: enough for the memory of streams to matter.
pub const FLOOD_CALLS: u32 = 1_000;
/// So many numbers of calls may fail with a system before it is left out.
const FAILURES_MAX: usize = 2;

/// Bed, load and time.
#[derive(Debug)]
pub struct Bench<'a> {
    options: &'a Options,
    bed: Bed,
    source: Source,
    logs: PathBuf,
    clock: MonotonicClock,
    deadline: Timestamp,
    /// Of one measurement.
    measure: Duration,
}

/// A system with a number of calls.
struct Cell {
    system: System,
    calls: u32,
    rounds: Vec<Round>,
    has_failed: bool,
}

impl<'a> Bench<'a> {
    /// The calling thread is at the load's end of `bed`; the time begins.
    pub fn new(options: &'a Options, bed: Bed, source: Source, logs: PathBuf) -> Self {
        let clock = MonotonicClock::start();
        Self {
            deadline: clock.now() + options.time,
            measure: options.measure,
            options,
            bed,
            source,
            logs,
            clock,
        }
    }

    /// Whether native XDP_TX at the relay's end reaches the load.
    pub fn is_live(&self) -> bool {
        self.source.is_live()
    }

    /// All of it.
    pub fn run(&mut self, systems: &[System], comparison: &mut Comparison) {
        self.flood(systems, comparison);
        let mut cells: Vec<Cell> = self.cells(systems);
        let searches = if self.options.calls_max > 0 {
            plan::search_order(systems)
        } else {
            Vec::new()
        };
        let places: Vec<(System, u32)> = cells.iter().map(|cell| (cell.system, cell.calls)).collect();
        let plan = Plan::new(&Work {
            time: self.left(),
            rounds: self.options.rounds,
            cells: &places,
            measure: self.options.measure,
            long: self.long_time(systems),
            searches: &searches,
        });
        self.measure = plan.measure;
        comparison.measure_s = plan.measure.as_secs_f64();
        if plan.measure < self.options.measure {
            comparison.notes.push(format!(
                "A measurement took {:.1} s instead of {:.1} s, so that the time does for everything.",
                plan.measure.as_secs_f64(),
                self.options.measure.as_secs_f64()
            ));
        }
        self.rounds(&mut cells, self.clock.now() + plan.rounds, comparison);
        let alive: Vec<System> = systems
            .iter()
            .copied()
            .filter(|system| failed(&cells, *system) < FAILURES_MAX)
            .collect();
        for cell in cells {
            if !cell.rounds.is_empty() {
                let row = Row::new(cell.system, cell.calls, Load::Same, cell.rounds);
                comparison.rows.push(row);
            }
        }
        self.long(&alive, comparison);
        let searches: Vec<System> = searches
            .into_iter()
            .filter(|system| alive.contains(system))
            .collect();
        self.ceilings(&searches, comparison);
    }

    fn cells(&self, systems: &[System]) -> Vec<Cell> {
        let of_all = self.options.calls.iter().map(|&calls| (calls, false));
        let of_kernel = self.options.kernel_calls.iter().map(|&calls| (calls, true));
        of_all
            .chain(of_kernel)
            .flat_map(|(calls, kernel_only)| {
                systems
                    .iter()
                    .filter(move |system| !kernel_only || system.is_in_kernel())
                    .map(move |&system| Cell {
                        system,
                        calls,
                        rounds: Vec::new(),
                        has_failed: false,
                    })
            })
            .collect()
    }

    /// Every system in turn, again and again. What fails is tried again at once, so that a start that went wrong costs no round;
    /// what fails then is left out from there on, and a system of which that is true twice.
    fn rounds(&mut self, cells: &mut [Cell], until: Timestamp, comparison: &mut Comparison) {
        for number in 1..=self.options.rounds {
            for place in 0..cells.len() {
                let (system, calls) = (cells[place].system, cells[place].calls);
                if cells[place].has_failed || failed(cells, system) >= FAILURES_MAX {
                    continue;
                }
                let time = plan::around(system, calls) + self.measure;
                if until.saturating_since(self.clock.now()) < time {
                    let note = format!(
                        "The time of the rounds was over in round {number} of {}.",
                        self.options.rounds
                    );
                    comparison.notes.push(note);
                    return;
                }
                let first = self.measure(system, calls, &format!("{number}"));
                let round = first.or_else(|error| {
                    let note = format!(
                        "{system} with {calls} calls, round {number}: measured again, since at first: {error}"
                    );
                    eprintln!("{note}");
                    comparison.notes.push(note);
                    self.measure(system, calls, &format!("{number}-again"))
                });
                match round {
                    Ok(round) => {
                        println!("round {number}  {}", said(system, calls, &round));
                        cells[place].rounds.push(round);
                    }
                    Err(error) => {
                        eprintln!("{system}, {calls} calls: {error:#}");
                        comparison
                            .failures
                            .push(format!("{system} with {calls} calls failed: {error}"));
                        cells[place].has_failed = true;
                    }
                }
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

    /// What the long run takes; nothing when there is none.
    fn long_time(&self, systems: &[System]) -> Duration {
        const SYSTEM: System = System::Ringpath("kernel");
        let (calls, duration) = self.options.long;
        if calls > 0 && systems.contains(&SYSTEM) {
            plan::around(SYSTEM, calls) + duration
        } else {
            Duration::ZERO
        }
    }

    /// The kernel path by itself for a longer time, at the most calls that it is to take.
    fn long(&mut self, systems: &[System], comparison: &mut Comparison) {
        let time = self.long_time(systems);
        if time.is_zero() {
            return;
        }
        if self.left() < time {
            let note = "The time was over before the long run of the kernel path.";
            comparison.notes.push(note.to_owned());
            return;
        }
        let (calls, duration) = self.options.long;
        let system = System::Ringpath("kernel");
        let mut long = || -> anyhow::Result<Round> {
            let contender = self.start(system, calls, "long")?;
            let round = self.observe(&contender, calls, duration)?;
            contender.stop()?;
            Ok(round)
        };
        match long() {
            Ok(round) => {
                println!(
                    "long     {} in {} s",
                    said(system, calls, &round),
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

    fn measure(&mut self, system: System, calls: u32, round: &str) -> anyhow::Result<Round> {
        let name = format!("{}-{}-{calls}-{round}", system.name(), system.path());
        let contender = self.start(system, calls, &name)?;
        let round = self.observe(&contender, calls, self.measure)?;
        contender.stop()?;
        Ok(round)
    }

    fn start(&mut self, system: System, calls: u32, name: &str) -> anyhow::Result<Contender> {
        let folder = self.logs.join(name);
        let parties = self.source.parties();
        let contender = Contender::start(system, &self.bed, calls, parties, &folder)?;
        contender.attract(&mut self.source)?;
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
        let mut dropped = self.bed.drops()?.since(dropped);
        dropped.load_sockets += outcome.no_room;
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
            let share = plan::search_share(&systems[place..], self.left());
            let set_up = plan::set_up(system, self.calls_max(system));
            if share < AROUND + set_up + PROBE * 4 {
                let note = format!("The time was over before the most calls of {system} were looked for.");
                comparison.notes.push(note);
                continue;
            }
            match self.ceiling(system, self.clock.now() + share) {
                Ok((ceiling, half)) => {
                    println!("most     {:<26} {ceiling} calls", system.to_string());
                    if let Some(half) = half {
                        let calls = half.calls;
                        comparison.rows.push(half);
                        if (system.name(), system.path()) == HALF_LOAD {
                            self.floor(calls, comparison);
                        }
                    }
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

    /// The bare echo with as many calls as a row at half load, whose latency is the bed's.
    fn floor(&mut self, calls: u32, comparison: &mut Comparison) {
        const SYSTEM: System = System::BareXdpEcho;
        let one_round = WARM_UP + self.measure + AROUND / 4;
        if !self.source.is_live() || self.left() < one_round + AROUND {
            return;
        }
        let mut floor = || -> anyhow::Result<Vec<Round>> {
            let contender = self.start(SYSTEM, calls, "floor")?;
            let mut rounds = Vec::new();
            for _ in 0..self.options.rounds {
                if self.left() < one_round {
                    break;
                }
                let round = self.observe(&contender, calls, self.measure)?;
                println!("floor    {}", said(SYSTEM, calls, &round));
                rounds.push(round);
            }
            contender.stop()?;
            Ok(rounds)
        };
        match floor() {
            Ok(rounds) if rounds.is_empty() => {}
            Ok(rounds) => comparison.rows.push(Row::new(SYSTEM, calls, Load::Floor, rounds)),
            Err(error) => comparison
                .failures
                .push(format!("the echo at half load: {error:#}")),
        }
    }

    fn ceiling(&mut self, system: System, until: Timestamp) -> anyhow::Result<(Ceiling, Option<Row>)> {
        let calls_max = self.calls_max(system);
        let first = if system.is_in_kernel() { 2_000 } else { 200 };
        let name = format!("{}-{}-most", system.name(), system.path());
        let contender = self.start(system, calls_max, &name)?;
        self.source.run(calls_max.min(first), WARM_UP)?;
        let one_round = WARM_UP + self.measure + AROUND / 4;
        // Kept free for the rows at half load, which end the search.
        let left = until.saturating_since(self.clock.now());
        let reserve = (one_round * self.options.rounds).min(left / 2);
        let mut search = Search::new(first, calls_max);
        while let Some(calls) = search.next_calls() {
            if until.saturating_since(self.clock.now()) < reserve + PROBE * 2 {
                search.stop();
                break;
            }
            self.bed.moderate(calls * 100)?;
            let mut outcome = self.source.run(calls, PROBE)?;
            for _ in 1..PROBES {
                if !outcome.kept_pace() || outcome.is_lossless() {
                    break;
                }
                outcome = self.source.run(calls, PROBE)?;
            }
            search.take(calls, Verdict::of(&outcome));
        }
        let ceiling = search.ceiling();
        let half = ceiling.calls / 2;
        let mut rounds = Vec::new();
        for _ in 0..self.options.rounds {
            let is_time = until.saturating_since(self.clock.now()) >= one_round;
            if half == 0 || !(is_time || rounds.is_empty()) {
                break;
            }
            let round = self.observe(&contender, half, self.measure)?;
            println!("half     {}", said(system, half, &round));
            rounds.push(round);
        }
        contender.stop()?;
        let row = (!rounds.is_empty()).then(|| Row::new(system, half, Load::Half, rounds));
        Ok((ceiling, row))
    }

    fn calls_max(&self, system: System) -> u32 {
        self.options.calls_max.min(system.calls_max())
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_since(self.clock.now())
    }
}

/// Numbers of calls with which a system has failed.
fn failed(cells: &[Cell], system: System) -> usize {
    cells
        .iter()
        .filter(|cell| cell.system == system && cell.has_failed)
        .count()
}

fn said(system: System, calls: u32, round: &Round) -> String {
    format!(
        "{:<26} {calls:>6} calls  {:>7.0} packets/s  {:>6} lost  {:>6.0} ns/packet  p50 {} µs  p99 {} µs",
        system.to_string(),
        round.offered_pps,
        round.lost,
        round.cpu_ns_per_packet,
        round.latency_us_p50,
        round.latency_us_p99,
    )
}
