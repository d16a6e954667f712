//! Churn against a real media node (`make soak`): waves of calls that are set up, have media, are held and resumed, and end by
//! being deleted or by their lease. Every packet that is sent into a call that is open and not held has to arrive, and none of
//! those that are sent into one that is held. After each wave everything that calls took has to be back.

mod holdings;

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
use crate::endpoint::Faults;
use crate::ground::Ground;
use crate::node_client::{Held, NodeClient, path_of};
use crate::plane::{NodeOptions, Plane};
use crate::relay::contender::faces_of;
use crate::relay::drops::Drops;
use crate::relay::generator::Outcome;
use crate::wait;

pub use holdings::Holdings;

/// Calls of a wave; of these the first ones that are held for a while, and the last ones that nobody deletes.
const CALLS: u32 = 300;
const HELD: u32 = 100;
const ABANDONED: u32 = 100;
/// The lease of the abandoned: they outlast the media of their wave, and not by much.
const LEASE: Duration = Duration::from_secs(8);
/// In which a call with packets is on the kernel path.
const KERNEL_WITHIN: Duration = Duration::from_secs(2);
/// Of packets, which the kernel says that it dropped on the way to the node or from it: beyond this the machine is too busy for
/// the soak to show anything.
const DROPPED_PERCENT: u64 = 1;
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
    let (ground, note) = Ground::make(CALLS, &logs)?;
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
        let media = Media::new(&outcome, held, dropped);
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

/// What came of one sending, of which a part went into held calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Media {
    sent: u64,
    sent_held: u64,
    dropped_outside: u64,
}

impl Media {
    /// Every stream has sent as many packets.
    fn new(outcome: &Outcome, held: u32, dropped: Drops) -> Self {
        let sent_held = outcome.sent / u64::from(CALLS) * u64::from(held);
        Self {
            sent: outcome.sent - sent_held,
            sent_held,
            dropped_outside: dropped.veth_relay + dropped.veth_load + dropped.load_sockets,
        }
    }

    /// What is wrong with what arrived.
    fn fault(&self, outcome: &Outcome) -> Option<String> {
        let received = outcome.received;
        let missing = self.sent.saturating_sub(received);
        if outcome.duplicates > 0 || outcome.faults != Faults::default() {
            Some(format!("{} duplicates, {:?}", outcome.duplicates, outcome.faults))
        } else if received > self.sent {
            Some(format!(
                "{received} packets arrived of the {} that were sent into calls that are not held",
                self.sent
            ))
        } else if missing > self.dropped_outside {
            Some(format!(
                "of {} packets {missing} did not arrive, and the kernel dropped {} outside of the node",
                self.sent, self.dropped_outside
            ))
        } else if missing * 100 > self.sent * DROPPED_PERCENT {
            Some(format!(
                "of {} packets the kernel dropped {missing} outside of the node: the machine is too busy for a soak",
                self.sent
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;

    fn outcome(sent: u64, received: u64) -> Outcome {
        let none = || Histogram::new_with_bounds(1, 1_000, 2).unwrap();
        Outcome {
            sent,
            received,
            lost: sent - received,
            duplicates: 0,
            reordered: 0,
            faults: Faults::default(),
            latency_us: none(),
            jitter_us: none(),
            send_late_us: none(),
            sending: Duration::ZERO,
            planned: Duration::ZERO,
            holds: 0,
        }
    }

    fn fault(sent: u64, received: u64, held: u32, veth_relay: u64, relay_sockets: u64) -> Option<String> {
        let outcome = outcome(sent, received);
        let dropped = Drops {
            veth_relay,
            relay_sockets,
            ..Drops::default()
        };
        Media::new(&outcome, held, dropped).fault(&outcome)
    }

    #[test]
    fn every_packet_of_a_call_that_is_not_held_has_to_arrive() {
        assert_eq!(fault(6_000, 6_000, 0, 0, 0), None);
        assert!(fault(6_000, 5_999, 0, 0, 0).unwrap().contains("1 did not arrive"));
        assert_eq!(fault(6_000, 4_000, HELD, 0, 0), None);
        assert!(fault(6_000, 3_999, HELD, 0, 0).is_some());
        assert!(fault(6_000, 4_001, HELD, 0, 0).is_some(), "a held call was heard");
    }

    #[test]
    fn only_what_was_dropped_outside_of_the_node_is_allowed_for_and_only_so_much() {
        assert_eq!(fault(6_000, 5_990, 0, 10, 0), None);
        assert!(
            fault(6_000, 5_990, 0, 0, 10).is_some(),
            "a full socket is the node's"
        );
        assert!(fault(6_000, 5_000, 0, 1_000, 0).unwrap().contains("too busy"));
    }
}
