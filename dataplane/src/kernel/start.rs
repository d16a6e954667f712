use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context as _;
use ebpf::{Attachment, Error, Features, Range, Relay, RelayConfig};
use media_engine::NoFlows;
use ops::clock::MonotonicClock;
use rustix::thread::CapabilitySet;

use super::capabilities;
use super::copies::Copies;
use super::interfaces::{Held, KernelInterface, holding};
use super::keeper::Keeper;
use super::netlink::Netlink;
use super::pins::{self, Abandoned, Pins};
use super::status::Status;
use super::table::SharedTable;
use super::terms::{Attached, Terms};
use super::worker_flows::PortTable;
use crate::config::{Attach, Config, Mode, Policy};
use crate::tap::KernelTaps;

const LOOPBACK: &str = "loopback is left to user space";

/// The relay of this process, if there is one, and what became of each interface.
#[derive(Debug)]
pub struct Kernel {
    interfaces: Vec<KernelInterface>,
    running: Option<Running>,
    abandoned: Abandoned,
}

/// A relay that is attached to one interface at least.
#[derive(Debug)]
struct Running {
    relay: Arc<Relay>,
    /// Held, for those that are not pinned end with this.
    _attachments: Vec<Attachment>,
    pins: Option<Pins>,
    shared: Arc<SharedTable>,
}

/// What the interfaces are attached with, and what came of it.
struct Taken<'a> {
    relay: &'a Relay,
    pins: Option<&'a Pins>,
    attachments: Vec<Attachment>,
    attached: HashMap<NonZeroU32, Attached>,
    addresses: HashMap<IpAddr, NonZeroU32>,
}

impl Kernel {
    /// Loads the relay, or goes on with the pinned one, and attaches it to every interface that holds a media address, as the
    /// configuration says. `inherited`: the lock of the pins of a process that lives and is about to leave them.
    ///
    /// # Errors
    /// With `mode = "require"`, when an interface other than loopback cannot have it, or there is none. When the flows of the
    /// process before would go on without a process.
    pub fn start(config: &Config, inherited: Option<&OwnedFd>) -> anyhow::Result<Self> {
        let held = Netlink::open()
            .and_then(|mut netlink| holding(&mut netlink, &config.interfaces))
            .context("the kernel does not say which interfaces hold the media addresses")?;
        let mut kernel = Self::try_start(config, &held, inherited).unwrap_or_else(|reason| Self {
            interfaces: held.iter().map(|held| off(held, &reason)).collect(),
            running: None,
            abandoned: Abandoned::default(),
        });
        if let Some(lock) = inherited {
            let pins = kernel.running.as_ref().and_then(|running| running.pins.as_ref());
            anyhow::ensure!(
                pins.is_some_and(|pins| pins.has(lock)),
                "the kernel flows pinned in {} would be left without a process ({}): stop the process that runs in order instead",
                pins::path_of(lock).display(),
                kernel
                    .off_reason()
                    .unwrap_or_else(|| "this one pins elsewhere".to_owned()),
            );
        }
        if config.kernel.mode == Mode::Require {
            let left = kernel
                .interfaces
                .iter()
                .find(|interface| interface.mode.is_none() && interface.reason != LOOPBACK);
            if let Some(left) = left {
                anyhow::bail!(
                    "kernel.mode is \"require\", and {} cannot have it: {}",
                    left.name,
                    left.reason
                );
            }
            anyhow::ensure!(
                kernel.running.is_some(),
                "kernel.mode is \"require\", and no interface but loopback has a media address"
            );
        }
        if kernel.running.is_none() {
            kernel.abandoned = Abandoned::find(config);
        }
        Ok(kernel)
    }

    /// No relay, and no interface that could have one.
    #[cfg(test)]
    pub fn none() -> Self {
        Self {
            interfaces: Vec::new(),
            running: None,
            abandoned: Abandoned::default(),
        }
    }

    /// The reason is for people.
    fn try_start(config: &Config, held: &[Held], inherited: Option<&OwnedFd>) -> Result<Self, String> {
        if config.kernel.mode == Mode::Off {
            return Err("kernel.mode is \"off\"".to_owned());
        }
        if held.iter().all(|held| held.link.is_loopback) {
            return Err(LOOPBACK.to_owned());
        }
        let missing = capabilities::missing().map_err(|error| format!("capabilities: {error}"))?;
        if !missing.is_empty() {
            return Err(format!("this process lacks {}", missing.join(", ")));
        }
        let mut pins = Pins::open(config, inherited)?;
        let relay = relay(config, &mut pins, inherited.is_some())?;
        let mut pinned = HashMap::new();
        if let Some(pins) = &pins {
            for attachment in pins.directory.attachments().map_err(|error| error.to_string())? {
                pinned.insert(attachment.ifindex(), attachment);
            }
        }
        let mut taken = Taken {
            relay: &relay,
            pins: pins.as_ref(),
            attachments: Vec::new(),
            attached: HashMap::new(),
            addresses: HashMap::new(),
        };
        let interfaces: Vec<KernelInterface> = held
            .iter()
            .map(|held| taken.attach(config, held, pinned.remove(&held.link.index)))
            .collect();
        for (_, attachment) in pinned {
            // Of an interface that has no media address any more.
            taken.end(attachment);
        }
        let Taken {
            attachments,
            attached,
            addresses,
            ..
        } = taken;
        if attachments.is_empty() {
            return Ok(Self {
                interfaces,
                running: None,
                abandoned: Abandoned::default(),
            });
        }
        let terms = Terms::new(&config.kernel, attached, addresses);
        let shared = SharedTable::new(Box::new(relay.table().clone()), terms, inherited.is_some())
            .map_err(|error| error.to_string())?;
        let running = Some(Running {
            relay: Arc::new(relay),
            _attachments: attachments,
            pins,
            shared,
        });
        Ok(Self {
            interfaces,
            running,
            abandoned: Abandoned::default(),
        })
    }

    /// What became of each interface that holds a media address.
    pub fn interfaces(&self) -> &[KernelInterface] {
        &self.interfaces
    }

    /// Why packets take the path of user space; `None` while some may take the kernel's.
    pub fn off_reason(&self) -> Option<String> {
        if self.running.is_some() {
            return None;
        }
        let others = |interface: &&KernelInterface| interface.reason != LOOPBACK;
        let first = self.interfaces.iter().find(others).or(self.interfaces.first());
        Some(first.map_or_else(
            || "kernel path off: no interface has a media address".to_owned(),
            |interface| format!("kernel path off: {}: {}", interface.name, interface.reason),
        ))
    }

    /// The table of flows for a worker.
    pub fn flows(&self, worker: usize) -> Box<dyn PortTable + Send> {
        match &self.running {
            Some(running) => Box::new(running.shared.of_worker(worker)),
            None => Box::new(NoFlows),
        }
    }

    /// The keeper of the flows' next hops; `None` without a relay.
    ///
    /// # Errors
    /// When the kernel does not tell of its network.
    pub fn keeper(&self, clock: MonotonicClock) -> io::Result<Option<Keeper>> {
        let shared = self.running.as_ref().map(|running| running.shared.clone());
        shared.map(|shared| Keeper::new(shared, clock)).transpose()
    }

    /// What the relay counts; `None` without a relay.
    pub fn status(&self) -> Option<Status> {
        let Running { relay, shared, .. } = self.running.as_ref()?;
        Some(Status::new(relay.clone(), shared.clone(), shared.addresses()))
    }

    /// The reader of the RTCP that was forwarded; `None` without a relay.
    ///
    /// # Errors
    /// When the ring cannot be mapped.
    pub fn copies(&self) -> io::Result<Option<Copies>> {
        let Some(Running { relay, shared, .. }) = &self.running else {
            return Ok(None);
        };
        let ring = relay.rtcp_copies().map_err(io::Error::other)?;
        Copies::new(shared.clone(), ring).map(Some)
    }

    /// Looks at the table again, when the process that wrote it has stopped.
    pub fn reload(&self) {
        if let Some(running) = &self.running {
            running.shared.reload();
        }
    }

    /// The reader of what taps of flows copy; `None` without a relay.
    ///
    /// # Errors
    /// When the ring cannot be mapped.
    pub fn taps(&self) -> io::Result<Option<KernelTaps>> {
        let Some(Running { relay, .. }) = &self.running else {
            return Ok(None);
        };
        let ring = relay.taps().map_err(io::Error::other)?;
        Ok(Some(KernelTaps::new(relay.table().clone(), ring)))
    }

    /// Takes out of the table what no worker has taken over: flows and ports of an earlier process. Without a relay of this one,
    /// ends that of an earlier process, which has forwarded until the ports of its calls are open again.
    pub fn sweep(&self) {
        self.abandoned.discard();
        if let Some(running) = &self.running {
            running.shared.sweep();
        }
    }

    /// What must be kept of the capabilities for changes and readings of flows.
    pub fn capabilities_needed(&self) -> CapabilitySet {
        match &self.running {
            None => CapabilitySet::empty(),
            // Flows are changed in mapped memory, once their addresses are known; only these are calls.
            Some(Running { relay, shared, .. }) => capabilities::needed_for(|| {
                let unowned = |address: &IpAddr| relay.unowned(*address).is_ok();
                relay.totals().is_ok() && shared.addresses().iter().all(unowned)
            }),
        }
    }

    /// The lock of the pins, for a process that takes over; `None` without pins.
    ///
    /// # Errors
    /// When there can be no more descriptors.
    pub fn pins_lock(&self) -> io::Result<Option<OwnedFd>> {
        let pins = self.running.as_ref().and_then(|running| running.pins.as_ref());
        pins.map(Pins::lock).transpose()
    }

    /// The end of a node that has ended its calls: nothing goes on without it.
    pub fn stop(self) {
        let Some(Running { pins: Some(pins), .. }) = self.running else {
            return;
        };
        if let Err(error) = pins.directory.remove() {
            tracing::warn!(%error, "pins are left");
        }
    }
}

/// The pinned relay with this build's program, or a new one.
fn relay(config: &Config, pins: &mut Option<Pins>, is_inherited: bool) -> Result<Relay, String> {
    let flows_max = config.kernel.flows_max(config.limits.calls_max);
    if let Some(Pins { directory, .. }) = pins {
        match Relay::upgrade(directory) {
            Ok(None) => {}
            Ok(Some(relay)) => {
                let pinned = relay.table().flows_max();
                if pinned != flows_max {
                    tracing::warn!(
                        pinned,
                        flows_max,
                        "the pinned table of flows keeps its size until the node has stopped in order"
                    );
                }
                return Ok(relay);
            }
            Err(error) if error.is_unavailable() || is_inherited => return Err(error.to_string()),
            Err(error) => {
                tracing::warn!(%error, "the pinned relay cannot be taken over: its flows end");
                directory.clone().remove().map_err(|error| error.to_string())?;
                *pins = Pins::open(config, None)?;
            }
        }
    }
    begin(config, flows_max, pins.as_ref()).map_err(|error| error.to_string())
}

/// A line has a flow of RTP for each of RTCP, or one for both.
fn begin(config: &Config, flows_max: u32, pins: Option<&Pins>) -> Result<Relay, Error> {
    let addresses: usize = config
        .interfaces
        .iter()
        .map(|interface| interface.addresses.len())
        .sum();
    let relay = Relay::load(&RelayConfig {
        flows_max,
        rtp_flows_max: flows_max.div_ceil(2),
        addresses_max: u32::try_from(addresses).unwrap_or(u32::MAX),
        ..RelayConfig::default()
    })?;
    if let Some(pins) = pins {
        relay.pin(&pins.directory)?;
    }
    Ok(relay)
}

impl Taken<'_> {
    /// Takes an attachment off its interface for good.
    fn end(&self, attachment: Attachment) {
        // One that is new may not be pinned.
        let unpinned = self
            .pins
            .filter(|pins| pins.directory.has_attachment(&attachment))
            .map_or(Ok(()), |pins| pins.directory.unpin_attachment(&attachment));
        if let Err(error) = unpinned.and_then(|()| attachment.detach()) {
            tracing::warn!(%error, "a program of an earlier process stays attached");
        }
    }

    /// Attaches the relay to an interface, unless it is there already, and says which ports are its own. A relay that an earlier
    /// process attached in another way than is wanted now, or where it cannot be any more, is taken off.
    fn attach(&mut self, config: &Config, held: &Held, pinned: Option<Attachment>) -> KernelInterface {
        let wanted = modes(config, held);
        let barred = match (held.link.is_loopback, held.link.mac) {
            (true, _) => Some(LOOPBACK),
            (_, None) => Some("it is not Ethernet"),
            _ => None,
        };
        let mut adopted = None;
        if let Some(pinned) = pinned {
            if barred.is_none() && wanted.modes.contains(&pinned.mode()) {
                adopted = Some(pinned);
            } else {
                self.end(pinned);
            }
        }
        if let Some(reason) = barred {
            return off(held, reason);
        }
        let attachment = match adopted {
            Some(adopted) => adopted,
            None => match self.relay.attach(&held.link.name, &wanted.modes) {
                Ok(attachment) => {
                    if let Some(pins) = self.pins
                        && let Err(error) = pins.directory.pin_attachment(&attachment)
                    {
                        tracing::warn!(%error, "not pinned: kernel flows end with this process");
                    }
                    attachment
                }
                Err(error) => return off(held, &format!("{error}{}", wanted.note)),
            },
        };
        for address in &held.addresses {
            let set = range(config, *address).map_or(Ok(()), |range| self.relay.set_range(&range));
            if let Err(error) = set {
                self.end(attachment);
                return off(held, &error.to_string());
            }
        }
        let interface = KernelInterface {
            name: held.link.name.clone(),
            mode: Some(attachment.mode()),
            reason: format!("{}{}", attachment.reason(), wanted.note),
        };
        let forwards = ["ipv4", "ipv6"].map(|family| forwards(family, &held.link.name));
        let attached = Attached {
            mode: attachment.mode(),
            forwards,
        };
        self.attached.insert(held.link.index, attached);
        for address in &held.addresses {
            self.addresses.insert(*address, held.link.index);
        }
        self.attachments.push(attachment);
        interface
    }
}

/// The modes to try on an interface, and what speaks against others.
struct Wanted {
    modes: Vec<ebpf::Mode>,
    note: String,
}

fn modes(config: &Config, held: &Held) -> Wanted {
    let mut modes: Vec<ebpf::Mode> = config.kernel.attach.iter().copied().map(mode).collect();
    let mut note = String::new();
    if held.link.kind == "veth"
        && modes.contains(&ebpf::Mode::Native)
        && !Features::of(held.link.index).is_ok_and(Features::transmits)
    {
        modes.retain(|mode| *mode != ebpf::Mode::Native);
        note.push_str("; not native: the other end of this veth has neither an XDP program nor generic receive offload, and would lose every packet");
    }
    Wanted { modes, note }
}

const fn mode(attach: Attach) -> ebpf::Mode {
    match attach {
        Attach::Native => ebpf::Mode::Native,
        Attach::Generic => ebpf::Mode::Generic,
        Attach::Tc => ebpf::Mode::Tc,
    }
}

/// Whether the kernel forwards packets of a family that come by an interface.
fn forwards(family: &str, interface: &str) -> bool {
    let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
}

fn off(held: &Held, reason: &str) -> KernelInterface {
    let reason = if held.link.is_loopback { LOOPBACK } else { reason };
    KernelInterface {
        name: held.link.name.clone(),
        mode: None,
        reason: reason.to_owned(),
    }
}

/// The media ports of an address. The relay knows one range an address: where there are several with other ports between them,
/// those are not dropped.
fn range(config: &Config, address: IpAddr) -> Option<Range> {
    let mut ports: Vec<RangeInclusive<u16>> = config
        .interfaces
        .iter()
        .filter(|interface| interface.addresses.iter().any(|own| own.local == address))
        .map(|interface| interface.ports.ports())
        .collect();
    ports.sort_by_key(|ports| *ports.start());
    let (first, last) = (*ports.first()?.start(), *ports.last()?.end());
    let whole = ports
        .windows(2)
        .all(|pair| u32::from(*pair[0].end()) + 1 == u32::from(*pair[1].start()));
    if config.kernel.unowned == Policy::Drop && !whole {
        tracing::warn!(%address, "kernel.unowned is \"pass\" here: other ports lie between the ranges of this address");
    }
    Some(Range {
        address,
        ports: first..=last,
        drop_unowned: config.kernel.unowned == Policy::Drop && whole,
    })
}
