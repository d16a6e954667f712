//! Bytes a call: resident memory of each plane, and the kernel's for the data plane's sockets and BPF maps.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use serde::Serialize;

use crate::call_request;
use crate::ground::Ground;
use crate::node_client::NodeClient;
use crate::plane::NodeOptions;
use crate::relay::contender::{self, faces_of};
use crate::relay::load::Kind;
use crate::sipp::Script;
use crate::stand::{Stand, StandOptions};
use crate::wait;

/// Calls of the second row of a path.
const CALLS_MORE: u32 = 10_000;
/// Sockets of a call without privilege: RTP and RTCP for two legs.
const SOCKETS_A_CALL: u64 = 4;

/// One measurement: from no call to `calls`, on a plane that had just started.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `dataplane` or `control`.
    pub plane: String,
    /// The path of the calls' packets; for the control plane how the calls came about.
    pub path: String,
    /// Calls at once.
    pub calls: u64,
    /// Resident memory of the process with no call.
    pub resident_bytes_idle: u64,
    /// Resident memory of the process with the calls.
    pub resident_bytes: u64,
    /// What the kernel's slab caches grew by on the whole machine: for sockets, files and inodes. Zero for the control
    /// plane, which has one socket whatever the calls.
    pub kernel_bytes: i64,
    /// BPF maps of the process, whole: they are made at its start for `limits.calls_max` calls, which here is one more than
    /// there are.
    pub map_bytes: u64,
    /// UDP sockets more than before.
    pub udp_sockets: i64,
    /// Growth of resident and kernel memory, and the maps, by the number of calls.
    pub bytes_per_call: u64,
    /// Growth of resident memory alone by the number of calls.
    pub process_bytes_per_call: u64,
    /// What each call more takes than in the row of the same path before this one.
    pub slope_bytes_per_call: Option<u64>,
}

/// All rows.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryReport {
    /// In the order of measurement.
    pub rows: Vec<Row>,
    /// What was left out and why.
    pub notes: Vec<String>,
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:<24} {:>6} {:>10} {:>10} {:>12} {:>10} {:>12} {:>12}",
            "plane", "path", "calls", "idle", "process", "process/call", "maps", "all/call", "slope"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<10} {:<24} {:>6} {:>7.1} MB {:>7.1} MB {:>10} B {:>7.1} MB {:>10} B {:>12}",
                row.plane,
                row.path,
                row.calls,
                row.resident_bytes_idle as f64 / 1e6,
                row.resident_bytes as f64 / 1e6,
                row.process_bytes_per_call,
                row.map_bytes as f64 / 1e6,
                row.bytes_per_call,
                row.slope_bytes_per_call
                    .map_or_else(|| "–".to_owned(), |bytes| format!("{bytes} B"))
            )?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

/// Measures `calls` calls, then 10,000 where steering or the limit of open files allows, and writes the rows to `memory.json`
/// in `folder`.
pub fn run(calls: u32, backend: &str, folder: &Path) -> anyhow::Result<MemoryReport> {
    fs::create_dir_all(folder)?;
    for own in ["dataplane", "control"] {
        let own = folder.join(own);
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
    }
    let folder = fs::canonicalize(folder)?;
    let mut report = MemoryReport {
        rows: Vec::new(),
        notes: vec![
            "Data plane: calls over gRPC with two legs, one line each, that have had their first packets both ways; no packet is on its way, so socket buffers are empty.".to_owned(),
            "Control plane: answered calls that SIPp holds; first with the transactions of their set-up, then when these have been forgotten (32 s, RFC 3261).".to_owned(),
        ],
    };
    let (rows, notes) = data_plane(calls, &folder.join("dataplane"))?;
    report.rows.extend(rows);
    report.notes.extend(notes);
    report
        .rows
        .extend(control_plane(calls, backend, &folder.join("control"))?);
    fs::write(
        folder.join("memory.json"),
        serde_json::to_string_pretty(&report.rows)? + "\n",
    )?;
    Ok(report)
}

/// Calls whose sockets the hard limit of open files lets one process have, with a tenth left for everything else.
fn room_for_calls() -> anyhow::Result<u32> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .context("no limit of files")?;
    let hard = line.split_whitespace().nth(4).context("no hard limit")?;
    if hard == "unlimited" {
        return Ok(u32::MAX);
    }
    let files: u64 = hard.parse()?;
    Ok(u32::try_from(files * 9 / 10 / SOCKETS_A_CALL)?)
}

/// Rows of both numbers of calls on each path that privilege allows. Runs in a thread of its own, since that stays where the
/// node is.
fn data_plane(calls: u32, folder: &Path) -> anyhow::Result<(Vec<Row>, Vec<String>)> {
    let folder = folder.to_owned();
    let measuring = std::thread::spawn(move || {
        let (mut ground, hitch) = Ground::make(Kind::Auto, CALLS_MORE.max(calls), &folder)?;
        let mut notes: Vec<String> = hitch.into_iter().collect();
        let paths: &[&str] = if ground.has_interface() && ground.load.is_live() {
            &["uring", "kernel"]
        } else {
            notes.push(
                "Without steering a call takes four sockets, and the kernel path has no row.".to_owned(),
            );
            &["uring-no-steering"]
        };
        let mut rows = Vec::new();
        for path in paths {
            let most = match *path {
                "uring-no-steering" => room_for_calls()?.min(CALLS_MORE),
                _ => CALLS_MORE,
            };
            let few = on_path(&mut ground, path, calls, &folder)?;
            if most > calls {
                let mut many = on_path(&mut ground, path, most, &folder)?;
                let grown = many.bytes().saturating_sub(few.bytes());
                many.slope_bytes_per_call = Some(grown / (many.calls - few.calls));
                rows.extend([few, many]);
            } else {
                notes.push(format!(
                    "The limit of open files leaves room for {most} calls: no second row."
                ));
                rows.push(few);
            }
        }
        anyhow::Ok((rows, notes))
    });
    measuring
        .join()
        .map_err(|_| anyhow!("the measuring thread panicked"))?
}

/// One row: a node with `calls` calls on `path`, each of which has had its first packets both ways.
fn on_path(ground: &mut Ground, path: &str, calls: u32, folder: &Path) -> anyhow::Result<Row> {
    println!("data plane, {path}, {calls} calls");
    let back_end = contender::back_end(path);
    let name = format!("media-{path}-{calls}");
    let ports = contender::ports(calls + 1)?;
    let options = NodeOptions {
        backend: back_end.name.to_owned(),
        steering: back_end.steering,
        xdp_sockets: back_end.xdp_sockets,
        kernel: back_end.kernel,
        calls_max: calls + 1,
        grace: Duration::ZERO,
        ..NodeOptions::new(name, ground.node, ports, ground.listeners())
    };
    let grpc = options.grpc;
    let mut node = ground.start(&options, folder)?;
    let parties = ground.load.parties();
    let mut client = NodeClient::connect(grpc)?;
    // The first call brings what is made once, packet buffers above all; it is not what a call costs.
    let first = faces_of(&client.create(call_request::plain("first", parties))?)?;
    drop(client);
    ground.load.direct(&[first])?;
    if ground.load.flood(1, Duration::from_millis(200))?.is_none() {
        ground.load.run(1, Duration::from_millis(200))?;
    }
    let mut client = NodeClient::connect(grpc)?;
    client.delete("first")?;
    let before = Kernel::read()?;
    let idle = node.resident_bytes()?;
    let faces = (0..calls)
        .map(|call| faces_of(&client.create(call_request::plain(&contender::name(call), parties))?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    drop(client);
    ground.load.direct(&faces)?;
    if path == "kernel" {
        contender::settle(&mut ground.load, grpc, calls)?;
    } else {
        ground.load.begin(calls, 4)?;
    }
    let resident = node.resident_bytes()?;
    let after = Kernel::read()?;
    // Without the privilege to look at maps there are none of the node either.
    let maps = ebpf::maps_of(node.id()).unwrap_or_default();
    node.stop()?;
    Ok(Row {
        map_bytes: maps.values().map(|map| map.bytes).sum(),
        ..row(
            "dataplane",
            path.to_owned(),
            calls,
            idle,
            resident,
            after.slab_bytes - before.slab_bytes,
            after.udp_sockets - before.udp_sockets,
        )
    }
    .counted())
}

fn control_plane(calls: u32, backend: &str, folder: &Path) -> anyhow::Result<[Row; 2]> {
    const RATE: u32 = 100;
    const SCENARIO: &str = "basic-call/callee-hangs-up";
    // Timers H and J of RFC 3261, and some.
    const TRANSACTIONS_LINGER: Duration = Duration::from_secs(36);
    let mut stand = Stand::start(
        &StandOptions {
            nodes: vec![calls * 2],
            backend: backend.to_owned(),
            // These calls have no media, and would be hung up on for it.
            control_extra: "[media]\ntimeout_action = \"ignore\"\n".to_owned(),
            ..StandOptions::default()
        },
        folder,
    )?;
    let set_up = Duration::from_secs(u64::from(calls / RATE) + 1);
    // The first call lasts until all have been looked at twice.
    let talk = set_up + TRANSACTIONS_LINGER + Duration::from_secs(10);
    let mut callee = stand.run(&Script {
        talk,
        ..stand.callee(SCENARIO, calls)
    })?;
    let idle = stand.control.resident_bytes()?;
    let mut caller = stand.run(&Script {
        rate: RATE,
        ..stand.caller(SCENARIO, calls)
    })?;
    // A connection for each look: one that nobody drives while this thread waits is closed by the node, whose pings it
    // does not answer.
    let mut all_are_up = || Ok(stand.node_client(0)?.held()?.calls == u64::from(calls));
    wait::until_true("all calls to be up", talk, &mut all_are_up)?;
    let in_flight = stand.control.resident_bytes()?;
    wait::pass(TRANSACTIONS_LINGER);
    ensure!(all_are_up()?, "calls ended before they were looked at");
    let held = stand.control.resident_bytes()?;
    caller.finish(talk + Duration::from_secs(30))?;
    callee.finish(Duration::from_secs(30))?;
    stand.finish()?;
    let of = |what: &str, resident| row("control", format!("SIPp, {what}"), calls, idle, resident, 0, 0);
    Ok([of("just answered", in_flight), of("held for 36 s", held)])
}

fn row(
    plane: &str,
    path: String,
    calls: u32,
    idle: u64,
    resident: u64,
    kernel_bytes: i64,
    udp_sockets: i64,
) -> Row {
    let grown = resident.saturating_sub(idle);
    let calls = u64::from(calls);
    Row {
        plane: plane.to_owned(),
        path,
        calls,
        resident_bytes_idle: idle,
        resident_bytes: resident,
        kernel_bytes,
        map_bytes: 0,
        udp_sockets,
        bytes_per_call: 0,
        process_bytes_per_call: grown / calls,
        slope_bytes_per_call: None,
    }
    .counted()
}

impl Row {
    /// All that the calls take.
    fn bytes(&self) -> u64 {
        let grown = self.resident_bytes.saturating_sub(self.resident_bytes_idle) + self.map_bytes;
        grown.saturating_add_signed(self.kernel_bytes)
    }

    /// With its share a call.
    fn counted(self) -> Self {
        Self {
            bytes_per_call: self.bytes() / self.calls,
            ..self
        }
    }
}

/// What the kernel says of itself.
struct Kernel {
    slab_bytes: i64,
    udp_sockets: i64,
}

impl Kernel {
    fn read() -> anyhow::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let slab = memory
            .lines()
            .find_map(|line| line.strip_prefix("Slab:"))
            .context("no Slab in meminfo")?;
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let udp = sockets
            .lines()
            .find_map(|line| line.strip_prefix("UDP: inuse "))
            .context("no UDP in sockstat")?;
        Ok(Self {
            slab_bytes: slab.trim().trim_end_matches(" kB").parse::<i64>()? * 1_024,
            udp_sockets: udp
                .split_whitespace()
                .next()
                .context("no number of sockets")?
                .parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_process_and_kernel() {
        let row = row("dataplane", String::new(), 100, 1_000, 11_000, 5_000, 400);
        assert_eq!((row.process_bytes_per_call, row.bytes_per_call), (100, 150));
        let with_maps = Row {
            map_bytes: 1_000,
            ..row
        };
        assert_eq!(with_maps.counted().bytes_per_call, 160);
    }

    #[test]
    fn the_kernel_says_what_is_asked() {
        let kernel = Kernel::read().unwrap();
        assert!(kernel.slab_bytes > 0 && kernel.udp_sockets >= 0);
        assert!(room_for_calls().unwrap() > 0);
    }
}
