//! Churn against a real media node (`make soak`): waves of calls that are set up, have media, are held and resumed, and end by
//! being deleted or by their lease. Every packet that is sent into a call that is open and not held has to arrive, and none of
//! those that are sent into one that is held. After each wave everything that calls took has to be back.

mod holdings;
mod media;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ops::clock::MonotonicClock;
use proto::media_v1 as pb;
use serde::Serialize;

use crate::call_request;
use crate::ground::Ground;
use crate::node_client::{Held, NodeClient, path_of};
use crate::plane::{NodeOptions, Plane};
use crate::relay::contender::faces_of;
use crate::relay::load::Kind;
use crate::wait;

pub use holdings::Holdings;
use media::Media;

/// Calls of a wave; of these the first ones that are held for a while, and the last ones that nobody deletes.
const CALLS: u32 = 300;
const HELD: u32 = 100;
const ABANDONED: u32 = 100;
/// The lease of the abandoned: they outlast the media of their wave, and not by much.
const LEASE: Duration = Duration::from_secs(8);
/// In which a call with packets is on the kernel path.
const KERNEL_WITHIN: Duration = Duration::from_secs(2);
/// In which everything has to be back after a wave: the lease, a turn of whoever looks for ended leases, and some.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// In which ports are free after the last call: they rest for 5 s, and those that were held by others for 60 s.
const PORTS_WITHIN: Duration = Duration::from_secs(70);
/// Waves before the one with which later ones are compared: by then the node remembers about as many deleted calls as it ever
/// does (`limits.tombstones_max`), and allocators have what they need.
const WARM_UP_WAVES: u32 = 4;
/// What a soak found.
#[derive(Clone, Debug, Serialize)]
pub struct SoakReport {
    /// Waves after the warm-up.
    pub waves: u32,
    /// Calls, warm-up included.
    pub calls: u64,
    /// Packets sent into calls that were open and not held.
    pub sent: u64,
    /// Of these the ones that arrived.
    pub received: u64,
    /// Of these the ones that the kernel dropped outside of the node: at either end of the veth, and at the load's sockets.
    pub dropped_outside: u64,
    /// Packets sent into calls that were held, of which none may arrive.
    pub sent_held: u64,
    /// Lines that were seen on each path while media flowed.
    pub lines_by_path: BTreeMap<String, u64>,
    /// After the warm-up.
    pub before: Holdings,
    /// At the end.
    pub after: Holdings,
    /// What did not arrive, or is not back; empty when all is well.
    pub failures: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} calls in {} waves; lines by path {:?}",
            self.calls, self.waves, self.lines_by_path
        )?;
        writeln!(
            f,
            "{} packets sent into calls that were not held, {} received, {} dropped outside of the node; {} sent into held calls",
            self.sent, self.received, self.dropped_outside, self.sent_held
        )?;
        writeln!(
            f,
            "resident memory {:.1} MB, then {:.1} MB; files {}, then {}; entries of maps {:?}, then {:?}",
            self.before.resident_bytes as f64 / 1e6,
            self.after.resident_bytes as f64 / 1e6,
            self.before.files,
            self.after.files,
            self.before.map_entries,
            self.after.map_entries
        )?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        Ok(())
    }
}

/// Churns for `duration`, writes `soak.json` to `folder`, and says what is not back. The calling thread may not be used for
/// anything else afterwards.
pub fn run(duration: Duration, folder: &Path) -> anyhow::Result<SoakReport> {
    let logs = folder.join("soak");
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let logs = fs::canonicalize(logs)?;
    let (ground, note) = Ground::make(Kind::Auto, CALLS, &logs)?;
    let listeners = ground.listeners();
    // Ports rest for five seconds after their call.
    let ports = 20_000..=39_999;
    let options = NodeOptions {
        calls_max: CALLS * 2,
        ..NodeOptions::new("media-soak", ground.node, ports, listeners)
    };
    let node = ground.start(&options, &logs)?;
    let mut soak = Soak {
        ground,
        node,
        grpc: options.grpc,
        wave: 0,
        report: SoakReport {
            waves: 0,
            calls: 0,
            sent: 0,
            received: 0,
            dropped_outside: 0,
            sent_held: 0,
            lines_by_path: BTreeMap::new(),
            before: Holdings::default(),
            after: Holdings::default(),
            failures: Vec::new(),
            notes: note.into_iter().collect(),
        },
    };
    let empty = soak.settled(None)?;
    for wave in 1..=WARM_UP_WAVES {
        soak.wave()?;
        soak.settled(Some(&empty))?;
        println!("warm-up {wave} of {WARM_UP_WAVES}");
    }
    soak.report.before = soak.settled(Some(&empty))?;
    let clock = MonotonicClock::start();
    let end = clock.now() + duration;
    while clock.now() < end && soak.report.failures.is_empty() {
        soak.wave()?;
        let before = soak.report.before.clone();
        soak.report.after = soak.settled(Some(&before))?;
        soak.report.failures.extend(soak.report.after.growth(&before));
        soak.report.waves += 1;
        println!(
            "wave {:>4}  {:>7} calls  {:>6.1} MB  {} files",
            soak.report.waves,
            soak.report.calls,
            soak.report.after.resident_bytes as f64 / 1e6,
            soak.report.after.files
        );
    }
    soak.ports_are_free()?;
    let Soak { mut node, report, .. } = soak;
    node.stop()?;
    fs::write(
        folder.join("soak.json"),
        serde_json::to_string_pretty(&report)? + "\n",
    )?;
    Ok(report)
}

struct Soak {
    ground: Ground,
    node: Plane,
    grpc: SocketAddr,
    wave: u32,
    report: SoakReport,
}

impl Soak {
    /// One wave: set-up, media, hold of some, media, resumption, media, and the end of those that are not abandoned.
    fn wave(&mut self) -> anyhow::Result<()> {
        self.wave += 1;
        let parties = self.ground.load.parties();
        let clock = MonotonicClock::start();
        let begun = clock.now();
        let mut client = NodeClient::connect(self.grpc)?;
        let mut faces = Vec::new();
        for call in 0..CALLS {
            let mut request = call_request::plain(&self.name(call), parties);
            if is_abandoned(call) {
                request.lease_ms = LEASE.as_millis() as u64;
            }
            faces.push(faces_of(&client.create(request)?)?);
        }
        drop(client);
        self.ground.load.direct(&faces)?;
        self.media(Duration::from_millis(600), 0)?;
        self.paths()?;
        self.turn(pb::Direction::Inactive)?;
        self.media(Duration::from_millis(200), HELD)?;
        self.turn(pb::Direction::Sendrecv)?;
        self.media(Duration::from_millis(300), 0)?;
        let lasted = clock.now().saturating_since(begun);
        ensure!(
            lasted < LEASE,
            "a wave took {lasted:?}, and the abandoned calls of it have a lease of {LEASE:?}: the machine is too busy for a soak"
        );
        let mut client = NodeClient::connect(self.grpc)?;
        for call in (0..CALLS).filter(|call| !is_abandoned(*call)) {
            client.delete(&self.name(call))?;
        }
        self.report.calls += u64::from(CALLS);
        Ok(())
    }

    /// Sends into all calls, of which the first `held` are held.
    fn media(&mut self, duration: Duration, held: u32) -> anyhow::Result<()> {
        let before = self.ground.drops()?;
        let outcome = self.ground.load.run(CALLS, duration)?;
        let dropped = self.ground.drops()?.since(before);
        let media = Media::new(&outcome, [held, CALLS], dropped);
        self.report.sent += media.sent;
        self.report.sent_held += media.sent_held;
        self.report.received += outcome.received;
        self.report.dropped_outside += media.dropped_outside;
        if let Some(fault) = media.fault(&outcome) {
            let wave = self.wave;
            self.report
                .failures
                .push(format!("wave {wave}, {held} calls held: {fault}"));
        } else if media.dropped_outside > 0 {
            println!(
                "wave {}: of {} packets the kernel dropped {dropped:?}",
                self.wave, outcome.sent
            );
        }
        Ok(())
    }

    /// Counts the paths of all lines, which have had packets; all have to be on the kernel path when the node has it.
    fn paths(&mut self) -> anyhow::Result<()> {
        let mut client = NodeClient::connect(self.grpc)?;
        let has_kernel = path_of(&client.describe()?) == "kernel";
        let clock = MonotonicClock::start();
        let until = clock.now() + KERNEL_WITHIN;
        for call in 0..CALLS {
            let lines = loop {
                let legs = client.query(&self.name(call))?.legs;
                let lines: Vec<_> = legs.into_iter().flat_map(|leg| leg.lines).collect();
                let late = lines
                    .iter()
                    .find(|line| has_kernel && line.path() != pb::Path::Kernel);
                let Some(late) = late else { break lines };
                if clock.now() >= until {
                    self.report.failures.push(format!(
                        "wave {}: a line of call {call} is not on the kernel path: {}",
                        self.wave, late.path_reason
                    ));
                    break lines;
                }
                wait::pass(Duration::from_millis(20));
            };
            for line in lines {
                let path = line.path().as_str_name().to_owned();
                *self.report.lines_by_path.entry(path).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Holds the calls that are held for a while, or takes them back.
    fn turn(&self, direction: pb::Direction) -> anyhow::Result<()> {
        let parties = self.ground.load.parties();
        let mut client = NodeClient::connect(self.grpc)?;
        for call in 0..HELD {
            client.update(call_request::update(&self.name(call), parties, direction))?;
        }
        Ok(())
    }

    /// Waits until the node has no call and what it held in `before`, and gives what it holds; what is not back in time becomes
    /// a failure.
    fn settled(&mut self, before: Option<&Holdings>) -> anyhow::Result<Holdings> {
        let clock = MonotonicClock::start();
        let until = clock.now() + BACK_WITHIN;
        loop {
            let held = NodeClient::connect(self.grpc)?.held()?;
            // The node has seen the end of that connection when its file is gone.
            let now = Holdings::of(self.node.id())?;
            let mut differences = before.map(|before| now.differences(before)).unwrap_or_default();
            if held != Held::default() {
                differences.push(format!("{held:?}"));
            }
            if differences.is_empty() {
                return Ok(now);
            }
            if clock.now() >= until {
                self.report.failures.append(&mut differences);
                return Ok(now);
            }
            wait::pass(Duration::from_millis(100));
        }
    }

    /// The last ports have rested, and those that were put aside are back.
    fn ports_are_free(&mut self) -> anyhow::Result<()> {
        let clock = MonotonicClock::start();
        let until = clock.now() + PORTS_WITHIN;
        loop {
            let capacity = NodeClient::connect(self.grpc)?.describe()?.capacity;
            let capacity = capacity.context("a node has a capacity")?;
            if capacity.port_pairs_free == capacity.port_pairs {
                return Ok(());
            }
            if clock.now() >= until {
                let (free, resting) = (capacity.port_pairs_free, capacity.port_pairs_quarantined);
                let all = capacity.port_pairs;
                self.report
                    .failures
                    .push(format!("of {all} port pairs {free} are free, {resting} rest"));
                return Ok(());
            }
            wait::pass(Duration::from_millis(500));
        }
    }

    fn name(&self, call: u32) -> String {
        format!("soak-{}-{call}", self.wave)
    }
}

/// The last ones of a wave.
const fn is_abandoned(call: u32) -> bool {
    call >= CALLS - ABANDONED
}
