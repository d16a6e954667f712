//! The routing table with its host names looked up, again and again.
//!
//! Names are looked up by RFC 3263 ahead of calls, which never wait for it: when an answer has lived its time it is asked for
//! again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ops::clock::MonotonicClock;
use sans_io::Timestamp;
use sip::{Destination, FlowId, Transport};
use sip_transport::Bound;
use sip_transport::dns::{Goal, Resolver, Target};
use tokio::sync::watch;

use crate::config;

/// How long the questions for one name may take together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a next hop says about itself: what is looked up once for all routes that say the same.
type Name = (String, Option<u16>, Option<Transport>);

/// How names stand, for metrics.
#[derive(Debug, Default)]
pub struct Lookups {
    /// Routes whose next hop has no address that a listener can send to: their calls get 503.
    pub unresolved: AtomicU64,
    /// Names that were looked up and found.
    pub found: AtomicU64,
    /// Names that were looked up and lead nowhere.
    pub nothing: AtomicU64,
    /// Names for which there was no answer.
    pub failed: AtomicU64,
    /// Answers that are remembered.
    pub remembered: AtomicU64,
}

/// The routes of the configuration and the addresses of their names.
#[derive(Debug)]
pub struct Table {
    routes: Vec<config::Route>,
    /// Our listeners by their place: an address that none of them can send to is left out.
    listeners: Vec<Bound>,
    /// The place of the listener that a route names.
    named: Vec<Option<usize>>,
    /// [`tls_peers`].
    peers: Vec<String>,
    /// What we can send over, the preferred first, and whether to IPv4 and IPv6.
    transports: Vec<Transport>,
    families: (bool, bool),
    resolver: Resolver,
    clock: MonotonicClock,
    known: HashMap<Name, Vec<Target>>,
    lookups: Arc<Lookups>,
}

impl Table {
    /// The table of `routes`, for a transport that is bound to these addresses.
    pub fn new(sip: &config::Sip, routes: &[config::Route], bound: &[Bound], resolver: Resolver) -> Self {
        let can_verify = sip.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        let is_spoken = |transport: &Transport| {
            let listens = bound.iter().any(|bound| bound.transport == *transport);
            listens && (*transport != Transport::Tls || can_verify)
        };
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
        Self {
            transports: transports.into_iter().filter(is_spoken).collect(),
            families: (
                bound.iter().any(|bound| bound.local.is_ipv4()),
                bound.iter().any(|bound| bound.local.is_ipv6()),
            ),
            resolver,
            clock: MonotonicClock::start(),
            routes: routes.to_vec(),
            listeners: bound.to_vec(),
            named: routes
                .iter()
                .map(|route| route.listener.as_deref().and_then(|name| sip.place_of(name)))
                .collect(),
            peers: tls_peers(routes),
            known: HashMap::new(),
            lookups: Arc::default(),
        }
    }

    /// How names stand, for metrics.
    pub fn lookups(&self) -> Arc<Lookups> {
        self.lookups.clone()
    }

    /// Whether there is a name at all.
    pub fn has_names(&self) -> bool {
        self.routes.iter().any(|route| route.next_hop.address.is_none())
    }

    /// Looks every name up whose answers have lived their time. One that is not found keeps the addresses that it had. Gives
    /// when to look again; `None` for soon, since something failed.
    pub async fn look_up(&mut self) -> Option<Timestamp> {
        let mut names: Vec<Name> = self
            .routes
            .iter()
            .filter(|route| route.next_hop.address.is_none())
            .map(|route| name(&route.next_hop))
            .collect();
        names.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        names.dedup();
        let mut again = Some(Timestamp::MAX);
        for name in names {
            let goal = Goal {
                host: name.0.clone(),
                port: name.1,
                transport: name.2,
                transports: self.transports.clone(),
                families: self.families,
            };
            let host = name.0.clone();
            let looking = self.resolver.resolve(self.clock.now(), goal);
            let (counter, until) = match tokio::time::timeout(LOOKUP_TIMEOUT, looking).await {
                Ok(Ok((targets, until))) if targets.is_empty() => {
                    tracing::warn!(host, "next hop not found");
                    (&self.lookups.nothing, until)
                }
                Ok(Ok((targets, until))) => {
                    self.known.insert(name, targets);
                    (&self.lookups.found, until)
                }
                Ok(Err(error)) => {
                    tracing::warn!(host, %error, "next hop not looked up");
                    (&self.lookups.failed, None)
                }
                Err(_) => {
                    tracing::warn!(host, "next hop not looked up in time");
                    (&self.lookups.failed, None)
                }
            };
            counter.fetch_add(1, Relaxed);
            again = again.zip(until).map(|(again, until)| again.min(until));
        }
        let unresolved = (0..self.routes.len())
            .filter(|&n| self.next_hops(n).is_empty())
            .count();
        self.lookups.unresolved.store(unresolved as u64, Relaxed);
        let remembered = self.resolver.remembered() as u64;
        self.lookups.remembered.store(remembered, Relaxed);
        again
    }

    /// The table as calls use it.
    pub fn routes(&self) -> Vec<call::Route> {
        let route = |(n, route): (usize, &config::Route)| call::Route {
            prefix: route.prefix.clone(),
            next_hops: self.next_hops(n),
        };
        self.routes.iter().enumerate().map(route).collect()
    }

    fn targets(&self, hop: &config::NextHop) -> Vec<Target> {
        match hop.address {
            Some(address) => vec![Target {
                transport: hop.transport,
                address: SocketAddr::new(address, hop.port),
                rank: 0,
                server: 0,
                weight: 0,
            }],
            None => self.known.get(&name(hop)).cloned().unwrap_or_default(),
        }
    }

    /// The next hops of the `n`th route.
    fn next_hops(&self, n: usize) -> Vec<call::NextHop> {
        let hop = &self.routes[n].next_hop;
        let peer = self.peers.binary_search(&hop.host).ok();
        let peer = peer.and_then(|peer| u32::try_from(peer).ok());
        let next_hop = |target: Target| {
            let place = self.listener(self.named[n], target.transport, target.address)?;
            let flow = match peer.filter(|_| target.transport == Transport::Tls) {
                Some(peer) => FlowId::of_peer(place, peer),
                None => FlowId::of_listener(place),
            };
            Some(call::NextHop {
                destination: Destination {
                    transport: target.transport,
                    remote: target.address,
                    flow: Some(flow),
                },
                host: hop.uri_host.clone(),
                contact: None,
                place: call::Place {
                    rank: target.rank,
                    server: target.server,
                    weight: target.weight,
                },
                logins: self.routes[n].logins(),
            })
        };
        self.targets(hop).into_iter().filter_map(next_hop).collect()
    }

    /// The place of the listener that requests to `remote` leave by: the one that is named; else the one at the address
    /// that the system would send from; else the first. `None` if it, or each of them, has another protocol or family.
    fn listener(&self, named: Option<usize>, transport: Transport, remote: SocketAddr) -> Option<u16> {
        let fits = |place: &usize| {
            let bound = &self.listeners[*place];
            bound.transport == transport && bound.local.is_ipv4() == remote.is_ipv4()
        };
        let place = match named {
            Some(place) => Some(place).filter(fits),
            None => {
                let fitting: Vec<usize> = (0..self.listeners.len()).filter(fits).collect();
                let chosen = match fitting[..] {
                    [] | [_] => None,
                    _ => system_source(remote),
                };
                let is_chosen = |place: &&usize| Some(self.listeners[**place].local.ip()) == chosen;
                fitting.iter().find(is_chosen).or(fitting.first()).copied()
            }
        };
        place.and_then(|place| u16::try_from(place).ok())
    }
}

/// What is looked up for a next hop.
fn name(hop: &config::NextHop) -> Name {
    (hop.host.clone(), hop.written_port, hop.written_transport)
}

/// The hosts that next hops over TLS have to prove to be (RFC 5922 §7.3), in order and each once: by its place a flow
/// names one.
pub fn tls_peers(routes: &[config::Route]) -> Vec<String> {
    let hops = routes.iter().map(|route| &route.next_hop);
    let mut peers: Vec<String> = hops
        .filter(|hop| hop.transport == Transport::Tls || hop.is_open())
        .map(|hop| hop.host.clone())
        .collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// The address that the system's routes would send from to `remote`. Asks the kernel; nothing is sent.
fn system_source(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Looks the names of `table` up again and again when their answers have lived their time, `soonest` apart at the least and
/// `latest` at the most, and tells when addresses changed.
pub async fn refresh(
    mut table: Table,
    soonest: Duration,
    latest: Duration,
    tell: watch::Sender<Vec<call::Route>>,
) {
    if !table.has_names() {
        return std::future::pending().await;
    }
    loop {
        let again = table.look_up().await;
        let routes = table.routes();
        tell.send_if_modified(|told| {
            let changed = *told != routes;
            if changed {
                tracing::info!("addresses of next hops changed");
                *told = routes;
            }
            changed
        });
        let wait = again.map_or(soonest, |again| again.saturating_since(table.clock.now()));
        tokio::time::sleep(wait.clamp(soonest, latest)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(next_hop: &str, listeners: &[&str]) -> Table {
        table_by(next_hop, listeners, None)
    }

    /// The table of a route that names its listener.
    fn table_by(next_hop: &str, listeners: &[&str], listener: Option<&str>) -> Table {
        let next_hop = config::NextHop::try_from(next_hop.to_owned()).unwrap();
        let listen: Vec<String> = (0..listeners.len())
            .map(|n| format!("{{ at = \"udp:{}\", name = \"{n}\" }}", listeners[n]))
            .collect();
        let sip: config::Sip = toml::from_str(&format!("listen = [{}]", listen.join(","))).unwrap();
        let bound: Vec<Bound> = listeners
            .iter()
            .map(|local| Bound {
                transport: Transport::Udp,
                local: local.parse().unwrap(),
            })
            .collect();
        Table::new(
            &sip,
            &[config::Route {
                prefix: "1".into(),
                next_hop,
                account: None,
                listener: listener.map(str::to_owned),
            }],
            &bound,
            config::Dns::default().resolver().unwrap(),
        )
    }

    #[test]
    fn a_next_hop_is_reached_from_the_listener_that_faces_it() {
        let place = |table: &Table| {
            let flow = table.routes()[0].next_hops[0].destination.flow;
            flow.map(FlowId::listener)
        };
        let loops = ["127.0.0.2:5060", "127.0.0.1:5060", "[::1]:5060", "127.0.0.1:5070"];
        // The system sends from 127.0.0.1 to all of 127.0.0.0/8.
        assert_eq!(place(&table("sip:127.0.0.9", &loops)), Some(1));
        assert_eq!(place(&table("sip:[::1]", &loops)), Some(2));
        assert_eq!(place(&table_by("sip:127.0.0.9", &loops, Some("3"))), Some(3));
        // None is at that address: the first.
        assert_eq!(
            place(&table("sip:127.0.0.9", &["127.0.0.3:1", "127.0.0.2:2"])),
            Some(0)
        );
        assert!(
            table_by("sip:[::1]", &loops, Some("0")).routes()[0]
                .next_hops
                .is_empty()
        );
    }

    fn hops(table: &Table) -> Vec<(String, String)> {
        let hop = |hop: &call::NextHop| (hop.destination.remote.to_string(), hop.host.clone());
        table.routes()[0].next_hops.iter().map(hop).collect()
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let table = table("sip:192.0.2.1:5070", &["127.0.0.1:5060"]);
        assert!(!table.has_names());
        assert_eq!(hops(&table), [("192.0.2.1:5070".into(), "192.0.2.1:5070".into())]);
    }

    #[tokio::test]
    async fn an_address_that_no_listener_can_send_to_is_left_out() {
        let mut table_of_ipv4 = table("sip:[2001:db8::1]", &["127.0.0.1:5060"]);
        assert!(hops(&table_of_ipv4).is_empty());
        table_of_ipv4.look_up().await;
        assert_eq!(table_of_ipv4.lookups().unresolved.load(Relaxed), 1);
        assert_eq!(
            hops(&table("sip:[2001:db8::1]", &["127.0.0.1:5060", "[::1]:5060"])).len(),
            1
        );
    }

    #[tokio::test]
    async fn a_name_keeps_its_addresses_when_it_is_not_found_any_more() {
        let mut table = table("sip:localhost:5070", &["127.0.0.1:5060"]);
        assert!(hops(&table).is_empty());
        table.look_up().await;
        let found = [("127.0.0.1:5070".to_owned(), "localhost:5070".to_owned())];
        assert_eq!(hops(&table), found);
        assert_eq!(table.lookups().unresolved.load(Relaxed), 0);
        // ".invalid" is never found (RFC 6761 §6.4).
        let known = table.known.remove(&name(&table.routes[0].next_hop)).unwrap();
        table.routes[0].next_hop.host = "gone.invalid".into();
        table.look_up().await;
        assert_eq!(table.lookups().unresolved.load(Relaxed), 1);
        let gone = name(&table.routes[0].next_hop);
        table.known.insert(gone, known);
        table.look_up().await;
        assert_eq!(hops(&table), found);
    }
}
