//! Bytes a call: resident memory of each plane, and the kernel's for the data plane's sockets.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::media_v1 as pb;
use serde::Serialize;

use crate::call_request;
use crate::host::Host;
use crate::node_client::NodeClient;
use crate::plane::{NodeOptions, Plane};
use crate::sipp::Script;
use crate::stand::{Stand, StandOptions};
use crate::wait;

/// The most calls of a row.
const CALLS_MAX: u32 = 4_000;
/// Sockets of a call without privilege: RTP and RTCP for two legs.
const SOCKETS_A_CALL: u64 = 4;

/// One measurement: from no call to `calls`, on a plane that had just started.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `dataplane` or `control`.
    pub plane: String,
    /// How the calls came about, and the packet back-end.
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
    /// UDP sockets more than before.
    pub udp_sockets: i64,
    /// Growth of resident and kernel memory by the number of calls.
    pub bytes_per_call: u64,
    /// Growth of resident memory alone by the number of calls.
    pub process_bytes_per_call: u64,
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
            "{:<10} {:<30} {:>6} {:>10} {:>10} {:>12} {:>12}",
            "plane", "path", "calls", "idle", "process", "process/call", "all/call"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<10} {:<30} {:>6} {:>7.1} MB {:>7.1} MB {:>11} B {:>11} B",
                row.plane,
                row.path,
                row.calls,
                row.resident_bytes_idle as f64 / 1e6,
                row.resident_bytes as f64 / 1e6,
                row.process_bytes_per_call,
                row.bytes_per_call
            )?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

/// Measures `calls` calls, then as many as the limit of open files leaves, and writes `memory.json` to `folder`.
pub fn run(calls: u32, backend: &str, folder: &Path) -> anyhow::Result<MemoryReport> {
    fs::create_dir_all(folder)?;
    for own in ["dataplane", "dataplane-more", "control"] {
        let own = folder.join(own);
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
    }
    let folder = fs::canonicalize(folder)?;
    let mut report = MemoryReport {
        rows: Vec::new(),
        notes: vec![
            "Data plane: calls over gRPC with two legs, one line each; no media, so socket buffers are empty.".to_owned(),
            "Control plane: answered calls that SIPp holds; first with the transactions of their set-up, then when these have been forgotten (32 s, RFC 3261).".to_owned(),
        ],
    };
    report
        .rows
        .push(data_plane(calls, backend, &folder.join("dataplane"))?);
    let more = CALLS_MAX.min(room_for_calls()?);
    if more > calls {
        report
            .rows
            .push(data_plane(more, backend, &folder.join("dataplane-more"))?);
    } else {
        report.notes.push(format!(
            "The limit of open files leaves room for {more} calls: no second row."
        ));
    }
    report
        .rows
        .extend(control_plane(calls, backend, &folder.join("control"))?);
    fs::write(
        folder.join("memory.json"),
        serde_json::to_string_pretty(&report)? + "\n",
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

fn data_plane(calls: u32, backend: &str, folder: &Path) -> anyhow::Result<Row> {
    let mut host = Host::reserve()?;
    // And a few for the ports of the call that is removed again, which rest.
    let ports = u16::try_from(calls * 4 + 40).context("too many calls for the ports of one address")?;
    let options = NodeOptions {
        name: "media-1".to_owned(),
        media: host.ip(),
        ports: 20_000..=19_999 + ports,
        backend: backend.to_owned(),
        steering: "off",
        kernel: "off",
        calls_max: calls,
        lease: Duration::from_secs(60),
        grpc: host.address()?,
        ops: host.address()?,
    };
    let mut node = Plane::start_node(&options, folder)?;
    let mut client = NodeClient::connect(options.grpc)?;
    // The first call brings what is made once; it is not what a call costs.
    client.create(call(u32::MAX))?;
    client.delete(&name(u32::MAX))?;
    let before = Kernel::read()?;
    let idle = node.resident_bytes()?;
    create(&mut client, calls)?;
    let resident = node.resident_bytes()?;
    let after = Kernel::read()?;
    let path = format!("grpc, no media, {}", client.describe()?.backend);
    for number in 0..calls {
        client.delete(&name(number))?;
    }
    node.stop()?;
    Ok(row(
        "dataplane",
        path,
        calls,
        idle,
        resident,
        after.slab_bytes - before.slab_bytes,
        after.udp_sockets - before.udp_sockets,
    ))
}

fn create(client: &mut NodeClient, calls: u32) -> anyhow::Result<()> {
    for number in 0..calls {
        client
            .create(call(number))
            .with_context(|| format!("call {number} of {calls}"))?;
    }
    Ok(())
}

fn name(number: u32) -> String {
    format!("memory-{number}")
}

fn call(number: u32) -> pb::CreateCallRequest {
    let remotes = [9_000, 9_002].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    call_request::plain(&name(number), remotes)
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
        udp_sockets,
        bytes_per_call: grown.saturating_add_signed(kernel_bytes) / calls,
        process_bytes_per_call: grown / calls,
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
    }

    #[test]
    fn the_kernel_says_what_is_asked() {
        let kernel = Kernel::read().unwrap();
        assert!(kernel.slab_bytes > 0 && kernel.udp_sockets >= 0);
        assert!(room_for_calls().unwrap() > 0);
    }
}
