//! AF_XDP sockets of the workers: the program that hands packets to them, their ties to queues, and the next hops of what they
//! send.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use ebpf::{Attachment, Mode, Relay, XskQueue, Xsks};
use net_io::xsk::{NextHop, NextHops, Queue, Tie, XdpPlan};
use ops::clock::MonotonicClock;
use tokio::sync::Notify;

use super::hops::{Ends, Hops};
use super::interfaces::holding;
use super::keeper::{HopUsers, Keeper};
use super::netlink::Netlink;
use super::start::Kernel;
use crate::config::Interface;

/// AF_XDP on the interfaces that hold media addresses. The program stays attached while this or a worker's part of it lives.
#[derive(Clone, Debug)]
pub struct NodeXdp {
    program: Arc<AttachedProgram>,
    destinations: Arc<Destinations>,
    interfaces: Vec<NonZeroU32>,
    names: String,
    workers: usize,
}

#[derive(Debug)]
struct AttachedProgram {
    xsks: Xsks,
    /// Where the relay is not.
    _attachments: Vec<Attachment>,
    /// The relay that packets come from to the program.
    relay: Option<Arc<Relay>>,
    /// The places of sockets that were tied once, in the map of them.
    places: Mutex<HashMap<XskQueue, u32>>,
}

impl Drop for AttachedProgram {
    fn drop(&mut self) {
        let ended = self.relay.as_ref().map(|relay| relay.set_user_space(None));
        if let Some(Err(error)) = ended {
            // Without sockets the program passes all up.
            tracing::debug!(%error, "the relay keeps its next program");
        }
    }
}

impl NodeXdp {
    /// Loads the program over the steering program's maps, and has it see what comes by every interface with a media address but
    /// loopback: after the relay of the kernel path where that is, else attached itself.
    ///
    /// # Errors
    /// What the kernel refuses, a relay that is not in the driver, or there is no such interface.
    pub fn attach(
        kernel: &Kernel,
        steering: &ebpf::Steering,
        interfaces: &[Interface],
        workers: usize,
    ) -> anyhow::Result<Self> {
        let held = Netlink::open()
            .and_then(|mut netlink| holding(&mut netlink, interfaces))
            .context("the kernel does not say which interfaces hold the media addresses")?;
        let xsks = steering.load_xsks()?;
        let (mut attachments, mut indexes, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let relay = kernel.relay().cloned();
        for held in held.iter().filter(|held| !held.link.is_loopback) {
            let of_kernel = kernel
                .interfaces()
                .iter()
                .find(|interface| interface.name == held.link.name);
            // A program in the stack saves nothing that the stack does.
            match of_kernel.and_then(|interface| interface.mode) {
                None => {
                    attachments.push(Attachment::new(xsks.program(), &held.link.name, &[Mode::Native])?);
                }
                Some(Mode::Native) => {}
                Some(mode) => anyhow::bail!("the kernel path has {} ({})", held.link.name, mode.name()),
            }
            indexes.push(held.link.index);
            names.push(held.link.name.as_str());
        }
        anyhow::ensure!(
            !indexes.is_empty(),
            "no interface but loopback has a media address"
        );
        if let Some(relay) = &relay {
            relay.set_user_space(Some(xsks.program()))?;
        }
        Ok(Self {
            names: names.join(", "),
            interfaces: indexes,
            program: Arc::new(AttachedProgram {
                xsks,
                _attachments: attachments,
                relay,
                places: Mutex::default(),
            }),
            destinations: Arc::default(),
            workers,
        })
    }

    /// The names of the interfaces, for people.
    pub fn names(&self) -> &str {
        &self.names
    }

    /// What a worker's sockets are made from.
    pub fn of_worker(&self, worker: usize) -> XdpPlan {
        XdpPlan {
            interfaces: self.interfaces.iter().map(|index| index.get()).collect(),
            first: worker as u32,
            step: self.workers as u32,
            tie: Box::new(WorkerTie {
                program: self.program.clone(),
                worker: worker as u32,
            }),
            hops: Box::new(WorkerHops(self.destinations.clone())),
        }
    }

    /// The keeper of the next hops.
    ///
    /// # Errors
    /// When the kernel does not tell of its network.
    pub fn keeper(&self, clock: MonotonicClock) -> io::Result<Keeper<Destinations>> {
        Keeper::new(self.destinations.clone(), clock)
    }
}

/// Ties of one worker.
#[derive(Debug)]
struct WorkerTie {
    program: Arc<AttachedProgram>,
    worker: u32,
}

impl WorkerTie {
    fn queue(queue: Queue) -> io::Result<XskQueue> {
        let ifindex = NonZeroU32::new(queue.ifindex).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(XskQueue {
            ifindex,
            number: queue.number,
        })
    }
}

impl Tie for WorkerTie {
    fn tie(&mut self, queue: Queue, socket: BorrowedFd<'_>) -> io::Result<()> {
        let queue = Self::queue(queue)?;
        let place = {
            let mut places = self.program.places.lock().unwrap_or_else(PoisonError::into_inner);
            let next = places.len() as u32;
            *places.entry(queue).or_insert(next)
        };
        if place as usize >= ebpf::layout::XSKS_MAX {
            return Err(io::Error::other(format!(
                "at most {} queues of all interfaces can have AF_XDP sockets",
                ebpf::layout::XSKS_MAX
            )));
        }
        self.program
            .xsks
            .set(queue, place, self.worker, socket)
            .map_err(io::Error::other)
    }

    fn untie(&mut self, queue: Queue) -> io::Result<()> {
        self.program
            .xsks
            .clear(Self::queue(queue)?)
            .map_err(io::Error::other)
    }
}

/// The destinations of what the workers send, and their next hops.
#[derive(Debug, Default)]
pub struct Destinations {
    known: Mutex<Known>,
    asked: Notify,
    /// Counted up with each change of what is known.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    hops: Hops,
    /// Asked for since the last look for those that nobody uses.
    used: HashSet<Ends>,
}

impl Destinations {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_version(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl HopUsers for Destinations {
    fn with_hops<T>(&self, work: impl FnOnce(&mut Hops) -> T) -> T {
        work(&mut self.known().hops)
    }

    fn asked(&self) -> &Notify {
        &self.asked
    }

    fn refresh(&self) {
        self.count_version();
    }

    fn ends(&self) -> HashSet<Ends> {
        let used = std::mem::take(&mut self.known().used);
        // Workers ask anew for those that they use, which says that they do.
        self.count_version();
        used
    }
}

/// A worker's view of them.
#[derive(Debug)]
struct WorkerHops(Arc<Destinations>);

impl NextHops for WorkerHops {
    fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    fn find(&mut self, from: IpAddr, to: IpAddr) -> Option<NextHop> {
        let ends = Ends { from, to };
        let mut known = self.0.known();
        known.used.insert(ends);
        match known.hops.find(ends) {
            Ok(neighbour) => Some(NextHop {
                ifindex: neighbour.ifindex.get(),
                own: neighbour.own,
                address: neighbour.address,
            }),
            Err(_) => {
                if known.hops.has_unasked() {
                    self.0.asked.notify_one();
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::Link;
    use crate::kernel::ways::{Neighbour, Route};

    #[test]
    fn a_destination_is_asked_for_and_told_of_with_another_version() {
        let destinations = Arc::new(Destinations::default());
        let mut worker = WorkerHops(destinations.clone());
        let index = NonZeroU32::new(3).expect("not zero");
        let (from, to): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 7].into());
        let before = worker.version();
        assert_eq!(worker.find(from, to), None);
        destinations.with_hops(|hops| {
            hops.set_links(vec![Link {
                index,
                name: "eth0".into(),
                is_loopback: false,
                is_up: true,
                mac: Some([2; 6]),
                kind: String::new(),
            }]);
            assert_eq!(hops.take_unasked(8), [Ends { from, to }]);
            let route = Route {
                ifindex: index,
                next_hop: to,
            };
            let hop = hops.set_way(Ends { from, to }, Some(route)).expect("not known");
            let neighbour = Neighbour {
                ifindex: index,
                ip: to,
                mac: Some([4; 6]),
                is_stale: false,
            };
            hops.set_neighbour(hop, Some(neighbour));
            assert!(hops.take_changed());
        });
        destinations.refresh();
        assert_ne!(worker.version(), before);
        let expected = NextHop {
            ifindex: 3,
            own: [2; 6],
            address: [4; 6],
        };
        assert_eq!(worker.find(from, to), Some(expected));
        assert_eq!(destinations.ends(), HashSet::from([Ends { from, to }]));
        assert_eq!(destinations.ends(), HashSet::new(), "not asked for since");
    }
}
