//! The order of measurements: rounds in which all systems take turns, then how many calls each takes without loss.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ops::clock::MonotonicClock;
use sans_io::Timestamp;
use serde::Serialize;

use crate::relay::bed::Bed;
use crate::relay::chart::{self, Bar};
use crate::relay::contender::{Contender, System};
use crate::relay::generator::Outcome;
use crate::relay::load::{self, Load as Source};
use crate::relay::machine::Machine;
use crate::relay::markdown::markdown;
use crate::relay::row::{Ceiling, Limit, Load, Round, Row};
use crate::relay::{privilege, rtpengine};

const WARM_UP: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_secs(2);
/// Start, set-up of the calls and stop of a relay, generously: what is left of the time must hold it.
const AROUND: Duration = Duration::from_secs(4);
/// Calls of the first probe.
const PROBE_FIRST: u32 = 100;
/// How exactly the most calls without loss are looked for.
const PROBE_STEP: u32 = 25;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to compare, in the order of turns.
    pub systems: Vec<System>,
    /// Numbers of calls.
    pub calls: Vec<u32>,
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
        options.rounds > 0 && options.calls.iter().all(|&calls| calls > 0),
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
        .copied()
        .max()
        .unwrap_or(1)
        .max(options.calls_max);
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
    bench.rounds(&mut systems, &mut comparison);
    if options.calls_max > 0 {
        bench.ceilings(&systems, &mut comparison);
    }
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
        let mut measured: Vec<(u32, System, Vec<Round>)> = options
            .calls
            .iter()
            .flat_map(|&calls| systems.iter().map(move |&system| (calls, system, Vec::new())))
            .collect();
        'all: for number in 1..=options.rounds {
            for (calls, system, rounds) in &mut measured {
                if !systems.contains(system) {
                    continue;
                }
                if self.left() < WARM_UP + options.measure + AROUND {
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

    fn measure(&mut self, system: System, calls: u32, number: u32) -> anyhow::Result<Round> {
        let name = format!("{}-{}-{calls}-{number}", system.name(), system.path());
        let contender = self.start(system, calls, &name)?;
        let round = self.observe(&contender, calls)?;
        contender.stop()?;
        Ok(round)
    }

    fn start(&mut self, system: System, calls: u32, name: &str) -> anyhow::Result<Contender> {
        let folder = self.logs.join(name);
        let parties = self.source.parties();
        let contender = Contender::start(system, &self.bed, calls, parties, &folder)?;
        self.source.direct(contender.faces())?;
        contender.settle(&mut self.source)?;
        Ok(contender)
    }

    /// Warms up, then measures.
    fn observe(&mut self, contender: &Contender, calls: u32) -> anyhow::Result<Round> {
        self.source.run(calls, WARM_UP)?;
        let dropped = self.bed.drops()?;
        let before = contender.work(&self.bed)?;
        let outcome = self.source.run(calls, self.options.measure)?;
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
        let calls_max = self.options.calls_max;
        let name = format!("{}-{}-most", system.name(), system.path());
        let contender = self.start(system, calls_max, &name)?;
        self.source.run(calls_max.min(PROBE_FIRST), WARM_UP)?;
        // Kept free for the row at half load, which ends the search.
        let reserve = WARM_UP + self.options.measure + AROUND / 2;
        let mut search = Search::new(calls_max);
        while let Some(calls) = search.next() {
            if until.saturating_since(self.clock.now()) < reserve + PROBE * 2 {
                search.stop();
                break;
            }
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
            let round = self.observe(&contender, half)?;
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

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Lossy,
    /// The generator could not offer so much.
    TooMuchToOffer,
}

impl Verdict {
    fn of(outcome: &Outcome) -> Self {
        if !outcome.kept_pace() {
            Self::TooMuchToOffer
        } else if outcome.is_lossless() {
            Self::Whole
        } else {
            Self::Lossy
        }
    }
}

/// Doubles until something is lost, then halves the difference.
#[derive(Debug)]
struct Search {
    calls_max: u32,
    whole: u32,
    /// The least that failed, and how.
    failed: Option<(u32, Verdict)>,
    is_stopped: bool,
}

impl Search {
    fn new(calls_max: u32) -> Self {
        Self {
            calls_max,
            whole: 0,
            failed: None,
            is_stopped: false,
        }
    }

    fn next(&self) -> Option<u32> {
        match self.failed {
            None if self.whole == 0 => Some(PROBE_FIRST.min(self.calls_max)),
            None if self.whole < self.calls_max => Some((self.whole * 2).min(self.calls_max)),
            None => None,
            Some((failed, _)) if failed - self.whole <= PROBE_STEP => None,
            Some((failed, _)) => Some(self.whole + (failed - self.whole) / 2),
        }
    }

    fn take(&mut self, calls: u32, verdict: Verdict) {
        if verdict == Verdict::Whole {
            self.whole = self.whole.max(calls);
        } else {
            self.failed = Some((calls, verdict));
        }
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn ceiling(&self) -> Ceiling {
        let limit = match self.failed {
            _ if self.is_stopped => Limit::Time,
            Some((_, Verdict::TooMuchToOffer)) => Limit::Generator,
            Some(_) => Limit::Relay,
            None => Limit::Trial,
        };
        Ceiling {
            calls: self.whole,
            limit,
        }
    }
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
        let bar = |row: &Row, value: f64, range: [f64; 2]| Bar {
            label: format!("{} {}, {} calls", row.system, row.path, row.calls),
            value,
            range,
            is_ours: row.system == "ringpath",
        };
        let cpu: Vec<Bar> = self
            .rows
            .iter()
            .map(|row| bar(row, row.cpu_ns_per_packet, row.cpu_ns_per_packet_range))
            .collect();
        write(
            "relay-cpu.svg",
            chart::bars("CPU a packet, median and range", "ns", &cpu),
        )?;
        let latency: Vec<Bar> = self
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

#[cfg(test)]
mod tests {
    use super::*;

    fn search(calls_max: u32, probe: impl Fn(u32) -> Verdict) -> Ceiling {
        let mut search = Search::new(calls_max);
        let mut probes = 0;
        while let Some(calls) = search.next() {
            search.take(calls, probe(calls));
            probes += 1;
            assert!(probes < 20, "{search:?}");
        }
        search.ceiling()
    }

    #[test]
    fn the_most_calls_are_found_from_below() {
        for most in [0, 1, 99, 100, 512, 777, 1_599] {
            let found = search(1_600, |calls| {
                if calls <= most {
                    Verdict::Whole
                } else {
                    Verdict::Lossy
                }
            });
            assert_eq!(found.limit, Limit::Relay);
            assert!(
                found.calls <= most && most - found.calls <= PROBE_STEP,
                "{most}: {found:?}"
            );
        }
    }

    #[test]
    fn what_ended_the_search_is_said() {
        let all = search(1_600, |_| Verdict::Whole);
        assert_eq!((all.calls, all.limit), (1_600, Limit::Trial));
        let offered = search(1_600, |calls| {
            if calls <= 900 {
                Verdict::Whole
            } else {
                Verdict::TooMuchToOffer
            }
        });
        assert_eq!(offered.limit, Limit::Generator);
        let mut stopped = Search::new(100);
        stopped.stop();
        assert_eq!(stopped.ceiling().limit, Limit::Time);
    }
}
