//! The interfaces of the machine that hold the media addresses, and how the relay came to each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use proto::media_v1 as wire;

use super::netlink::{Link, Netlink};
use crate::config::Interface;

/// How packets that come by an interface are relayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInterface {
    /// Its name in the operating system.
    pub name: String,
    /// How the relay is attached; `None` leaves all packets to user space.
    pub mode: Option<ebpf::Mode>,
    /// Why.
    pub reason: String,
}

impl KernelInterface {
    /// The mode's name for status and metrics.
    pub fn mode_name(&self) -> &'static str {
        self.mode.map_or("off", ebpf::Mode::name)
    }

    /// As a control plane sees it.
    pub fn to_wire(&self) -> wire::KernelInterface {
        let mode = match self.mode {
            None => wire::KernelMode::Off,
            Some(ebpf::Mode::Native) => wire::KernelMode::Native,
            Some(ebpf::Mode::Generic) => wire::KernelMode::Generic,
            Some(ebpf::Mode::Tc) => wire::KernelMode::Tc,
        };
        wire::KernelInterface {
            name: self.name.clone(),
            mode: mode.into(),
            reason: self.reason.clone(),
        }
    }

    /// One line for whoever starts the node: `kernel eth0: native XDP: the driver takes XDP programs`.
    pub fn line(&self) -> String {
        let how = match self.mode {
            None => "off",
            Some(ebpf::Mode::Native) => "native XDP",
            Some(ebpf::Mode::Generic) => "generic XDP",
            Some(ebpf::Mode::Tc) => "TC",
        };
        format!("kernel {}: {how}: {}", self.name, self.reason)
    }
}

/// An interface with the media addresses that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub link: Link,
    pub addresses: Vec<IpAddr>,
}

/// The interfaces that hold the addresses of `interfaces`, in the order of their numbers. Addresses that no interface has are
/// not there.
pub(super) fn holding(netlink: &mut Netlink, interfaces: &[Interface]) -> std::io::Result<Vec<Held>> {
    let links = netlink.links()?;
    let addresses = netlink.addresses()?;
    let mut held: BTreeMap<NonZeroU32, Held> = BTreeMap::new();
    let wanted = interfaces.iter().flat_map(|interface| &interface.addresses);
    for local in wanted.map(|address| address.local) {
        let at = |link: &&Link| {
            // All of 127.0.0.0/8 is the loopback interface's, by a route and not by addresses.
            let exact = addresses.contains(&(local, link.index));
            exact || (link.is_loopback && local.is_loopback())
        };
        let Some(link) = links.iter().find(at) else {
            continue;
        };
        let place = held.entry(link.index).or_insert_with(|| Held {
            link: link.clone(),
            addresses: Vec::new(),
        });
        if !place.addresses.contains(&local) {
            place.addresses.push(local);
        }
    }
    Ok(held.into_values().collect())
}
