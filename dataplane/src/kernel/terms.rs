//! What flows are made with, whoever makes them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;

use ebpf::{Bucket, FlowSpec, NextHop, ReasonSet};

use super::reasons;
use crate::config;

/// Bytes of RTP or RTCP that a flow takes: nothing on a media port is shorter than an RTCP header with an SSRC, and what is
/// longer fits into no frame of user space.
const SIZES: RangeInclusive<u16> = 8..=net_io::PAYLOAD_MAX as u16;

/// A limit's bucket holds what it allows in a fifth of a second, and this at least: parties send in bursts.
const PACKETS_BURST_MIN: u64 = 20;
const BYTES_BURST_MIN: u64 = 20_000;

/// An interface that the relay is attached to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attached {
    pub mode: ebpf::Mode,
    /// Whether the kernel forwards what comes by it, IPv4 and IPv6: only then does it tell the programs its routes.
    pub forwards: [bool; 2],
}

/// What flows are made with, whoever makes them.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    dscp: Option<u8>,
    packets: Option<Bucket>,
    bytes: Option<Bucket>,
    pub(super) pass_up: ReasonSet,
    pub(super) drops_unowned: bool,
    /// By its number.
    attached: HashMap<NonZeroU32, Attached>,
    /// The interface of each local address that has the kernel path.
    addresses: HashMap<IpAddr, NonZeroU32>,
}

impl Terms {
    pub(super) fn new(
        config: &config::Kernel,
        attached: HashMap<NonZeroU32, Attached>,
        addresses: HashMap<IpAddr, NonZeroU32>,
    ) -> Self {
        Self {
            dscp: config.dscp,
            packets: bucket(config.packets_per_s_max, PACKETS_BURST_MIN),
            bytes: bucket(config.bytes_per_s_max, BYTES_BURST_MIN),
            pass_up: reasons::passed_up(config.refused),
            drops_unowned: config.unowned == config::Policy::Drop,
            attached,
            addresses,
        }
    }

    /// A flow on these terms.
    pub(super) fn flow(&self, spec: FlowSpec) -> FlowSpec {
        FlowSpec {
            size: SIZES,
            dscp: self.dscp,
            packets: self.packets,
            bytes: self.bytes,
            pass_up: self.pass_up,
            ..spec
        }
    }

    /// The local addresses that have the kernel path, in order.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.addresses.keys().copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// The interface that packets to a local address come by.
    pub(super) fn ingress(&self, local: IpAddr) -> Option<(NonZeroU32, Attached)> {
        let ifindex = *self.addresses.get(&local)?;
        Some((ifindex, *self.attached.get(&ifindex)?))
    }

    /// How the programs find the way of packets that come by `ingress`; `None` when they cannot leave by the neighbour's
    /// interface.
    pub(super) fn next_hop(
        &self,
        ingress: (NonZeroU32, Attached),
        is_ipv6: bool,
        neighbour: ebpf::Neighbour,
    ) -> Option<NextHop> {
        let (ifindex, from) = ingress;
        let by = self.attached.get(&neighbour.ifindex);
        let leaves = match (from.mode, by) {
            _ if neighbour.ifindex == ifindex => true,
            // The driver of the other interface must take frames from this one's.
            (ebpf::Mode::Native, by) => by.is_some_and(|by| by.mode == ebpf::Mode::Native),
            _ => true,
        };
        leaves.then(|| {
            if from.forwards[usize::from(is_ipv6)] {
                NextHop::RoutingOr(neighbour)
            } else {
                // Asking the routes would cost each packet a lookup that has no answer.
                NextHop::Neighbour(neighbour)
            }
        })
    }
}

fn bucket(per_second: u64, burst_min: u64) -> Option<Bucket> {
    let burst = (per_second / 5).max(burst_min);
    Some(Bucket {
        per_second: NonZeroU64::new(per_second)?,
        burst: NonZeroU64::new(burst)?,
    })
}
