//! The routing table with its host names looked up, again and again.
//!
//! Names are looked up by RFC 3263 ahead of calls, which never wait for it: when an answer has lived its time it is asked for
//! again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use call::TrunkId;
use ops::clock::MonotonicClock;
use sans_io::Timestamp;
use sip::{Destination, FlowId, Transport};
use sip_transport::Bound;
use sip_transport::dns::{Goal, ResolveError, Resolver, Target};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;

use crate::config;
use crate::plan::{Plan, TrunkPlan};

/// How long the questions for one name may take together at the least.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Names that are looked up at once: one that nobody answers for holds up few others.
const LOOKUPS_AT_ONCE: usize = 32;

/// What a next hop says about itself: what is looked up once for all routes that say the same.
type Name = (String, Option<u16>, Option<Transport>);

/// What came of a search: targets and until when they hold, or why there are none.
type Looked = Result<Result<(Vec<Target>, Option<Timestamp>), ResolveError>, Elapsed>;

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

/// The routes and trunks of the configuration and the addresses of their names.
#[derive(Debug)]
pub struct Table {
    /// Numbers of trunks by their names; one that is gone keeps its own.
    ids: HashMap<String, TrunkId>,
    trunks: Vec<(TrunkId, Arc<config::Trunk>)>,
    routes: Vec<config::Route>,
    /// The places of the trunks, then those of routes without one.
    stops: Vec<Stop>,
    /// Which of [`Self::stops`] each route leads to.
    stop_of: Vec<usize>,
    sip: config::Sip,
    /// Our listeners by their place: an address that none of them can send to is left out.
    listeners: Vec<Bound>,
    /// [`tls_peers`].
    peers: Vec<String>,
    /// What we can send over, the preferred first, and whether to IPv4 and IPv6.
    transports: Vec<Transport>,
    families: (bool, bool),
    resolver: Arc<Resolver>,
    clock: MonotonicClock,
    known: HashMap<Name, Vec<Target>>,
    lookups: Arc<Lookups>,
}

/// Where a trunk or a route leads.
#[derive(Debug)]
struct Stop {
    next_hop: config::NextHop,
    transfer: call::TransferPolicy,
    srtp: call::Srtp,
    /// The place of the listener that it names.
    listener: Option<usize>,
    logins: Option<Arc<[call::Login]>>,
    trunk: Option<TrunkId>,
}

impl Table {
    /// The table of these trunks and routes, for a transport that is bound to these addresses.
    pub fn new(
        sip: &config::Sip,
        trunks: &[config::Trunk],
        routes: &[config::Route],
        bound: &[Bound],
        resolver: Resolver,
    ) -> Self {
        let can_verify = sip.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        let is_spoken = |transport: &Transport| {
            let listens = bound.iter().any(|bound| bound.transport == *transport);
            listens && (*transport != Transport::Tls || can_verify)
        };
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let mut table = Self {
            transports: transports.into_iter().filter(is_spoken).collect(),
            families: (
                bound.iter().any(|bound| bound.local.is_ipv4()),
                bound.iter().any(|bound| bound.local.is_ipv6()),
            ),
            resolver: Arc::new(resolver),
            clock: MonotonicClock::start(),
            ids: HashMap::new(),
            trunks: Vec::new(),
            routes: Vec::new(),
            stops: Vec::new(),
            stop_of: Vec::new(),
            sip: sip.clone(),
            listeners: bound.to_vec(),
            peers: tls_peers(trunks, routes),
            known: HashMap::new(),
            lookups: Arc::default(),
        };
        table.set(trunks, routes);
        table
    }

    /// [`tls_peers`] as they are with other trunks and routes, those of before at their places: flows name them by it.
    pub fn peers_with(&self, trunks: &[config::Trunk], routes: &[config::Route]) -> Vec<String> {
        let mut peers = self.peers.clone();
        for peer in tls_peers(trunks, routes) {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        peers
    }

    /// Takes other trunks and routes, whose [`Self::peers_with`] these are. What is known of names stays.
    pub fn take(&mut self, trunks: &[config::Trunk], routes: &[config::Route], peers: Vec<String>) {
        self.peers = peers;
        self.set(trunks, routes);
    }

    /// The time by the clock that answers live by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes these trunks and routes instead of those it has. The names of trunks and next hops must be those that were
    /// checked with the configuration.
    fn set(&mut self, trunks: &[config::Trunk], routes: &[config::Route]) {
        self.trunks.clear();
        self.stops.clear();
        for trunk in trunks {
            let next = TrunkId(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
            let id = *self.ids.entry(trunk.name.clone()).or_insert(next);
            self.trunks.push((id, Arc::new(trunk.clone())));
            let listener = trunk.listener.as_deref();
            self.stops.push(Stop {
                next_hop: trunk.next_hop.clone(),
                listener: listener.and_then(|name| self.sip.place_of(name)),
                logins: config::Account::logins(&trunk.accounts),
                transfer: trunk.transfer.into(),
                srtp: trunk.srtp.into(),
                trunk: Some(id),
            });
        }
        let by_name: HashMap<&str, usize> = trunks.iter().map(|trunk| &*trunk.name).zip(0..).collect();
        self.routes.clear();
        self.stop_of.clear();
        for route in routes {
            let stop = match (&route.next_hop, &route.trunk) {
                (Some(next_hop), _) => {
                    let listener = route.listener.as_deref();
                    self.stops.push(Stop {
                        next_hop: next_hop.clone(),
                        listener: listener.and_then(|name| self.sip.place_of(name)),
                        logins: config::Account::logins(route.account.as_slice()),
                        transfer: route.transfer.into(),
                        srtp: route.srtp.into(),
                        trunk: None,
                    });
                    self.stops.len() - 1
                }
                (None, Some(name)) if by_name.contains_key(&**name) => by_name[&**name],
                // The configuration was checked for that.
                (None, _) => continue,
            };
            self.routes.push(route.clone());
            self.stop_of.push(stop);
        }
    }

    /// How names stand, for metrics.
    pub fn lookups(&self) -> Arc<Lookups> {
        self.lookups.clone()
    }

    /// Whether there is a name at all.
    pub fn has_names(&self) -> bool {
        self.stops.iter().any(|stop| stop.next_hop.address.is_none())
    }

    /// Looks every name up whose answers have lived their time. One that is not found keeps the addresses that it had. Gives
    /// when to look again; `None` for soon, since something failed.
    pub async fn look_up(&mut self) -> Option<Timestamp> {
        let mut names: Vec<Name> = self
            .stops
            .iter()
            .filter(|stop| stop.next_hop.address.is_none())
            .map(|stop| name(&stop.next_hop))
            .collect();
        names.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        names.dedup();
        let mut again = Some(Timestamp::MAX);
        let mut names = names.into_iter();
        // Dropped with this future, and what is under way with it.
        let mut looking = JoinSet::new();
        loop {
            let free = LOOKUPS_AT_ONCE.saturating_sub(looking.len());
            for name in names.by_ref().take(free) {
                looking.spawn(self.look_for(name));
            }
            let Some(looked) = looking.join_next().await else {
                break;
            };
            let Ok((name, result)) = looked else {
                // A task of ours that panicked: its name keeps its addresses.
                again = None;
                continue;
            };
            let host = name.0.clone();
            let (counter, until) = match result {
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
        let unresolved = self
            .stops
            .iter()
            .filter(|stop| self.next_hops(stop).is_empty())
            .count();
        self.lookups.unresolved.store(unresolved as u64, Relaxed);
        let remembered = self.resolver.remembered() as u64;
        self.lookups.remembered.store(remembered, Relaxed);
        again
    }

    /// The search for one name's targets, with its end in time.
    fn look_for(&self, name: Name) -> impl Future<Output = (Name, Looked)> + use<> {
        let goal = Goal {
            host: name.0.clone(),
            port: name.1,
            transport: name.2,
            transports: self.transports.clone(),
            families: self.families,
        };
        let patience = self.resolver.patience().max(LOOKUP_TIMEOUT);
        let (resolver, now) = (self.resolver.clone(), self.clock.now());
        async move {
            let looked = tokio::time::timeout(patience, resolver.resolve(now, goal)).await;
            (name, looked)
        }
    }

    /// The table as calls use it.
    pub fn plan(&self) -> Plan {
        let hops: Vec<Vec<call::NextHop>> = self.stops.iter().map(|stop| self.next_hops(stop)).collect();
        let route = |(route, &stop): (&config::Route, &usize)| {
            let (failover, peer) = (route.failover(), route.peer());
            let next_hop = |hop: &call::NextHop| call::NextHop {
                failover: failover.clone(),
                peer: peer.clone(),
                ..hop.clone()
            };
            call::Route {
                prefix: route.prefix.clone(),
                weight: route.weight,
                next_hops: hops[stop].iter().map(next_hop).collect(),
            }
        };
        // The trunks' stops come first.
        let trunks = self.trunks.iter().zip(&hops);
        Plan {
            routes: self.routes.iter().zip(&self.stop_of).map(route).collect(),
            trunks: trunks
                .map(|((id, config), hops)| TrunkPlan {
                    id: *id,
                    config: config.clone(),
                    next_hops: hops.clone(),
                })
                .collect(),
        }
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

    /// The next hops that a trunk or route leads to.
    fn next_hops(&self, stop: &Stop) -> Vec<call::NextHop> {
        let hop = &stop.next_hop;
        let peer = self.peers.iter().position(|peer| *peer == hop.host);
        let peer = peer.and_then(|peer| u32::try_from(peer).ok());
        let next_hop = |target: Target| {
            let place = self.listener(stop.listener, target.transport, target.address)?;
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
                    ..call::Place::default()
                },
                logins: stop.logins.clone(),
                trunk: stop.trunk,
                transfer: stop.transfer,
                srtp: stop.srtp,
                failover: None,
                peer: None,
                called: None,
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
pub fn tls_peers(trunks: &[config::Trunk], routes: &[config::Route]) -> Vec<String> {
    let hops = routes.iter().filter_map(|route| route.next_hop.as_ref());
    let hops = trunks.iter().map(|trunk| &trunk.next_hop).chain(hops);
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

#[cfg(test)]
mod tests {
    use super::*;
    use sip_transport::dns::{Cache, Lifetimes};

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
            &[],
            &[config::Route {
                prefix: "1".into(),
                trunk: None,
                next_hop: Some(next_hop),
                account: None,
                listener: listener.map(str::to_owned),
                weight: None,
                failover_codes: Vec::new(),
                attempt_timeout_ms: None,
                redirect: Default::default(),
                redirect_to: Vec::new(),
                trusted: false,
                history: Default::default(),
                from: Default::default(),
                transfer: config::Transfer::default(),
                srtp: config::Srtp::default(),
            }],
            &bound,
            config::Dns::default().resolver().unwrap(),
        )
    }

    #[test]
    fn a_next_hop_is_reached_from_the_listener_that_faces_it() {
        let place = |table: &Table| {
            let flow = table.plan().routes[0].next_hops[0].destination.flow;
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
            table_by("sip:[::1]", &loops, Some("0")).plan().routes[0]
                .next_hops
                .is_empty()
        );
    }

    fn hops(table: &Table) -> Vec<(String, String)> {
        let hop = |hop: &call::NextHop| (hop.destination.remote.to_string(), hop.host.clone());
        table.plan().routes[0].next_hops.iter().map(hop).collect()
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
        let known = table.known.remove(&name(&table.stops[0].next_hop)).unwrap();
        table.stops[0].next_hop.host = "gone.invalid".into();
        table.look_up().await;
        assert_eq!(table.lookups().unresolved.load(Relaxed), 1);
        let gone = name(&table.stops[0].next_hop);
        table.known.insert(gone, known);
        table.look_up().await;
        assert_eq!(hops(&table), found);
    }

    /// A name server that never answers holds no name up for longer than one: a reload waits for the last of them.
    #[tokio::test]
    async fn names_are_looked_up_at_once() {
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let lifetimes = Lifetimes {
            min: Duration::from_secs(1),
            max: Duration::from_secs(1),
            negative: Duration::from_secs(1),
        };
        let servers = [silent.local_addr().unwrap()];
        let patience = Duration::from_secs(30);
        let resolver = Resolver::new(&servers, patience, Cache::new(lifetimes, 100)).unwrap();
        let mut table = table("sip:name0.example:5070", &["127.0.0.1:5060"]);
        table.resolver = Arc::new(resolver);
        let next_hops = (1..8).map(|n| format!("sip:name{n}.example:5070"));
        for next_hop in next_hops {
            let next_hop = config::NextHop::try_from(next_hop).unwrap();
            table.stops.push(Stop {
                next_hop,
                transfer: call::TransferPolicy::Refuse,
                srtp: call::Srtp::default(),
                listener: None,
                logins: None,
                trunk: None,
            });
        }
        let asked = async {
            let mut names = std::collections::BTreeSet::new();
            let mut question = [0; 512];
            while names.len() < 8 {
                let length = silent.recv(&mut question).await.unwrap();
                let text = String::from_utf8_lossy(&question[..length]).into_owned();
                names.extend(
                    text.find("name")
                        .and_then(|at| text.get(at..at + 5))
                        .map(str::to_owned),
                );
            }
        };
        tokio::select! {
            again = table.look_up() => panic!("it has given up: {again:?}"),
            asked = tokio::time::timeout(patience / 2, asked) => asked.expect("all names are asked for before one is given up"),
        }
    }
}
