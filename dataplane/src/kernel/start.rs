use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context as _;
use ebpf::{Attachment, Error, Range, Relay, RelayConfig, TableError};
use media_engine::NoFlows;
use ops::clock::MonotonicClock;
use rustix::thread::CapabilitySet;

use super::attaching::{LOOPBACK, Taken, off};
use super::capabilities;
use super::copies::Copies;
use super::interfaces::{Held, KernelInterface, holding};
use super::keeper::Keeper;
use super::netlink::Netlink;
use super::pins::{self, Abandoned, Pins};
use super::status::Status;
use super::table::SharedTable;
use super::terms::Terms;
use super::worker_flows::PortTable;
use crate::config::{Config, Mode};
use crate::tap::KernelTaps;

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
    /// What is to be said of ports once the process before has let go of its flows.
    ranges: Vec<Range>,
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
            ranges: inherited.map(|_| Vec::new()),
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
            ranges,
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
            ranges: ranges.unwrap_or_default(),
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

    /// The relay, if it is attached somewhere.
    pub(super) fn relay(&self) -> Option<&Arc<Relay>> {
        self.running.as_ref().map(|running| &running.relay)
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
    pub fn keeper(&self, clock: MonotonicClock) -> io::Result<Option<Keeper<SharedTable>>> {
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
            running.say_ranges();
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

impl Running {
    /// Says what the ranges are in place of those of the process before, which has let go of its flows.
    fn say_ranges(&self) {
        if self.ranges.is_empty() {
            return;
        }
        let lifted = self.relay.lift_ranges().map_err(TableError::from);
        let said = lifted.and_then(|()| {
            self.ranges
                .iter()
                .try_for_each(|range| self.relay.set_range(range))
        });
        if let Err(error) = said {
            tracing::warn!(%error, "packets to ports without a call are passed up, as with kernel.unowned = \"pass\"");
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
                if !is_inherited {
                    relay.lift_ranges().map_err(|error| error.to_string())?;
                }
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
