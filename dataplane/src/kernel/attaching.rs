//! How the relay comes to the interfaces that hold media addresses, and what is said of their ports.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use ebpf::{Attachment, Features, Range, Relay};

use super::interfaces::{Held, KernelInterface};
use super::pins::Pins;
use super::terms::Attached;
use crate::config::{Attach, Config, Policy};

/// Why the relay is not on loopback.
pub(super) const LOOPBACK: &str = "loopback is left to user space";

/// What the interfaces are attached with, and what came of it.
pub(super) struct Taken<'a> {
    pub relay: &'a Relay,
    pub pins: Option<&'a Pins>,
    pub attachments: Vec<Attachment>,
    pub attached: HashMap<NonZeroU32, Attached>,
    pub addresses: HashMap<IpAddr, NonZeroU32>,
    /// `None`: ranges are said at once. A process that may have to go on goes on with its own.
    pub ranges: Option<Vec<Range>>,
}

impl Taken<'_> {
    /// Takes an attachment off its interface for good.
    pub(super) fn end(&self, attachment: Attachment) {
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
    pub(super) fn attach(
        &mut self,
        config: &Config,
        held: &Held,
        pinned: Option<Attachment>,
    ) -> KernelInterface {
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
            let Some(range) = range(config, *address) else {
                continue;
            };
            if let Some(ranges) = &mut self.ranges {
                ranges.push(range);
            } else if let Err(error) = self.relay.set_range(&range) {
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

/// An interface without the relay.
pub(super) fn off(held: &Held, reason: &str) -> KernelInterface {
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
