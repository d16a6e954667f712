//! The run: servers take turns at every rate, until each one's ceiling is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::host::Host;
use crate::relay::privilege::allowed_cores;
use crate::sip_load::attempt::{Offer, Outcome};
use crate::sip_load::ceiling::Ceiling;
use crate::sip_load::contender::{Contender, Place, System, has_kamailio, kamailio_version};
use crate::sip_load::row::{Metric, Row};
use crate::wait;

/// Runs in which the ceiling must hold.
const RUNS: usize = 3;
/// Between two runs at a server, for what the first left.
const REST: Duration = Duration::from_millis(300);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first rate, in calls a second.
    pub first: u32,
    /// How exactly the ceiling is looked for.
    pub step: u32,
    /// The highest rate.
    pub rate_max: u32,
    /// Of one run.
    pub duration: Duration,
    /// Whether the search with media on a media node is made, too.
    pub with_media: bool,
    /// Folder of results.
    pub folder: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of measurement.
    pub rows: Vec<Row>,
    /// What limits, and what is missing.
    pub notes: Vec<String>,
}

/// One server with its search.
struct Candidate {
    system: System,
    with_media: bool,
    contender: Contender,
    server: std::net::SocketAddr,
    ceiling: Ceiling,
    /// All runs, in order.
    outcomes: Vec<Outcome>,
}

/// Measures, and writes `sip.json` to the folder. The calling thread must outlive the run.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let cores = allowed_cores()?;
    ensure!(
        cores.len() > 1,
        "two cores are needed: one for the server, one for the load"
    );
    let (load, server) = (cores[0], cores[cores.len() - 1]);
    let logs = options.folder.join("sip");
    fs::create_dir_all(&logs)?;
    let logs = fs::canonicalize(&logs)?;
    let mut host = Host::reserve()?;
    let parties = [host.address()?, host.address()?];
    let mut report = Report::default();
    let mut first = vec![System::Ringpath];
    if has_kamailio() {
        first.push(System::Kamailio);
        report.notes.push(format!("Kamailio: {}.", kamailio_version()?));
    } else {
        report
            .notes
            .push("Kamailio is not installed (`make bench-bootstrap`): its rows are missing.".to_owned());
    }
    // Servers that wait for their turn take nothing worth the name.
    let mut candidates = Vec::new();
    for system in first {
        candidates.push(candidate(
            system, false, options, &mut host, server, parties[1], &logs,
        )?);
    }
    search(&mut candidates, options, parties, load, &logs)?;
    tell(&candidates, &mut report);
    for candidate in candidates {
        candidate.contender.stop()?;
    }
    if options.with_media {
        let mut media = vec![candidate(
            System::Ringpath,
            true,
            options,
            &mut host,
            server,
            parties[1],
            &logs,
        )?];
        search(&mut media, options, parties, load, &logs)?;
        tell(&media, &mut report);
        for candidate in media {
            candidate.contender.stop()?;
        }
    }
    report.notes.push(
        "Not measured by this run: register_plain_per_s, register_digest_per_s, bytes_per_registration, \
         bytes_per_call_in_flight, bytes_per_held_call, goodput_share_at_150_percent, added_setup_ms_p50, added_setup_ms_p99."
            .to_owned(),
    );
    let text = serde_json::to_string_pretty(&report.rows)? + "\n";
    fs::write(options.folder.join("sip.json"), text)?;
    Ok(report)
}

fn candidate(
    system: System,
    with_media: bool,
    options: &Options,
    host: &mut Host,
    core: usize,
    callee: std::net::SocketAddr,
    logs: &Path,
) -> anyhow::Result<Candidate> {
    let sip = host.address()?;
    let name = if with_media {
        "ringpath-media"
    } else {
        system.name()
    };
    let folder = logs.join(name);
    fs::create_dir_all(&folder)?;
    let place = Place {
        core,
        sip,
        callee,
        spare: [host.address()?, host.address()?, host.address()?],
        folder: &folder,
    };
    let contender =
        Contender::start(system, with_media, &place).with_context(|| format!("starting {name}"))?;
    let first = if with_media {
        options.first / 2
    } else {
        options.first
    };
    Ok(Candidate {
        system,
        with_media,
        contender,
        server: sip,
        ceiling: Ceiling::new(first.max(1), options.step, options.rate_max, RUNS),
        outcomes: Vec::new(),
    })
}

/// In turns, so that what else the machine does meets all alike.
fn search(
    candidates: &mut [Candidate],
    options: &Options,
    parties: [std::net::SocketAddr; 2],
    load: usize,
    logs: &Path,
) -> anyhow::Result<()> {
    loop {
        let mut is_over = true;
        for candidate in candidates.iter_mut() {
            let Some(rate) = candidate.ceiling.next_rate() else {
                continue;
            };
            is_over = false;
            let offer = Offer {
                core: load,
                parties,
                server: candidate.server,
                rate,
                duration: options.duration,
                folder: logs,
            };
            let outcome = offer.run(&candidate.contender)?;
            println!(
                "{:<9}{} {rate:>6}/s: {} of {} calls, {} retransmissions, {:.0} begun a second, {:.0} us a call; busy: server {:.0} %, load {:.0} %",
                candidate.system.name(),
                if candidate.with_media { " with media" } else { "" },
                outcome.tally.successful,
                outcome.calls,
                outcome.tally.retransmissions,
                outcome.pace,
                outcome.cpu_us_per_call,
                outcome.busy[0] * 100.0,
                outcome.busy[1] * 100.0,
            );
            candidate.ceiling.take(outcome.holds());
            candidate.outcomes.push(outcome);
            // What a server that collapsed still has to do would be the next one's burden.
            wait::pass(if outcome.holds() { REST } else { REST * 10 });
        }
        if is_over {
            return Ok(());
        }
    }
}

fn tell(candidates: &[Candidate], report: &mut Report) {
    for candidate in candidates {
        let (metric, name) = match candidate.with_media {
            true => (Metric::CpsWithMedia, "with media"),
            false => (Metric::CpsSignalling, "signalling"),
        };
        let system = candidate.system.name();
        let Some(rate) = candidate.ceiling.rate() else {
            report.notes.push(format!(
                "{system}, {name}: no rate held in {RUNS} of {RUNS} runs; no row."
            ));
            continue;
        };
        let held: Vec<&Outcome> = candidate
            .outcomes
            .iter()
            .filter(|outcome| outcome.rate == rate && outcome.holds())
            .collect();
        let values = |of: fn(&Outcome) -> f64| held.iter().map(|outcome| of(outcome)).collect::<Vec<_>>();
        report.rows.extend(
            Row::of(candidate.system, metric, values(|outcome| outcome.pace)).map(|row| Row {
                value: f64::from(rate),
                ..row
            }),
        );
        if !candidate.with_media {
            let cpu = values(|outcome| outcome.cpu_us_per_call);
            report
                .rows
                .extend(Row::of(candidate.system, Metric::CpuUsPerCall, cpu));
        }
        report.notes.push(limit(candidate, name));
    }
}

/// What keeps the ceiling from being higher.
fn limit(candidate: &Candidate, name: &str) -> String {
    let system = candidate.system.name();
    let Some(failed) = candidate
        .outcomes
        .iter()
        .rev()
        .find(|outcome| !outcome.holds())
        .filter(|_| candidate.ceiling.is_limited())
    else {
        return format!("{system}, {name}: nothing above was tried.");
    };
    let [server, load] = failed.busy.map(|share| share * 100.0);
    let what = if !failed.kept_pace() || load > server {
        "the load"
    } else {
        "the server"
    };
    format!(
        "{system}, {name}: at {}/s {} of {} calls failed with the server's processes {server:.0} % and the load's {load:.0} % of a core busy: {what} limits.",
        failed.rate, failed.tally.failed, failed.calls
    )
}
