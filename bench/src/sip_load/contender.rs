//! The servers under test, each on one core.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ops::clock::MonotonicClock;
use serde::Serialize;

use crate::metrics::Metrics;
use crate::plane::{ControlOptions, NodeOptions, Plane};
use crate::process::Process;
use crate::relay::privilege;
use crate::sip_load::probe;
use crate::{usage, wait};

const KAMAILIO: &str = "kamailio";
const REALM: &str = "example.com";
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How long call records may take to the database after a run, and how often is looked.
const STORED_WITHIN: Duration = Duration::from_secs(30);
const STORED_LOOK: Duration = Duration::from_millis(100);
/// Two pairs of ports a call: as many as an address has.
const MEDIA_CALLS_MAX: u32 = 10_000;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// The control plane: both legs, topology hiding, call records.
    Ringpath,
    /// Debian's package: a stateful, record-routing proxy, or a registrar that keeps users in memory.
    Kamailio,
}

impl System {
    /// As in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringpath => "ringpath",
            Self::Kamailio => "kamailio",
        }
    }
}

/// What a server is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Calls, without a media node.
    Calls,
    /// Calls whose media is allocated on a media node on the same core; Kamailio has none.
    Media,
    /// Calls whose parties alone are known; whoever else asks is to show credentials. Not for Kamailio.
    Guarded,
    /// The same as `Calls`, but Kamailio keeps dialogs, as it must for a call to take anything at all.
    Dialogs,
    /// Registrations of whoever asks.
    Registrar,
    /// Registrations with digest, MD5.
    Digest,
}

impl Role {
    /// As in names of folders.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Media => "media",
            Self::Guarded => "guarded",
            Self::Dialogs => "dialogs",
            Self::Registrar => "registrar",
            Self::Digest => "digest",
        }
    }
}

/// Where a server runs and whom it calls.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its core.
    pub core: usize,
    /// Where it takes SIP.
    pub sip: SocketAddr,
    /// Its next hop.
    pub callee: SocketAddr,
    /// Its next hop for the probe's calls.
    pub probe: SocketAddr,
    /// How long finished transactions are kept.
    pub linger: Duration,
    /// Further addresses: metrics, then gRPC and metrics of a media node.
    pub spare: [SocketAddr; 3],
    /// Its users, `name;password` a line, for [`Role::Digest`].
    pub users: &'a Path,
    /// What it writes goes there.
    pub folder: &'a Path,
}

/// A server that runs.
#[derive(Debug)]
pub enum Contender {
    /// The control plane, and its media node if there is one.
    Ringpath(Box<(Plane, Option<Plane>)>),
    /// Kamailio.
    Kamailio(Daemon),
}

/// A server that ends its children on SIGTERM: a SIGKILL, which they would outlive, is not for it.
#[derive(Debug)]
pub struct Daemon(Process);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whoever drops it has an error of his own to tell.
        let _ = self.0.stop(READY_WITHIN);
    }
}

/// Whether Kamailio is installed.
pub fn has_kamailio() -> bool {
    privilege::is_installed(KAMAILIO)
}

/// What it says of its version.
pub fn kamailio_version() -> anyhow::Result<String> {
    let output = Command::new(KAMAILIO).arg("-v").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().context("kamailio says no version")?;
    Ok(line.trim_start_matches("version: ").to_owned())
}

impl Contender {
    /// Starts a server and waits until it is ready.
    pub fn start(system: System, role: Role, place: &Place<'_>) -> anyhow::Result<Self> {
        match system {
            System::Ringpath => ringpath(role, place),
            System::Kamailio => kamailio(role, place),
        }
    }

    /// Kills the control plane and starts it again, for what it still knows. Not for Kamailio, which keeps nothing.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ringpath(planes) => {
                planes.0.kill()?;
                planes.0.restart()
            }
            Self::Kamailio(_) => bail!("Kamailio keeps its registrations in memory here"),
        }
    }

    /// Processor time of all its processes so far.
    pub fn run_time(&self) -> anyhow::Result<Duration> {
        self.processes()?.into_iter().map(usage::run_time).sum()
    }

    /// Waits until the call records of all calls so far are in the database: their processor time is the calls', too.
    pub fn settle(&self) -> anyhow::Result<()> {
        let Self::Ringpath(planes) = self else {
            return Ok(());
        };
        let listeners = &planes.0.announcement().listeners;
        let (_, _, ops) = listeners
            .iter()
            .find(|(role, ..)| role == "ops")
            .context("no listener for metrics")?;
        let ops = ops.parse().with_context(|| ops.clone())?;
        let clock = MonotonicClock::start();
        let begun = clock.now();
        loop {
            let metrics = Metrics::fetch(ops)?;
            let waiting = metrics
                .value("cdr_store_lag_records", "")
                .context("no cdr_store_lag_records in the metrics")?;
            if waiting == 0.0 {
                return Ok(());
            }
            let passed = clock.now().saturating_since(begun);
            ensure!(
                passed < STORED_WITHIN,
                "{waiting} call records are not stored after {passed:?}"
            );
            wait::pass(STORED_LOOK);
        }
    }

    /// Memory of all its processes in bytes, what they share counted once. That of a media node is not the call's here.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        match self {
            Self::Ringpath(planes) => usage::proportional_bytes(planes.0.id()),
            Self::Kamailio(_) => self.processes()?.into_iter().map(usage::proportional_bytes).sum(),
        }
    }

    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        match self {
            Self::Ringpath(planes) => Ok([Some(planes.0.id()), planes.1.as_ref().map(Plane::id)]
                .into_iter()
                .flatten()
                .collect()),
            Self::Kamailio(daemon) => {
                let mut all = vec![daemon.0.id()];
                all.extend(children(daemon.0.id())?);
                Ok(all)
            }
        }
    }

    /// Ends it in mid-work.
    pub fn kill(self) -> anyhow::Result<()> {
        match self {
            Self::Ringpath(mut planes) => {
                planes.0.kill()?;
                planes.1.as_mut().map_or(Ok(()), Plane::kill)
            }
            Self::Kamailio(mut daemon) => daemon.0.stop(READY_WITHIN),
        }
    }

    /// Ends it well.
    pub fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Ringpath(mut planes) => {
                planes.0.stop()?;
                planes.1.as_mut().map_or(Ok(()), Plane::stop)
            }
            Self::Kamailio(mut daemon) => daemon.0.stop(READY_WITHIN),
        }
    }
}

fn on_core(core: usize) -> Vec<OsString> {
    ["taskset", "--cpu-list", &core.to_string()]
        .map(OsString::from)
        .into()
}

fn ringpath(role: Role, place: &Place<'_>) -> anyhow::Result<Contender> {
    let with_media = role == Role::Media;
    let [ops, grpc, node_ops] = place.spare;
    let node = with_media
        .then(|| {
            let options = NodeOptions {
                calls_max: MEDIA_CALLS_MAX,
                quarantine: Duration::from_millis(500),
                log_filter: "warn",
                kernel: "off",
                ..NodeOptions::new(
                    "media-1",
                    place.sip.ip().to_string().parse()?,
                    10_000..=59_999,
                    [grpc, node_ops],
                )
            };
            Plane::start_node_after(&on_core(place.core), &options, place.folder)
        })
        .transpose()?;
    let mut extra = format!(
        "[limits]\ncalls_max = 100000\ntransactions_max = 1000000\n\n[media]\nanchored = {with_media}\n"
    );
    if role != Role::Guarded {
        // One machine sends what a network would.
        extra += "\n[guard]\nallow = [\"127.0.0.0/8\"]\n";
    }
    if let Role::Registrar | Role::Digest | Role::Guarded = role {
        // SIPp asks at our own address, which counts as the domain; what it has of digest is MD5 with qop=auth.
        extra += &format!(
            "\n[registrar]\ndomains = [\"{REALM}\"]\nauthentication = {}\nalgorithms = [\"MD5\"]\nauth_int = false\n",
            role != Role::Registrar
        );
    }
    if role == Role::Guarded {
        extra += &format!("trusted = [\"{}/32\"]\n", place.probe.ip());
    }
    let store = place.folder.join("cdr.sqlite");
    for old in ["cdr.sqlite", "cdr.sqlite-wal", "cdr.sqlite-shm"] {
        let _ = fs::remove_file(place.folder.join(old));
    }
    let options = ControlOptions {
        tls: None,
        wss: None,
        sip: place.sip,
        ops,
        store,
        nodes: node.iter().map(|_| ("media-1".to_owned(), grpc)).collect(),
        routes: vec![
            (String::new(), format!("sip:{};transport=udp", place.callee)),
            (
                probe::PREFIX.to_owned(),
                format!("sip:{};transport=udp", place.probe),
            ),
        ],
        sip_extra: String::new(),
        extra,
    };
    let mut before = vec![
        OsString::from("env"),
        format!("RINGPATH_CONTROL__SIP__LINGER_MS={}", place.linger.as_millis()).into(),
        "RINGPATH_CONTROL__LOG__FILTER=warn".into(),
    ];
    before.extend(on_core(place.core));
    let mut control = Plane::start_control_after(&before, &options, place.folder)?;
    if role == Role::Digest {
        // Read at its start; while it runs it would look for changes twice a minute.
        control.stop()?;
        control.import_users(place.users)?;
        control.restart()?;
    }
    Ok(Contender::Ringpath(Box::new((control, node))))
}

fn kamailio(role: Role, place: &Place<'_>) -> anyhow::Result<Contender> {
    let config = place.folder.join("kamailio.cfg");
    let text = match role {
        Role::Calls | Role::Media | Role::Dialogs | Role::Guarded => include_str!("kamailio.cfg"),
        Role::Registrar | Role::Digest => include_str!("kamailio-registrar.cfg"),
    };
    let text = text
        .replace("CALLEE", &place.callee.to_string())
        .replace("PROBE_PREFIX", probe::PREFIX)
        .replace("PROBE", &place.probe.to_string())
        .replace("LINGER_MS", &place.linger.as_millis().to_string())
        .replace("REALM", REALM);
    fs::write(&config, text)?;
    let mut words = on_core(place.core);
    words.extend([KAMAILIO, "-f"].map(OsString::from));
    words.push(config.into());
    words.push("-l".into());
    words.push(format!("udp:{}", place.sip).into());
    // In the foreground, its fast allocator for shared and private memory, 1 GB and 16 MB of them.
    let fixed = [
        "-DD", "-E", "-x", "fm", "-X", "fm", "-m", "1024", "-M", "16", "-w",
    ];
    words.extend(fixed.map(OsString::from));
    words.push(place.folder.into());
    match role {
        Role::Dialogs => words.extend(["-A", "WITH_DIALOGS"].map(OsString::from)),
        Role::Digest => words.extend(["-A", "WITH_DIGEST"].map(OsString::from)),
        Role::Calls | Role::Media | Role::Guarded | Role::Registrar => {}
    }
    words.push("-Y".into());
    words.push(place.folder.into());
    let mut daemon = Daemon(Process::start(
        KAMAILIO,
        &words[0],
        &words[1..],
        &[],
        place.folder,
    )?);
    let process = &mut daemon.0;
    let ready = wait::until_true("kamailio to listen", READY_WITHIN, || {
        ensure!(process.is_running()?, "kamailio ended at once");
        is_bound(place.sip)
    });
    ready.with_context(|| process.tail())?;
    // The children begin to read after the address is bound.
    wait::pass(Duration::from_millis(500));
    Ok(Contender::Kamailio(daemon))
}

/// Whether a UDP socket has this address of IPv4.
pub fn is_bound(address: SocketAddr) -> anyhow::Result<bool> {
    let std::net::IpAddr::V4(ip) = address.ip() else {
        anyhow::bail!("on IPv4 only");
    };
    // The kernel prints the address as a number in the machine's byte order.
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    Ok(fs::read_to_string("/proc/net/udp")?
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(&wanted)))
}

/// The child processes of a process' threads.
fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .with_context(|| format!("the kernel does not list the children of process {parent}"))?;
    text.split_whitespace().map(|id| Ok(id.parse()?)).collect()
}
