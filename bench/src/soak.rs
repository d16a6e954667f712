//! Churn against a real media node (`make soak`): waves of calls that are set up, have media, are held and resumed, and end by
//! being deleted or by their lease. After each wave everything that calls took has to be back.

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
use crate::node_client::{Held, NodeClient};
use crate::plane::{NodeOptions, Plane};
use crate::relay::contender::faces_of;
use crate::wait;

/// Calls of a wave, and of these the ones that nobody deletes.
const CALLS: u32 = 300;
const ABANDONED: u32 = 100;
/// The lease of the abandoned: they outlast the media of their wave, and not by much.
const LEASE_MS: u64 = 4_000;
/// In which everything has to be back after a wave: the lease, a turn of whoever looks for ended leases, and some.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// In which ports are free after the last call: they rest for 5 s, and those that were held by others for 60 s.
const PORTS_WITHIN: Duration = Duration::from_secs(70);
/// Waves before the one with which later ones are compared: by then the node remembers about as many deleted calls as it ever
/// does (`limits.tombstones_max`), and allocators have what they need.
const WARM_UP_WAVES: u32 = 4;
/// What resident memory may be above that of the first wave: a share, and at least so much.
const GROWTH_PERCENT: u64 = 8;
const GROWTH_BYTES: u64 = 3 << 20;

/// What a node holds when it has no call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open files, sockets among them.
    pub files: u64,
    /// Entries of BPF maps, by name and number.
    pub map_entries: BTreeMap<String, u64>,
}

/// What a soak found.
#[derive(Clone, Debug, Serialize)]
pub struct SoakReport {
    /// Waves after the warm-up.
    pub waves: u32,
    /// Calls, warm-up included.
    pub calls: u64,
    /// Packets that were sent and that arrived.
    pub sent: u64,
    /// See `sent`.
    pub received: u64,
    /// Lines that were seen on each path while media flowed.
    pub lines_by_path: BTreeMap<String, u64>,
    /// After the warm-up.
    pub before: Holdings,
    /// At the end.
    pub after: Holdings,
    /// What is not back; empty when all is well.
    pub failures: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} calls in {} waves; {} packets sent, {} received; lines by path {:?}",
            self.calls, self.waves, self.sent, self.received, self.lines_by_path
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
            writeln!(f, "NOT BACK: {failure}")?;
        }
        Ok(())
    }
}

impl Holdings {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        // Without the privilege to look at maps there are none of the node either.
        let maps = ebpf::maps_of(pid).unwrap_or_default();
        Ok(Self {
            resident_bytes: crate::usage::resident_bytes(pid)?,
            files,
            map_entries: maps
                .into_iter()
                .filter_map(|(id, map)| Some((format!("{}/{id}", map.name), map.entries?)))
                .collect(),
        })
    }

    /// What there is more of, or fewer, than there was; memory apart.
    fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.files != before.files {
            found.push(format!("{} open files were {}", self.files, before.files));
        }
        if self.map_entries != before.map_entries {
            found.push(format!(
                "entries of BPF maps {:?} were {:?}",
                self.map_entries, before.map_entries
            ));
        }
        found
    }

    /// Whether resident memory has grown beyond what allocators do.
    fn growth(&self, before: &Self) -> Option<String> {
        let allowed = before.resident_bytes + GROWTH_BYTES.max(before.resident_bytes * GROWTH_PERCENT / 100);
        (self.resident_bytes > allowed).then(|| {
            format!(
                "{} bytes of resident memory were {}",
                self.resident_bytes, before.resident_bytes
            )
        })
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
    /// One wave: set-up, media, hold, resume, media, and the end of those that are not abandoned.
    fn wave(&mut self) -> anyhow::Result<()> {
        self.wave += 1;
        let parties = self.ground.load.parties();
        let mut client = NodeClient::connect(self.grpc)?;
        let mut faces = Vec::new();
        for call in 0..CALLS {
            let mut request = call_request::plain(&self.name(call), parties);
            if is_abandoned(call) {
                request.lease_ms = LEASE_MS;
            }
            faces.push(faces_of(&client.create(request)?)?);
        }
        drop(client);
        self.ground.load.direct(&faces)?;
        self.media(600)?;
        let mut client = NodeClient::connect(self.grpc)?;
        for call in (0..CALLS).filter(|call| !is_abandoned(*call)) {
            for line in client
                .query(&self.name(call))?
                .legs
                .iter()
                .flat_map(|leg| &leg.lines)
            {
                let path = line.path().as_str_name().to_owned();
                *self.report.lines_by_path.entry(path).or_default() += 1;
            }
            if call % 2 == 0 {
                for direction in [pb::Direction::Inactive, pb::Direction::Sendrecv] {
                    let name = self.name(call);
                    client.update(call_request::update(&name, parties, direction))?;
                }
            }
        }
        drop(client);
        self.media(300)?;
        let mut client = NodeClient::connect(self.grpc)?;
        for call in (0..CALLS).filter(|call| !is_abandoned(*call)) {
            client.delete(&self.name(call))?;
        }
        self.report.calls += u64::from(CALLS);
        Ok(())
    }

    fn media(&mut self, milliseconds: u64) -> anyhow::Result<()> {
        let outcome = self.ground.load.run(CALLS, Duration::from_millis(milliseconds))?;
        self.report.sent += outcome.sent;
        self.report.received += outcome.received;
        ensure!(
            outcome.received > outcome.sent / 2,
            "of {} packets {} arrived",
            outcome.sent,
            outcome.received
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_back_is_named() {
        let before = Holdings {
            resident_bytes: 20 << 20,
            files: 12,
            map_entries: BTreeMap::from([("flows/1".to_owned(), 0)]),
        };
        assert!(before.differences(&before).is_empty() && before.growth(&before).is_none());
        let after = Holdings {
            resident_bytes: 30 << 20,
            files: 13,
            map_entries: BTreeMap::from([("flows/1".to_owned(), 2)]),
        };
        let said = after.differences(&before).join("; ");
        assert!(
            said.contains("13 open files were 12") && said.contains("flows"),
            "{said}"
        );
        assert!(after.growth(&before).is_some());
    }
}
