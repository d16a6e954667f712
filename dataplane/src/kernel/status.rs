use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ebpf::{Reason, Relay, Totals};

use super::table::SharedTable;

/// What the relay has counted, for whoever asks; all CPUs, workers and interfaces together.
#[derive(Clone, Debug)]
pub struct Status {
    relay: Arc<Relay>,
    shared: Arc<SharedTable>,
    addresses: Vec<IpAddr>,
}

/// Packets and bytes to media ports of an address that no call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unowned {
    /// The address.
    pub address: IpAddr,
    /// Packets.
    pub packets: u64,
    /// Their UDP payload.
    pub bytes: u64,
}

impl Status {
    pub(super) const fn new(relay: Arc<Relay>, shared: Arc<SharedTable>, addresses: Vec<IpAddr>) -> Self {
        Self {
            relay,
            shared,
            addresses,
        }
    }

    /// The relay's own totals; `None`, and so logged, when the kernel refuses.
    pub fn totals(&self) -> Option<Totals> {
        self.relay
            .totals()
            .inspect_err(|error| tracing::warn!(%error, "the relay's totals cannot be read"))
            .ok()
    }

    /// The packets that went up, by the label of the reason. Those that are not for media ports are left out: they are the
    /// machine's.
    pub fn passed(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        relevant().map(|reason| (reason.reason(), totals.passed(reason)))
    }

    /// The packets that were dropped, by the label of the reason.
    pub fn dropped(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        relevant().map(|reason| (reason.reason(), totals.dropped(reason)))
    }

    /// Packets to media ports that no call has, by address.
    pub fn unowned(&self) -> Vec<Unowned> {
        let read = |address: &IpAddr| {
            let (packets, bytes) = self.relay.unowned(*address).ok()??;
            Some(Unowned {
                address: *address,
                packets,
                bytes,
            })
        };
        self.addresses.iter().filter_map(read).collect()
    }

    /// Flows and ports in the table now, and the flows that fit.
    pub fn table(&self) -> (usize, u32) {
        (self.shared.table.len(), self.shared.table.flows_max())
    }

    /// Next hops that are known, and those among them whose link-layer address nobody confirms.
    pub fn next_hops(&self) -> (usize, usize) {
        self.shared.book().hops.count()
    }

    /// Counters of what user space did for the table, by name.
    pub fn counts(&self) -> [(&'static str, &'static str, u64); 4] {
        let counts = &self.shared.counts;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        [
            (
                "kernel_flows_moved",
                "Flows that got another next hop, or another link-layer address of it",
                read(&counts.moved),
            ),
            (
                "kernel_table_errors",
                "Changes of the table of flows that the kernel refused",
                read(&counts.failed),
            ),
            (
                "kernel_probes_sent",
                "Datagrams sent so that the kernel asks who has a next hop's address",
                read(&counts.probes),
            ),
            (
                "kernel_rtcp_copies_dropped",
                "Copies of forwarded RTCP that a busy worker did not take",
                read(&counts.copies_dropped),
            ),
        ]
    }
}

fn relevant() -> impl Iterator<Item = Reason> {
    let others = [Reason::NotIp, Reason::NotUdp, Reason::NotOurs];
    Reason::ALL
        .iter()
        .copied()
        .filter(move |reason| !others.contains(reason))
}
