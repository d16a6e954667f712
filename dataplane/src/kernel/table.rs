//! The relay's table of flows as the workers' engines and the keeper of neighbours share it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebpf::{FlowKey, FlowReading, FlowSpec, TableError};
use tokio::sync::Notify;

use super::backing::Backing;
use super::hops::{Ends, Hops, Missing};
use super::keeper::HopUsers;
use super::terms::Terms;
use super::worker_flows::WorkerFlows;

/// The table, who owns what in it, and the ways of its flows. Shared by the workers and the control thread.
#[derive(Debug)]
pub struct SharedTable {
    pub(super) table: Box<dyn Backing>,
    pub(super) terms: Terms,
    book: Mutex<Book>,
    /// Tells the keeper that ways are to be asked for.
    pub(super) asked: Notify,
    pub(super) counts: Counts,
    /// Another process may have the table: this one is about to give it, or to take it.
    held: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// Ports that a worker has open.
    pub owners: HashMap<FlowKey, usize>,
    /// The flows that are in the table, as they were put in last.
    pub flows: HashMap<FlowKey, FlowSpec>,
    pub hops: Hops,
    /// The last readings of flows whose way has gone, until their engine asks.
    pub ended: HashMap<FlowKey, FlowReading>,
    /// Entries that the table kept when they were to go.
    pub kept: HashSet<FlowKey>,
}

/// What happened to flows; each only grows.
#[derive(Debug, Default)]
pub struct Counts {
    /// Flows that got another next hop, or another link-layer address of it.
    pub moved: AtomicU64,
    /// Changes of flows that the kernel refused.
    pub failed: AtomicU64,
    /// Datagrams sent so that the kernel asks who has an address.
    pub probes: AtomicU64,
    /// Copies of RTCP that found no place on their way to their worker.
    pub copies_dropped: AtomicU64,
}

impl Counts {
    pub(super) fn count(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl SharedTable {
    /// Of a table with the flows that are in it; each of them gets the next hop that is found for it. `held`: another process has it
    /// still, see [`super::PortTable::hold`].
    pub(super) fn new(table: Box<dyn Backing>, terms: Terms, held: bool) -> Result<Arc<Self>, ebpf::Error> {
        let shared = Self {
            table,
            terms,
            book: Mutex::default(),
            asked: Notify::new(),
            counts: Counts::default(),
            held: AtomicBool::new(held),
        };
        shared.read();
        Ok(Arc::new(shared))
    }

    /// Looks at the table again, which another process has written since; no worker has a port yet.
    pub(super) fn reload(&self) {
        self.table.reload();
        self.read();
        self.asked.notify_one();
    }

    /// Takes note of the flows that are in the table.
    fn read(&self) {
        let mut book = Book::default();
        for left in self.table.flows() {
            let spec = self.terms.flow(FlowSpec::new(
                left.local,
                left.source,
                left.egress_local,
                left.destination,
                left.media,
            ));
            // Asks for the way.
            let _ = book.hops.find(ends(&spec));
            book.flows.insert(spec.key(), spec);
        }
        *self.book() = book;
    }

    /// What a panicked thread has left is whole: the book is written after the table, in one step.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table for a worker's engine.
    pub fn of_worker(self: &Arc<Self>, worker: usize) -> WorkerFlows {
        WorkerFlows::new(self.clone(), worker)
    }

    /// The local addresses that have the kernel path.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.terms.addresses()
    }

    /// See [`super::PortTable::hold`].
    pub(super) fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Relaxed);
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// The worker that has a port open.
    pub(super) fn owner(&self, key: FlowKey) -> Option<usize> {
        self.book().owners.get(&key).copied()
    }

    /// Takes out flows and ports of an earlier process that no worker has taken over, and ends its taps.
    pub(super) fn sweep(&self) {
        self.table.end_taps();
        let mut book = self.book();
        for (key, _) in self.table.keys() {
            if book.owners.contains_key(&key) {
                continue;
            }
            book.flows.remove(&key);
            if let Err(error) = self.table.remove(key) {
                Counts::count(&self.counts.failed);
                book.kept.insert(key);
                tracing::warn!(port = %key.local(), %error, "a flow of an earlier process is left");
            }
        }
    }

    /// Tries again to take out what the table has kept. An open port goes to user space, as its engine believes.
    pub(super) fn retry_removals(&self) {
        if self.is_held() {
            return;
        }
        let mut book = self.book();
        let keys: Vec<FlowKey> = book.kept.iter().copied().collect();
        for key in keys {
            let removed = if book.owners.contains_key(&key) {
                self.table.leave_to_user_space(key)
            } else {
                self.table.remove(key)
            };
            match removed {
                Ok(_) | Err(TableError::Absent(_)) => drop(book.kept.remove(&key)),
                Err(_) => Counts::count(&self.counts.failed),
            }
        }
    }

    fn refresh_flow(&self, key: FlowKey) -> Result<(), TableError> {
        let mut book = self.book();
        let Book {
            flows, hops, ended, ..
        } = &mut *book;
        let Some(spec) = flows.get_mut(&key) else {
            return Ok(());
        };
        let ingress = self.terms.ingress(spec.local.ip());
        let is_ipv6 = spec.destination.is_ipv6();
        let next_hop = match hops.find(ends(spec)) {
            // Not asked yet: it keeps what it has.
            Err(Missing::Neighbour) => return Ok(()),
            Err(Missing::Way) => None,
            Ok(neighbour) => ingress.and_then(|ingress| self.terms.next_hop(ingress, is_ipv6, neighbour)),
        };
        match next_hop {
            None => {
                if let Some(reading) = self.table.leave_to_user_space(key)? {
                    ended.insert(key, reading);
                }
                flows.remove(&key);
            }
            Some(next_hop) if next_hop != spec.next_hop => {
                let moved = FlowSpec {
                    next_hop,
                    ..spec.clone()
                };
                self.table.replace(&moved, &[])?;
                *spec = moved;
                Counts::count(&self.counts.moved);
            }
            Some(_) => {}
        }
        Ok(())
    }
}

impl HopUsers for SharedTable {
    fn with_hops<T>(&self, work: impl FnOnce(&mut Hops) -> T) -> T {
        work(&mut self.book().hops)
    }

    fn asked(&self) -> &Notify {
        &self.asked
    }

    /// The ends of every flow.
    fn ends(&self) -> HashSet<Ends> {
        self.book().flows.values().map(ends).collect()
    }

    /// Gives every flow the next hop that is known now; one that has no way any more is left to user space, whose engine finds
    /// it gone. The book is let go of between two flows, for workers that wait.
    fn refresh(&self) {
        if self.is_held() {
            self.book().hops.set_changed();
            return;
        }
        let keys: Vec<FlowKey> = self.book().flows.keys().copied().collect();
        for key in keys {
            if let Err(error) = self.refresh_flow(key) {
                Counts::count(&self.counts.failed);
                tracing::warn!(port = %key.local(), %error, "a kernel flow keeps its next hop");
            }
        }
    }

    fn tick(&self) {
        self.retry_removals();
    }

    fn count_probe(&self) {
        Counts::count(&self.counts.probes);
    }
}

pub(super) fn ends(spec: &FlowSpec) -> Ends {
    Ends {
        from: spec.egress_local.ip(),
        to: spec.destination.ip(),
    }
}
