//! Two network namespaces joined by a veth pair, one core for each.
//!
//! The namespaces have no name: each belongs to a child process that does nothing, and is gone, with its end of the pair,
//! when that child is. The kernel kills the children when this process ends, however it ends. Nothing outside of the
//! namespaces is changed, so there is nothing to restore.
//!
//! The receive work of each end runs in a kernel thread (`threaded` NAPI) that is pinned to the end's core: what the
//! relay's end receives costs the relay's core, and is charged to the relay.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Resource, getrlimit};
use rustix::thread::{
    CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity, set_current_timer_slack,
};

use crate::process::Process;
use crate::relay::drops::{self, Drops};
use crate::relay::privilege::Cores;
use crate::usage;

/// The load's address, of the network that RFC 2544 sets aside for measurements.
pub const LOAD: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The relay's address.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

const UP_WITHIN: Duration = Duration::from_secs(5);

/// A bed that is ready.
#[derive(Debug)]
pub struct Bed {
    load: Namespace,
    relay: Namespace,
    cores: Cores,
}

/// One end.
#[derive(Debug)]
struct Namespace {
    holder: Process,
    interface: String,
    /// Kernel threads that do the receive work of the interface.
    receivers: Vec<Pid>,
}

impl Bed {
    /// Makes both ends. `folder` takes the children's logs; `cores` are [`super::privilege::check`]'s. With `receive_first`
    /// the relay's receive work runs ahead of the relay, as in softirq, instead of sharing the core with it.
    pub fn make(cores: Cores, receive_first: bool, folder: &Path) -> anyhow::Result<Self> {
        let mut load = Namespace::hold("load", folder)?;
        let mut relay = Namespace::hold("relay", folder)?;
        let relay_holder = relay.holder.id().to_string();
        load.run(&[
            "ip",
            "link",
            "add",
            &load.interface,
            "type",
            "veth",
            "peer",
            "name",
            &relay.interface,
            "netns",
            &relay_holder,
        ])?;
        load.bring_up(LOAD)?;
        relay.bring_up(RELAY)?;
        load.thread_receive_work(cores.load)?;
        relay.thread_receive_work(cores.relay)?;
        // Arrivals are stamped by the load's thread; it must not wait behind the generator, which shares its core.
        let of_relay = if receive_first {
            relay.receivers.as_slice()
        } else {
            &[]
        };
        for receiver in load.receivers.iter().chain(of_relay) {
            let id = receiver.as_raw_nonzero().to_string();
            run("chrt", &["--fifo", "--pid", "1", &id])?;
        }
        Ok(Self { load, relay, cores })
    }

    /// Moves the calling thread, and the threads and children that it starts from now on, to the load's end and core.
    pub fn enter(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/ns/net", self.load.holder.id());
        let namespace = File::open(&path).context(path)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering the load's network namespace")?;
        pin(None, self.cores.load)?;
        // Ticks are a tenth of a millisecond; the default slack of timers is half of that.
        set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        Ok(())
    }

    /// Words before a command that run it at the relay's end, on its core, with as many open files as the hard limit
    /// allows. The process that they start becomes the command's.
    pub fn at_relay(&self) -> Vec<OsString> {
        let files = match getrlimit(Resource::Nofile).maximum {
            Some(files) => files.to_string(),
            None => "unlimited".to_owned(),
        };
        [
            "nsenter".to_owned(),
            format!("--net=/proc/{}/ns/net", self.relay.holder.id()),
            "--".to_owned(),
            "prlimit".to_owned(),
            format!("--nofile={files}:{files}"),
            "--".to_owned(),
            "taskset".to_owned(),
            "--cpu-list".to_owned(),
            self.cores.relay.to_string(),
        ]
        .map(OsString::from)
        .into()
    }

    /// Processor time of the relay's receive work so far.
    pub fn receive_time(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for receiver in &self.relay.receivers {
            sum += usage::run_time(receiver.as_raw_nonzero().get() as u32)?;
        }
        Ok(sum)
    }

    /// Packets that the kernel has dropped in the bed so far.
    pub fn drops(&self) -> anyhow::Result<Drops> {
        let at_interface = |end: &Namespace| drops::at_interface(end.holder.id(), &end.interface);
        Ok(Drops {
            veth: at_interface(&self.load)? + at_interface(&self.relay)?,
            relay_sockets: drops::at_sockets(self.relay.holder.id())?,
            load_sockets: drops::at_sockets(self.load.holder.id())?,
        })
    }

    /// The name of the relay's interface, which no other on this machine has.
    pub fn relay_interface(&self) -> &str {
        &self.relay.interface
    }

    /// The cores.
    pub fn cores(&self) -> Cores {
        self.cores
    }
}

impl Namespace {
    fn hold(end: &str, folder: &Path) -> anyhow::Result<Self> {
        let script = "echo held; exec sleep infinity";
        let words = ["--net", "--", "/bin/sh", "-c", script];
        let mut holder = Process::start(&format!("namespace-{end}"), "unshare", words, &[], folder)?;
        holder.wait_for_line(UP_WITHIN, |line| (line == "held").then_some(()))?;
        // Kernel threads are named after the interface and belong to no namespace, so the name must be the only one
        // on the machine. 15 characters at most.
        let interface = format!("{}{}", &end[..1], holder.id());
        Ok(Self {
            holder,
            interface,
            receivers: Vec::new(),
        })
    }

    /// Runs a short command in the namespace.
    fn run(&self, words: &[&str]) -> anyhow::Result<()> {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        let all: Vec<&str> = [namespace.as_str(), "--"].iter().chain(words).copied().collect();
        run("nsenter", &all)
    }

    fn bring_up(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        let with_length = format!("{address}/24");
        self.run(&["ip", "link", "set", "lo", "up"])?;
        self.run(&["ip", "address", "add", &with_length, "dev", &self.interface])?;
        // Without GRO a veth has no NAPI, and with TSO at the sending end the NAPI is passed by: then the *sender's* core
        // does the receive work. UDP is not merged by GRO unless a socket asks for that.
        self.run(&[
            "ethtool",
            "--features",
            &self.interface,
            "gro",
            "on",
            "tso",
            "off",
        ])?;
        self.run(&["ip", "link", "set", &self.interface, "up"])
    }

    fn thread_receive_work(&mut self, core: usize) -> anyhow::Result<()> {
        let file = format!("/sys/class/net/{}/threaded", self.interface);
        // /sys shows the namespace of whoever mounted it, so it is mounted again, in a mount namespace that ends here.
        let script = "mount -t sysfs sysfs /sys && echo 1 > \"$1\"";
        self.run(&["unshare", "--mount", "--", "/bin/sh", "-c", script, "sh", &file])
            .with_context(|| format!("{file}: the kernel must have threaded NAPI (Linux 5.12)"))?;
        self.receivers = kernel_threads(&format!("napi/{}-", self.interface))?;
        ensure!(
            !self.receivers.is_empty(),
            "no kernel thread does the receive work of {}",
            self.interface
        );
        for &receiver in &self.receivers {
            pin(Some(receiver), core)?;
        }
        Ok(())
    }
}

/// Pins a thread, `None` for the calling one.
pub fn pin(thread: Option<Pid>, core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(thread, &set).with_context(|| format!("pinning to core {core}"))
}

/// Runs a short command to its end.
fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{program} {}: {}: {}",
            words.join(" "),
            output.status,
            said.trim()
        );
    }
    Ok(())
}

fn kernel_threads(prefix: &str) -> anyhow::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while the list is read.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with(prefix) {
            found.extend(Pid::from_raw(pid));
        }
    }
    Ok(found)
}
