//! Calls with speech both ways through both planes, and what came of them: `make demo` and `make load`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ops::clock::MonotonicClock;
use sans_io::Random;

use crate::call_log::{CallLog, Entry};
use crate::endpoint::EndpointSockets;
use crate::node_client::Held;
use crate::report::{PlaneLoad, Report, Times};
use crate::sipp::{Script, Sipp, Tally};
use crate::speech::{Law, PTIME_MS, Speech};
use crate::stand::{Stand, StandOptions};
use crate::talk::{Pair, Talk};
use crate::wait;

const SCENARIO: &str = "basic-call/answer";
/// The caller hangs up this long after the last packet is due, so that none is on its way when the ports are closed.
const HANG_UP_AFTER: Duration = Duration::from_millis(2_000);
/// Calls of SIPp to SIPp that show what of the set-up time is SIPp's own.
const CALLS_ALONE: u32 = 20;
/// Number that call 0 dials.
const FIRST_NUMBER: usize = 100_000;

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
    let pairs = pairs(&mut stand, options.calls)?;
    write_fields(&folder, &pairs)?;
    let alone = set_up_alone(&mut stand, options)?;

    let idle = loads(&stand)?;
    let started = clock.now();
    let packets = options.talk.as_millis() as u64 / PTIME_MS;
    let talk = Talk::start(pairs, speech, packets, &mut Random::from_number(options.seed))?;
    let mut callee = stand.run(&Script {
        fields: Some("callee.csv"),
        ..stand.callee(SCENARIO, options.calls)
    })?;
    let mut caller = stand.run(&Script {
        fields: Some("caller.csv"),
        rate: options.rate,
        talk: options.talk + HANG_UP_AFTER,
        ..stand.caller(SCENARIO, options.calls)
    })?;
    let followed = follow(&mut stand, &mut caller, &mut callee, options, &talk)?;
    let outcome = talk.finish(Duration::from_secs(2))?;
    let busy = loads(&stand)?;
    let seconds = clock.now().saturating_since(started).as_secs_f64();

    let description = stand.node_client(0)?.describe()?;
    let held = match stand.wait_until_quiet(Duration::from_secs(10)) {
        Ok(()) => Held::default(),
        Err(_) => stand.held()?,
    };
    let cdrs = if held == Held::default() {
        stand.finish().context("after the calls")?
    } else {
        stand.cdrs()?
    };

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
        retransmissions: followed.caller.retransmissions + followed.callee.retransmissions,
        planes: busy.since(&idle, seconds),
        ..Report::default()
    };
    report.set_set_up(followed.set_up_ms, alone);
    report.set_media(&outcome);
    let heard = report.calls_with_whole_speech;
    let passed = followed
        .caller
        .successful
        .min(followed.callee.successful)
        .min(heard);
    report.calls_failed = u64::from(options.calls).saturating_sub(passed);
    Ok(report)
}

/// Writes the report as `report.json` into the run's folder.
pub fn write_report(report: &Report, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(report)? + "\n")?;
    Ok(path)
}

/// A pair of endpoints a call; A-law and µ-law take turns.
fn pairs(stand: &mut Stand, calls: u32) -> anyhow::Result<Vec<Pair>> {
    (0..calls)
        .map(|call| {
            let host = stand.host();
            let sockets = [EndpointSockets::bind(host)?, EndpointSockets::bind(host)?];
            let law = if call % 2 == 0 { Law::A } else { Law::Mu };
            Ok(Pair { sockets, law })
        })
        .collect()
}

/// The fields of the scenario: the caller's name, port and number, and the callee's port by the number.
fn write_fields(folder: &Path, pairs: &[Pair]) -> anyhow::Result<()> {
    let (mut caller, mut callee) = ("SEQUENTIAL\n".to_owned(), "SEQUENTIAL\n".to_owned());
    for (call, pair) in pairs.iter().enumerate() {
        let number = FIRST_NUMBER + call;
        let (payload_type, encoding) = (pair.law.payload_type(), pair.law.encoding());
        let [calls, answers] = [pair.sockets[0].local().port(), pair.sockets[1].local().port()];
        writeln!(caller, "{call};{calls};{number};{payload_type};{encoding}")?;
        writeln!(callee, "{number};{answers};{payload_type};{encoding}")?;
    }
    fs::write(folder.join("caller.csv"), caller)?;
    fs::write(folder.join("callee.csv"), callee)?;
    Ok(())
}

/// Set-up times of the same scenario from SIPp straight to SIPp.
fn set_up_alone(stand: &mut Stand, options: &TrialOptions) -> anyhow::Result<Vec<f64>> {
    let calls = CALLS_ALONE.min(options.calls);
    let talk = Duration::from_millis(10);
    let callee = stand.callee(SCENARIO, calls);
    let mut direct = stand.caller(SCENARIO, calls);
    direct.remote = Some(callee.local);
    let mut answering = stand.run(&Script {
        fields: Some("callee.csv"),
        ..callee
    })?;
    let mut calling = stand.run(&Script {
        fields: Some("caller.csv"),
        rate: options.rate.max(20),
        talk,
        ..direct
    })?;
    calling.finish(Duration::from_secs(20))?;
    answering.finish(Duration::from_secs(20))?;
    let mut times = Times::default();
    for entry in CallLog::new(calling.call_log()).read()? {
        times.take(&entry);
    }
    Ok(times.set_up_ms())
}

struct Followed {
    set_up_ms: Vec<f64>,
    caller: Tally,
    callee: Tally,
}

/// Reads what SIPp logs, and directs the endpoints by it, until both have ended.
fn follow(
    stand: &mut Stand,
    caller: &mut Sipp,
    callee: &mut Sipp,
    options: &TrialOptions,
    talk: &Talk,
) -> anyhow::Result<Followed> {
    let calls = options.calls;
    let within = Duration::from_secs(u64::from(calls / options.rate) + 60) + options.talk + HANG_UP_AFTER;
    let numbers: HashMap<String, usize> = (0..calls as usize)
        .map(|call| ((FIRST_NUMBER + call).to_string(), call))
        .collect();
    let mut logs = [CallLog::new(caller.call_log()), CallLog::new(callee.call_log())];
    let mut times = Times::default();
    let waited = wait::until_true("all calls to end", within, || {
        let running = caller.process().is_running()? || callee.process().is_running()?;
        for entry in logs[0].read()? {
            times.take(&entry);
            if let Entry::Talk { call, to } = entry {
                direct(talk, call.parse()?, 0, to)?;
            }
        }
        for entry in logs[1].read()? {
            if let Entry::Talk { call, to } = entry {
                let call = numbers
                    .get(&call)
                    .with_context(|| format!("the callee was asked for {call}"))?;
                direct(talk, *call, 1, to)?;
            }
        }
        ensure!(
            stand.control.process().is_running()?,
            "the control plane ended\n{}",
            stand.control.process().tail()
        );
        ensure!(
            stand.nodes[0].process().is_running()?,
            "the media node ended\n{}",
            stand.nodes[0].process().tail()
        );
        // A caller that has ended with failed calls leaves a callee that waits for more.
        Ok(!running || (!caller.process().is_running()? && caller.tally()?.failed > 0))
    });
    if waited.is_err() || callee.process().is_running()? {
        eprintln!("{}\n{}", caller.complaint(), callee.complaint());
        caller.process().kill()?;
        callee.process().kill()?;
    }
    waited?;
    Ok(Followed {
        set_up_ms: times.set_up_ms(),
        caller: caller.tally()?,
        callee: callee.tally().unwrap_or_default(),
    })
}

fn direct(talk: &Talk, call: usize, side: usize, to: SocketAddr) -> anyhow::Result<()> {
    talk.direct(call * 2 + side, to)
}

/// Processor time and memory of both planes.
#[derive(Clone, Debug, Default)]
struct Loads {
    dataplane: (Duration, u64),
    control: (Duration, u64),
}

fn loads(stand: &Stand) -> anyhow::Result<Loads> {
    let of =
        |plane: &crate::plane::Plane| Ok::<_, anyhow::Error>((plane.cpu_time()?, plane.resident_bytes()?));
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
