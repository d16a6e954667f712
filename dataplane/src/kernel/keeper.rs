//! Keeps the next hops of kernel flows, and of what leaves by AF_XDP, right: asks the kernel for ways and neighbours, hears of changes, and makes it ask again
//! who has an address while flows use it.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ops::clock::MonotonicClock;
use rustix::net::sockopt::{set_ip_ttl, set_ipv6_unicast_hops};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};

use super::hops::{Ends, Hops, NextHop};
use super::netlink::Netlink;
use super::ways::{Change, Changes};

/// The discard service (RFC 863), of which no answer is expected.
const DISCARD: u16 = 9;
/// Ways that are asked for before other tasks of the control thread have their turn.
const WAYS_PER_TURN: usize = 64;
/// How often old addresses are looked for.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks for ways that no flow uses any more.
const FORGET_TICKS: u64 = 60;

/// Whose next hops are kept.
pub trait HopUsers: Send + Sync {
    /// Does something with the next hops, which nobody else does meanwhile.
    fn with_hops<T>(&self, work: impl FnOnce(&mut Hops) -> T) -> T;

    /// Told of when something was asked for.
    fn asked(&self) -> &Notify;

    /// The next hops are others than before.
    fn refresh(&self);

    /// All ends that are used, or were since the last call.
    fn ends(&self) -> HashSet<Ends>;

    /// A second has gone by.
    fn tick(&self) {}

    /// The kernel was made to ask for an address.
    fn count_probe(&self) {}
}

/// The keeper, a task of the control thread.
#[derive(Debug)]
pub struct Keeper<U> {
    shared: Arc<U>,
    clock: MonotonicClock,
    netlink: Netlink,
    changes: AsyncFd<Changes>,
    probes: Probes,
}

impl<U: HopUsers> Keeper<U> {
    /// Of the users in `shared`; within a Tokio runtime.
    #[expect(
        deprecated,
        reason = "the socket is owned, which is all that the unsafe constructor asks for beyond this one"
    )]
    pub(super) fn new(shared: Arc<U>, clock: MonotonicClock) -> io::Result<Self> {
        let mut netlink = Netlink::open()?;
        // Before the first question, so that no change between the two is missed.
        let changes = AsyncFd::with_interest(Changes::open()?, Interest::READABLE)?;
        let links = netlink.links()?;
        shared.with_hops(|hops| hops.set_links(links));
        Ok(Self {
            shared,
            clock,
            netlink,
            changes,
            probes: Probes::new()?,
        })
    }

    /// Runs for ever. A kernel that does not answer is asked again: flows have what is known meanwhile.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forgetting = Forgetting::default();
        loop {
            if let Err(error) = self.turn(&mut tick, &mut forgetting).await {
                tracing::warn!(%error, "the kernel does not tell of its network");
                self.shared.with_hops(Hops::forget_ways);
                tick.tick().await;
            }
        }
    }

    /// Asks what is to be asked, then waits for something to do.
    async fn turn(&mut self, tick: &mut Interval, forgetting: &mut Forgetting) -> io::Result<()> {
        if self.ask()? {
            // More is left: other tasks first.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let shared = self.shared.clone();
        tokio::select! {
            () = shared.asked().notified() => {}
            heard = self.hear() => heard?,
            _ = tick.tick() => {
                forgetting.ticks += 1;
                shared.tick();
                if forgetting.ticks.is_multiple_of(FORGET_TICKS) {
                    forgetting.unused = self.forget(&forgetting.unused);
                }
            }
        }
        Ok(())
    }

    /// Asks the kernel what is to be asked, probes, and gives flows what is new. True when some questions are left.
    fn ask(&mut self) -> io::Result<bool> {
        let unasked = self.shared.with_hops(|hops| hops.take_unasked(WAYS_PER_TURN));
        for ends in unasked {
            let route = self.netlink.route(ends.from, ends.to)?;
            let unknown = self.shared.with_hops(|hops| hops.set_way(ends, route));
            if let Some(hop) = unknown {
                let neighbour = self.netlink.neighbour(hop.ifindex, hop.ip)?;
                self.shared.with_hops(|hops| hops.set_neighbour(hop, neighbour));
            }
        }
        let now = self.clock.now();
        let (probes, left, changed) = self
            .shared
            .with_hops(|hops| (hops.take_probes(now), hops.has_unasked(), hops.take_changed()));
        for hop in probes {
            self.probes.send(hop);
            self.shared.count_probe();
        }
        if changed {
            self.shared.refresh();
        }
        Ok(left)
    }

    /// Waits for the kernel's word of changes and takes it.
    async fn hear(&mut self) -> io::Result<()> {
        let mut ready = self.changes.readable_mut().await?;
        let changes = ready.get_inner_mut().read()?;
        if changes.is_empty() {
            ready.clear_ready();
            return Ok(());
        }
        let (mut ways, mut lost) = (false, false);
        self.shared.with_hops(|hops| {
            for change in changes {
                match change {
                    Change::Neighbour(neighbour) => hops.hear(neighbour),
                    Change::Ways => ways = true,
                    Change::Lost => lost = true,
                }
            }
        });
        if ways || lost {
            let links = self.netlink.links()?;
            self.shared.with_hops(|hops| {
                hops.set_links(links);
                hops.forget_ways();
                if lost {
                    hops.doubt();
                }
            });
        }
        Ok(())
    }

    /// Lets go of ways that had no user at the last look and have none now; gives those that have none now.
    fn forget(&self, unused: &HashSet<Ends>) -> HashSet<Ends> {
        let used = self.shared.ends();
        self.shared.with_hops(|hops| {
            let unused_now: HashSet<Ends> = hops.ends().filter(|ends| !used.contains(ends)).collect();
            hops.retain(|ends| !(unused.contains(ends) && unused_now.contains(ends)));
            unused_now
        })
    }
}

/// When old ways are let go of.
#[derive(Debug, Default)]
struct Forgetting {
    ticks: u64,
    /// Ends that had no flow at the last look.
    unused: HashSet<Ends>,
}

/// Datagrams to next hops. They go no further: a router drops them, a party's machine has nobody at that port.
#[derive(Debug)]
struct Probes {
    v4: UdpSocket,
    /// `None` where IPv6 is switched off.
    v6: Option<UdpSocket>,
}

impl Probes {
    fn new() -> io::Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        v4.set_nonblocking(true)?;
        set_ip_ttl(&v4, 1)?;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok();
        if let Some(v6) = &v6 {
            v6.set_nonblocking(true)?;
            set_ipv6_unicast_hops(v6, Some(1))?;
        }
        Ok(Self { v4, v6 })
    }

    fn send(&self, hop: NextHop) {
        let to = match hop.ip {
            std::net::IpAddr::V4(ip) => SocketAddr::from((ip, DISCARD)),
            // Routers are mostly known by link-local addresses, which mean something on their link only.
            std::net::IpAddr::V6(ip) => SocketAddrV6::new(ip, DISCARD, 0, hop.ifindex.get()).into(),
        };
        let socket = if to.is_ipv4() {
            Some(&self.v4)
        } else {
            self.v6.as_ref()
        };
        let sent = socket.map(|socket| socket.send_to(&[], to));
        if let Some(Err(error)) = sent {
            // A firewall of the machine, or a link that is down: flows keep what they have.
            tracing::debug!(%to, %error, "the kernel was not made to ask for an address");
        }
    }
}
