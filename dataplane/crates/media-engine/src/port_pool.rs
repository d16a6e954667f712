use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use media_types::InterfaceName;
use sans_io::{Random, Timestamp};

use crate::Interface;

/// Place of an address in the pool.
pub(crate) type AddressKey = u16;

/// A reserved pair of ports: RTP on the even one, RTCP on the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) address: AddressKey,
    pub(crate) port: u16,
}

/// The port pairs of one worker on every address, each in one of four states: free, leased to a line, resting after
/// its release, or set aside because something else on the machine holds it.
#[derive(Debug)]
pub(crate) struct PortPool {
    addresses: Vec<AddressPool>,
    quarantine: Duration,
    set_aside: Duration,
}

#[derive(Debug)]
struct AddressPool {
    interface: InterfaceName,
    local: IpAddr,
    advertised: IpAddr,
    total: usize,
    free: Vec<u16>,
    /// The line (its key) that each leased pair belongs to.
    leased: HashMap<u16, u32>,
    /// Until when; in order, since all rest equally long.
    resting: VecDeque<(Timestamp, u16)>,
    set_aside: VecDeque<(Timestamp, u16)>,
}

impl PortPool {
    pub(crate) fn new(interfaces: &[Interface], quarantine: Duration, set_aside: Duration) -> Self {
        let mut addresses = Vec::new();
        for interface in interfaces {
            let mut ports: Vec<u16> = interface
                .ports
                .iter()
                .copied()
                .filter(|port| port % 2 == 0 && *port != 0)
                .collect();
            ports.sort_unstable();
            ports.dedup();
            addresses.extend(interface.addresses.iter().map(|address| AddressPool {
                interface: interface.name.clone(),
                local: address.local,
                advertised: address.advertised,
                total: ports.len(),
                free: ports.clone(),
                leased: HashMap::new(),
                resting: VecDeque::new(),
                set_aside: VecDeque::new(),
            }));
        }
        Self {
            addresses,
            quarantine,
            set_aside,
        }
    }

    /// The first address of the family on the interface, or on any.
    pub(crate) fn address(&self, interface: Option<&InterfaceName>, ipv6: bool) -> Option<AddressKey> {
        let fits = |pool: &AddressPool| {
            pool.local.is_ipv6() == ipv6 && interface.is_none_or(|name| *name == pool.interface)
        };
        self.addresses.iter().position(fits).map(|at| at as AddressKey)
    }

    /// The interface that an address is on.
    pub(crate) fn interface(&self, address: AddressKey) -> &InterfaceName {
        &self.addresses[usize::from(address)].interface
    }

    /// The address that is bound.
    pub(crate) fn address_of(&self, address: AddressKey) -> IpAddr {
        self.addresses[usize::from(address)].local
    }

    /// Whether an address is IPv6.
    pub(crate) fn is_ipv6(&self, address: AddressKey) -> bool {
        self.address_of(address).is_ipv6()
    }

    /// Reserves a free pair, any with the same probability, so that an attacker cannot tell the next from the last.
    pub(crate) fn take(&mut self, address: AddressKey, random: &mut Random) -> Option<Pair> {
        let free = &mut self.addresses[usize::from(address)].free;
        if free.is_empty() {
            return None;
        }
        let at = random.below(free.len() as u64) as usize;
        Some(Pair {
            address,
            port: free.swap_remove(at),
        })
    }

    /// Reserves the pair whose RTP port is bound to `local`; `None` when it is not free, or not this worker's.
    pub(crate) fn take_local(&mut self, local: SocketAddr) -> Option<Pair> {
        let at_address = |pool: &(usize, &mut AddressPool)| pool.1.local == local.ip();
        for (address, pool) in self.addresses.iter_mut().enumerate().filter(at_address) {
            if let Some(at) = pool.free.iter().position(|port| *port == local.port()) {
                return Some(Pair {
                    address: address as AddressKey,
                    port: pool.free.swap_remove(at),
                });
            }
        }
        None
    }

    /// Returns a pair that no packet can have reached.
    pub(crate) fn give_back(&mut self, pair: Pair) {
        self.pool(pair).free.push(pair.port);
    }

    /// Puts a pair aside that something else on the machine holds.
    pub(crate) fn put_aside(&mut self, pair: Pair, now: Timestamp) {
        let until = now + self.set_aside;
        self.pool(pair).set_aside.push_back((until, pair.port));
    }

    /// Records which line has a pair.
    pub(crate) fn lease(&mut self, pair: Pair, line: u32) {
        self.pool(pair).leased.insert(pair.port, line);
    }

    /// Ends a line's lease; the pair rests.
    pub(crate) fn release(&mut self, pair: Pair, now: Timestamp) {
        let until = now + self.quarantine;
        let pool = self.pool(pair);
        pool.leased.remove(&pair.port);
        pool.resting.push_back((until, pair.port));
    }

    /// Frees the pairs whose rest is over.
    pub(crate) fn reclaim(&mut self, now: Timestamp) {
        for pool in &mut self.addresses {
            for queue in [&mut pool.resting, &mut pool.set_aside] {
                while let Some(&(until, port)) = queue.front()
                    && until <= now
                {
                    queue.pop_front();
                    pool.free.push(port);
                }
            }
        }
    }

    /// When the next pair becomes free by itself.
    pub(crate) fn reclaim_at(&self) -> Option<Timestamp> {
        let queues = self
            .addresses
            .iter()
            .flat_map(|pool| [&pool.resting, &pool.set_aside]);
        queues
            .filter_map(|queue| queue.front().map(|(until, _)| *until))
            .min()
    }

    /// Pairs in all, free, and neither free nor leased.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        self.addresses
            .iter()
            .fold((0, 0, 0), |(total, free, resting), pool| {
                (
                    total + pool.total,
                    free + pool.free.len(),
                    resting + pool.resting.len() + pool.set_aside.len(),
                )
            })
    }

    /// The socket address to bind for a pair, `offset` ports up.
    pub(crate) fn local(&self, pair: Pair, offset: u16) -> SocketAddr {
        SocketAddr::new(
            self.addresses[usize::from(pair.address)].local,
            pair.port + offset,
        )
    }

    /// What parties are told instead.
    pub(crate) fn advertised(&self, pair: Pair, offset: u16) -> SocketAddr {
        SocketAddr::new(
            self.addresses[usize::from(pair.address)].advertised,
            pair.port + offset,
        )
    }

    /// The pair that packets to `destination` would come to, and the line that has it, when it is leased.
    pub(crate) fn line_at(&self, destination: SocketAddr) -> Option<(Pair, u32)> {
        let port = destination.port() & !1;
        self.addresses.iter().enumerate().find_map(|(at, pool)| {
            if pool.local != destination.ip() && pool.advertised != destination.ip() {
                return None;
            }
            let line = pool.leased.get(&port)?;
            Some((
                Pair {
                    address: at as AddressKey,
                    port,
                },
                *line,
            ))
        })
    }

    /// Whether an address is one of the node's.
    pub(crate) fn is_ours(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|pool| pool.local == ip || pool.advertised == ip)
    }

    /// Whether packets to `destination` would come to `pair`.
    pub(crate) fn is_at(&self, pair: Pair, destination: SocketAddr) -> bool {
        let pool = &self.addresses[usize::from(pair.address)];
        pair.port == destination.port() & !1
            && (pool.local == destination.ip() || pool.advertised == destination.ip())
    }

    fn pool(&mut self, pair: Pair) -> &mut AddressPool {
        &mut self.addresses[usize::from(pair.address)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    const QUARANTINE: Duration = Duration::from_secs(5);

    fn pool(ports: Vec<u16>) -> PortPool {
        let address = |ip: &str| Address {
            local: ip.parse().unwrap(),
            advertised: ip.parse().unwrap(),
        };
        let interface = |name: &str, addresses| Interface {
            name: InterfaceName::new(name).unwrap(),
            addresses,
            ports: ports.clone(),
        };
        let interfaces = [
            interface("inside", vec![address("10.0.0.1")]),
            interface("outside", vec![address("192.0.2.1"), address("2001:db8::1")]),
        ];
        PortPool::new(&interfaces, QUARANTINE, Duration::from_secs(60))
    }

    #[test]
    fn odd_and_repeated_ports_are_left_out() {
        assert_eq!(pool(vec![0, 100, 101, 102, 100]).counts(), (6, 6, 0));
    }

    #[test]
    fn an_address_is_found_by_interface_and_family() {
        let pool = pool(vec![100]);
        let outside = InterfaceName::new("outside").unwrap();
        let inside = InterfaceName::new("inside").unwrap();
        assert_eq!(pool.address(None, false), Some(0));
        assert_eq!(pool.address(None, true), Some(2));
        assert_eq!(pool.address(Some(&outside), false), Some(1));
        assert_eq!(pool.address(Some(&inside), true), None);
        assert_eq!(pool.address(Some(&InterfaceName::new("x").unwrap()), false), None);
    }

    #[test]
    fn a_pair_is_taken_by_its_address_once() {
        let mut pool = pool(vec![100, 102]);
        let local = "192.0.2.1:102".parse().unwrap();
        assert_eq!(
            pool.take_local(local),
            Some(Pair {
                address: 1,
                port: 102
            })
        );
        assert_eq!(pool.take_local(local), None);
        assert_eq!(pool.take_local("192.0.2.1:103".parse().unwrap()), None);
        assert_eq!(pool.take_local("192.0.2.9:100".parse().unwrap()), None);
    }

    #[test]
    fn a_released_pair_rests_before_it_is_taken_again() {
        let mut pool = pool(vec![100]);
        let mut random = Random::from_number(1);
        let now = Timestamp::from_millis(1_000);
        let pair = pool.take(0, &mut random).unwrap();
        pool.lease(pair, 7);
        assert_eq!(pool.take(0, &mut random), None);
        assert_eq!(pool.line_at("10.0.0.1:101".parse().unwrap()), Some((pair, 7)));
        pool.release(pair, now);
        assert_eq!(pool.line_at("10.0.0.1:100".parse().unwrap()), None);
        assert_eq!(
            (pool.counts(), pool.reclaim_at()),
            ((3, 2, 1), Some(now + QUARANTINE))
        );
        pool.reclaim(now + (QUARANTINE - Duration::from_nanos(1)));
        assert_eq!(pool.take(0, &mut random), None);
        pool.reclaim(now + QUARANTINE);
        assert_eq!(pool.take(0, &mut random), Some(pair));
    }

    #[test]
    fn every_free_port_is_as_likely_as_any_other() {
        let mut random = Random::from_number(2);
        let mut seen = HashMap::new();
        for _ in 0..4_000 {
            let mut pool = pool(vec![100, 102, 104, 106]);
            *seen.entry(pool.take(0, &mut random).unwrap().port).or_insert(0) += 1;
        }
        assert!(
            seen.len() == 4 && seen.values().all(|n| (900..1_100).contains(n)),
            "{seen:?}"
        );
    }
}
