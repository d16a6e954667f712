//! Calls with speech both ways through both planes, and what came of them: `make demo` and `make load`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ops::clock::MonotonicClock;
use sans_io::Random;

use crate::call_log::CallLog;
use crate::node_client::Held;
use crate::plane::Plane;
use crate::report::{PlaneLoad, Report, Times};
use crate::sipp::Script;
use crate::speech::{PTIME_MS, Speech};
use crate::speech_calls::{Prepared, SpeechCalls};
use crate::stand::{Stand, StandOptions};

/// Calls of SIPp to SIPp that show what of the set-up time is SIPp's own.
const CALLS_ALONE: u32 = 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct TrialOptions {
    /// The folder under `target`, and the name in the report.
    pub name: String,
    /// Calls.
    pub calls: u32,
    /// Calls started a second.
    pub rate: u32,
    /// Speech each way in each call.
    pub talk: Duration,
    /// `auto`, `uring` or `socket`.
    pub backend: String,
    /// Where logs, tables and the report go. Emptied first.
    pub folder: PathBuf,
    /// Of SSRCs, sequence numbers and timestamps.
    pub seed: u64,
}

/// Runs it. An error is something that went wrong around the calls; failed calls and lost packets are in the report.
pub fn run(options: &TrialOptions) -> anyhow::Result<Report> {
    let clock = MonotonicClock::start();
    if options.folder.exists() {
        fs::remove_dir_all(&options.folder)?;
    }
    fs::create_dir_all(&options.folder)?;
    let folder = fs::canonicalize(&options.folder)?;
    let speech = Arc::new(Speech::load()?);

    let mut stand = Stand::start(
        &StandOptions {
            nodes: vec![options.calls.max(100) * 2],
            backend: options.backend.clone(),
            ..StandOptions::default()
        },
        &folder,
    )?;
    let prepared = Prepared::new(&mut stand, options.calls, "speech")?;
    let alone = set_up_alone(&mut stand, &prepared, options)?;

    let idle = loads(&stand)?;
    let started = clock.now();
    let mut random = Random::from_number(options.seed);
    let mut calls = SpeechCalls::start(
        &mut stand,
        prepared,
        &speech,
        options.rate,
        options.talk,
        &mut random,
    )?;
    calls.follow_to_the_end(&mut stand)?;
    let (caller, callee) = (calls.caller.tally()?, calls.callee.tally().unwrap_or_default());
    let (set_up_ms, outcome) = calls.finish()?;
    let busy = loads(&stand)?;
    let seconds = clock.now().saturating_since(started).as_secs_f64();

    let description = stand.node_client(0)?.describe()?;
    fs::write(folder.join("media-1.metrics"), stand.node_metrics(0)?.text())?;
    fs::write(folder.join("control.metrics"), stand.control_metrics()?.text())?;
    let held = match stand.wait_until_quiet(Duration::from_secs(10)) {
        Ok(()) => Held::default(),
        Err(_) => stand.held()?,
    };
    let cdrs = if held == Held::default() {
        stand.finish().context("after the calls")?
    } else {
        stand.cdrs()?
    };

    let packets = (options.talk.as_millis() as u64 / PTIME_MS) as i64;
    let mut report = Report {
        name: options.name.clone(),
        calls: options.calls.into(),
        talk_s: options.talk.as_secs_f64(),
        rate_per_s: options.rate,
        seed: options.seed,
        backend: description.backend,
        backend_reason: description.backend_reason,
        held_after: held,
        cdrs: cdrs.len() as u64,
        cdrs_answered: cdrs
            .iter()
            .filter(|cdr| cdr.answered && cdr.status == Some(200))
            .count() as u64,
        cdrs_whole: cdrs
            .iter()
            .filter(|cdr| cdr.packets == [Some(packets); 2] && cdr.lost == [Some(0); 2])
            .count() as u64,
        retransmissions: caller.retransmissions + callee.retransmissions,
        planes: busy.since(&idle, seconds),
        ..Report::default()
    };
    report.set_set_up(&set_up_ms, &alone);
    report.set_media(&outcome);
    let passed = [
        caller.successful,
        callee.successful,
        report.calls_with_whole_speech,
    ];
    let passed = passed.into_iter().min().unwrap_or_default();
    report.calls_failed = u64::from(options.calls).saturating_sub(passed);
    Ok(report)
}

/// Writes the report as `report.json` into the run's folder.
pub fn write_report(report: &Report, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(report)? + "\n")?;
    Ok(path)
}

/// Set-up times of the same scenario from SIPp straight to SIPp.
fn set_up_alone(stand: &mut Stand, prepared: &Prepared, options: &TrialOptions) -> anyhow::Result<Vec<f64>> {
    const WITHIN: Duration = Duration::from_secs(20);
    let calls = CALLS_ALONE.min(options.calls);
    let callee = prepared.callee(stand, calls);
    let caller = Script {
        remote: Some(callee.local),
        rate: options.rate.max(20),
        talk: Duration::from_millis(10),
        ..prepared.caller(stand, calls)
    };
    let mut callee = stand.run(&callee)?;
    let mut caller = stand.run(&caller)?;
    caller.finish(WITHIN)?;
    callee.finish(WITHIN)?;
    let mut times = Times::default();
    for entry in CallLog::new(caller.call_log()).read()? {
        times.take(&entry);
    }
    Ok(times.set_up_ms())
}

/// Processor time and memory of both planes.
#[derive(Clone, Debug, Default)]
struct Loads {
    dataplane: (Duration, u64),
    control: (Duration, u64),
}

fn loads(stand: &Stand) -> anyhow::Result<Loads> {
    let of = |plane: &Plane| Ok::<_, anyhow::Error>((plane.cpu_time()?, plane.resident_bytes()?));
    Ok(Loads {
        dataplane: of(&stand.nodes[0])?,
        control: of(&stand.control)?,
    })
}

impl Loads {
    fn since(&self, idle: &Self, seconds: f64) -> [PlaneLoad; 2] {
        let of = |name: &str, busy: (Duration, u64), idle: (Duration, u64)| PlaneLoad {
            plane: name.to_owned(),
            cpu_s: (busy.0.saturating_sub(idle.0)).as_secs_f64(),
            cpu_share: (busy.0.saturating_sub(idle.0)).as_secs_f64() / seconds,
            resident_bytes_idle: idle.1,
            resident_bytes: busy.1,
        };
        [
            of("dataplane", self.dataplane, idle.dataplane),
            of("control", self.control, idle.control),
        ]
    }
}
