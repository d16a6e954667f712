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
/// How often the load's end looks for packets.
const LOOK_NS: u32 = 25_000;
/// Packets a second from which the relay's receive work looks for itself.
const BUSY_PPS: u32 = 400_000;
/// After so many looks that found nothing it is woken again by the next packet.
const LOOKS_IN_VAIN: u32 = 100_000;

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
    /// Its link-layer address; zero until it is up.
    mac: [u8; 6],
    /// Kernel threads that do the receive work of the interface.
    receivers: Vec<Pid>,
}

impl Bed {
    /// Makes both ends. `folder` takes the children's logs; `cores` are [`super::privilege::check`]'s. With `receive_first`
    /// the relay's receive work runs ahead of the relay, as softirq does, instead of sharing the core with it.
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
        // Both before either is up: an end takes frames that XDP redirects to it only when its peer had GRO on by then.
        load.prepare(LOAD)?;
        relay.prepare(RELAY)?;
        load.bring_up()?;
        relay.bring_up()?;
        // Always known, so that no system waits for an answer to ARP in the middle of a measurement.
        load.introduce(RELAY, relay.mac)?;
        relay.introduce(LOAD, load.mac)?;
        load.thread_receive_work(cores.load)?;
        relay.thread_receive_work(cores.relay)?;
        load.look_every(LOOK_NS)?;
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

    /// Moderates the relay's receive work as drivers of network cards do, by the rate that is offered: at `packets_per_s` from
    /// [`BUSY_PPS`] on it looks for itself every 50 µs, below that every arrival wakes it.
    pub fn moderate(&self, packets_per_s: u32) -> anyhow::Result<()> {
        self.relay
            .look_every(if packets_per_s >= BUSY_PPS { 50_000 } else { 0 })
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
            // What the load could not send had no room at the relay.
            veth_relay: at_interface(&self.load)?,
            veth_load: at_interface(&self.relay)?,
            relay_sockets: drops::at_sockets(self.relay.holder.id())?,
            load_sockets: drops::at_sockets(self.load.holder.id())?,
        })
    }

    /// Has the relay's end finish checksums before packets leave by it, as its card would: a veth passes them on unfinished, which
    /// only the kernel's own stack takes. Costs relays on sockets some 20 ns a packet.
    pub fn finish_checksums(&self) -> anyhow::Result<()> {
        let interface = &self.relay.interface;
        self.relay
            .run(&["ethtool", "--features", interface, "tx", "off"])
            .map(drop)
    }

    /// The name of the load's interface.
    pub fn load_interface(&self) -> &str {
        &self.load.interface
    }

    /// The link-layer address of the load's interface.
    pub fn load_mac(&self) -> [u8; 6] {
        self.load.mac
    }

    /// The link-layer address of the relay's interface.
    pub fn relay_mac(&self) -> [u8; 6] {
        self.relay.mac
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
            mac: [0; 6],
            receivers: Vec::new(),
        })
    }

    /// Runs a short command in the namespace.
    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        let all: Vec<&str> = [namespace.as_str(), "--"].iter().chain(words).copied().collect();
        run("nsenter", &all)
    }

    fn prepare(&self, address: Ipv4Addr) -> anyhow::Result<()> {
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
        Ok(())
    }

    fn bring_up(&mut self) -> anyhow::Result<()> {
        self.run(&["ip", "link", "set", &self.interface, "up"])?;
        let said = self.run(&["ip", "-oneline", "link", "show", "dev", &self.interface])?;
        self.mac = link_address(&said).with_context(|| format!("no link-layer address in: {said}"))?;
        Ok(())
    }

    fn introduce(&self, address: Ipv4Addr, mac: [u8; 6]) -> anyhow::Result<()> {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let address = address.to_string();
        let words = [
            "ip",
            "neighbour",
            "replace",
            &address,
            "lladdr",
            &mac,
            "dev",
            &self.interface,
            "nud",
            "permanent",
        ];
        self.run(&words).map(drop)
    }

    /// Has the receive work look for itself so often, by the clock of its own core, instead of being woken by whoever sends
    /// to it. Waking another core goes through the hypervisor of a virtual machine and took 17 µs here, forty times
    /// what a packet costs in XDP: the relay, whose doorbell that would be, has none of it on a network card.
    fn look_every(&self, nanoseconds: u32) -> anyhow::Result<()> {
        let folder = format!("/sys/class/net/{}", self.interface);
        let script = format!(
            "mount -t sysfs sysfs /sys && echo {nanoseconds} > \"$1/gro_flush_timeout\" && \
             echo {} > \"$1/napi_defer_hard_irqs\"",
            if nanoseconds > 0 { LOOKS_IN_VAIN } else { 0 }
        );
        self.run(&[
            "unshare", "--mount", "--", "/bin/sh", "-c", &script, "sh", &folder,
        ])
        .with_context(|| format!("{folder}: the kernel must have napi_defer_hard_irqs (Linux 5.8)"))?;
        Ok(())
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

/// The address behind `link/ether` in what ip(8) says of an interface.
fn link_address(said: &str) -> Option<[u8; 6]> {
    let mut words = said.split_whitespace().skip_while(|word| *word != "link/ether");
    let bytes: Vec<u8> = words
        .nth(1)?
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// Runs a short command to its end, and gives what it wrote to standard output.
fn run(program: &str, words: &[&str]) -> anyhow::Result<String> {
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
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_layer_address_is_read() {
        let said = "5: l12@if4: <UP> mtu 1500 qdisc noqueue state UP \\    link/ether 0a:00:fe:10:20:ff brd ff:ff:ff:ff:ff:ff link-netnsid 0";
        assert_eq!(link_address(said), Some([0x0a, 0, 0xfe, 0x10, 0x20, 0xff]));
        assert_eq!(link_address("1: lo: link/loopback 00:00:00:00:00:00"), None);
    }
}
