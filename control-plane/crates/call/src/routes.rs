use std::collections::BTreeMap;
use std::sync::Arc;

use sans_io::Random;
use sip::Destination;
use sip::digest::Login;

use crate::srtp::Terms;
use crate::{Failover, Peer, Srtp, TransferPolicy, TrunkId};

/// A place to send calls to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Where the messages go.
    pub destination: Destination,
    /// `host` or `host:port` of the request URI and of `To`, IPv6 in brackets.
    pub host: String,
    /// The contact of a user, when the next hop is one and not a place that routes by itself.
    pub contact: Option<Contact>,
    /// What a REFER of it leads to.
    pub transfer: TransferPolicy,
    /// What is agreed with those behind it about SRTP.
    pub srtp: Srtp,
    /// Its place among the others of its route.
    pub place: Place,
    /// Who we are there and beyond, when we are challenged.
    pub logins: Option<Arc<[Login]>>,
    /// The trunk that it is a server of, if that has a name: its state and limits are those of the trunk.
    pub trunk: Option<TrunkId>,
    /// When the next one is tried, beside silence and 503.
    pub failover: Option<Arc<Failover>>,
    /// What is agreed with those behind it; nothing by default.
    pub peer: Option<Arc<Peer>>,
    /// Who is asked for there, in place of the user of the caller's request URI: after a redirection.
    pub called: Option<Arc<Called>>,
}

impl NextHop {
    /// What SRTP there is subject to.
    pub(crate) fn srtp_terms(&self) -> Terms {
        self.srtp.with(self.destination.transport)
    }
}

/// The user of a request URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// As it is written in a URI.
    pub user: String,
    /// It is a telephone number: `user=phone` goes with it.
    pub is_phone: bool,
    /// Who has redirected the call there; `None` for whom the caller asked for.
    pub by: Option<Arc<Self>>,
}

/// How a user wants to be asked for at a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The request URI, as it was registered (RFC 3261 §16.6 step 2).
    pub uri: String,
    /// `Route` values in order (RFC 3327 §5.3).
    pub routes: Vec<String>,
}

/// Where a next hop stands in the order in which those of a call are tried (RFC 2782). Contacts of one rank are called at
/// once, each device by one of its contacts at a time (RFC 3261 §16.6, RFC 5626 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Counts the routes of one prefix. Those with the same number share the calls by their weights; else they are tried
    /// in their order.
    pub group: u32,
    /// Tells the routes of a group apart.
    pub route: u32,
    /// The share of calls that a route gets first, among those of its group.
    pub share: u16,
    /// Next hops of one route stand in the order of their ranks.
    pub rank: u32,
    /// Next hops of one rank with the same number are addresses of one server, or flows to one device: tried one after the
    /// other.
    pub server: u32,
    /// The share of calls that the server gets first, among those of its rank.
    pub weight: u16,
}

/// One line of the routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the user part of the request URI begins with; empty matches all.
    pub prefix: String,
    /// Neighbours of one prefix with a weight share the calls by it: which is tried first is left to chance. Without one a
    /// route has its place in the order.
    pub weight: Option<u16>,
    /// Tried in this order.
    pub next_hops: Vec<NextHop>,
}

/// The routing table: the longest prefix of the request URI's user wins.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    by_prefix: BTreeMap<Box<[u8]>, Box<[NextHop]>>,
    longest: usize,
}

impl Routes {
    /// Makes the table. Of two routes with the same prefix and without weights the later one's next hops come after the
    /// earlier one's.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut lines: BTreeMap<Box<[u8]>, Line> = BTreeMap::new();
        for route in routes {
            let line = lines.entry(route.prefix.into_bytes().into()).or_default();
            let shares = route.weight.is_some() && line.is_weighted;
            line.group += u32::from(!shares && line.routes > 0);
            line.is_weighted = route.weight.is_some();
            let place = Place {
                group: line.group,
                route: line.routes,
                share: route.weight.unwrap_or(0),
                ..Place::default()
            };
            line.routes += 1;
            line.hops.extend(route.next_hops.into_iter().map(|mut hop| {
                let Place {
                    rank, server, weight, ..
                } = hop.place;
                hop.place = Place {
                    rank,
                    server,
                    weight,
                    ..place
                };
                hop
            }));
        }
        let longest = lines.keys().map(|prefix| prefix.len()).max().unwrap_or(0);
        Self {
            by_prefix: lines
                .into_iter()
                .map(|(prefix, line)| (prefix, line.hops.into()))
                .collect(),
            longest,
        }
    }

    /// The next hops for `user`, in the order to try them; `None` if no route matches, empty if the one that does has
    /// no next hop for now. Does not allocate.
    pub fn lookup(&self, user: &str) -> Option<&[NextHop]> {
        let user = user.as_bytes();
        let lengths = (0..=user.len().min(self.longest)).rev();
        lengths
            .filter_map(|length| self.by_prefix.get(&user[..length]))
            .next()
            .map(|hops| &**hops)
    }
}

/// The order in which a call tries `hops`: routes in theirs or by chance, as their weights say; those of a route by rank, and
/// within a rank by chance, each server first as often as its weight says (RFC 2782). Draws no number where there is no
/// choice.
pub(crate) fn in_order_of_chance(hops: &[NextHop], random: &mut Random) -> Box<[NextHop]> {
    let mut ordered = Vec::with_capacity(hops.len());
    for of_group in hops.chunk_by(|a, b| a.place.group == b.place.group) {
        let routes = of_group.chunk_by(|a, b| a.place.route == b.place.route).collect();
        for of_route in by_chance(routes, |hop| hop.place.share, random) {
            for of_rank in of_route.chunk_by(|a, b| a.place.rank == b.place.rank) {
                let servers = of_rank
                    .chunk_by(|a, b| a.place.server == b.place.server)
                    .collect();
                for server in by_chance(servers, |hop| hop.place.weight, random) {
                    ordered.extend_from_slice(server);
                }
            }
        }
    }
    ordered.into()
}

/// Puts `choices` in an order by chance: each comes first as often as its weight says among those that are left.
fn by_chance<'a>(
    mut choices: Vec<&'a [NextHop]>,
    weight: impl Fn(&NextHop) -> u16,
    random: &mut Random,
) -> Vec<&'a [NextHop]> {
    let weight = |choice: &[NextHop]| u64::from(weight(&choice[0]));
    let mut ordered = Vec::with_capacity(choices.len());
    while choices.len() > 1 {
        let sum: u64 = choices.iter().map(|choice| weight(choice)).sum();
        // Those without weight have a small chance when others have one, and the same chance among themselves.
        let chosen = match sum {
            0 => random.below(choices.len() as u64) as usize,
            sum => {
                choices.sort_by_key(|choice| weight(choice) != 0);
                let mut left = random.below(sum + 1);
                let reaches = |choice: &&[NextHop]| {
                    let is_it = left <= weight(choice);
                    left = left.saturating_sub(weight(choice));
                    is_it
                };
                choices.iter().position(reaches).unwrap_or(0)
            }
        };
        ordered.push(choices.remove(chosen));
    }
    ordered.append(&mut choices);
    ordered
}

/// The routes of one prefix while the table is made.
#[derive(Default)]
struct Line {
    hops: Vec<NextHop>,
    routes: u32,
    group: u32,
    is_weighted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Transport;

    fn hop(port: u16) -> NextHop {
        let remote = ([192, 0, 2, 1], port).into();
        let destination = Destination {
            transport: Transport::Udp,
            remote,
            flow: None,
        };
        NextHop {
            destination,
            host: format!("192.0.2.1:{port}"),
            contact: None,
            transfer: TransferPolicy::Local,
            srtp: Srtp::default(),
            place: Place::default(),
            logins: None,
            trunk: None,
            failover: None,
            peer: None,
            called: None,
        }
    }

    fn ports(routes: &Routes, user: &str) -> Vec<u16> {
        routes
            .lookup(user)
            .unwrap_or_default()
            .iter()
            .map(|hop| hop.destination.remote.port())
            .collect()
    }

    #[test]
    fn the_longest_prefix_wins_and_keeps_its_order() {
        let routes = Routes::new([
            Route {
                prefix: "".into(),
                weight: None,
                next_hops: vec![hop(1)],
            },
            Route {
                prefix: "+49".into(),
                weight: None,
                next_hops: vec![hop(2), hop(3)],
            },
            Route {
                prefix: "+4930".into(),
                weight: None,
                next_hops: vec![hop(4)],
            },
            Route {
                prefix: "+49".into(),
                weight: None,
                next_hops: vec![hop(5)],
            },
        ]);
        assert_eq!(ports(&routes, "+493012"), [4]);
        assert_eq!(ports(&routes, "+4930"), [4]);
        assert_eq!(ports(&routes, "+49"), [2, 3, 5]);
        assert_eq!(ports(&routes, "+491"), [2, 3, 5]);
        assert_eq!(ports(&routes, "+4"), [1]);
        assert_eq!(ports(&routes, ""), [1]);
        assert_eq!(ports(&routes, "élan"), [1]);
    }

    /// RFC 2782: ranks in order, servers by weight, addresses of a server together.
    #[test]
    fn servers_come_first_as_often_as_their_weight_says() {
        let placed = |port, rank, server, weight| NextHop {
            place: Place {
                rank,
                server,
                weight,
                ..Place::default()
            },
            ..hop(port)
        };
        let hops = [
            placed(1, 0, 0, 60),
            placed(2, 0, 0, 60),
            placed(3, 0, 1, 20),
            placed(4, 0, 2, 10),
            placed(5, 0, 3, 10),
            placed(6, 1, 4, 0),
        ];
        let mut random = Random::from_number(1);
        let mut first = [0u32; 7];
        const PICKS: u32 = 10_000;
        for _ in 0..PICKS {
            let ordered = in_order_of_chance(&hops, &mut random);
            let ports: Vec<u16> = ordered.iter().map(|hop| hop.destination.remote.port()).collect();
            let place_of = |port| ports.iter().position(|&other| other == port).unwrap();
            assert_eq!(place_of(2), place_of(1) + 1, "{ports:?}");
            assert_eq!((ports.len(), ports[5]), (6, 6), "{ports:?}");
            first[usize::from(ports[0])] += 1;
        }
        for (port, percent) in [(1, 60), (3, 20), (4, 10), (5, 10)] {
            let share = f64::from(first[port]) * 100.0 / f64::from(PICKS);
            assert!(
                (share - f64::from(percent)).abs() < 2.0,
                "{port}: {share} % ({first:?})"
            );
        }
        // Without weights all have the same chance.
        let even = [placed(1, 0, 0, 0), placed(2, 0, 1, 0)];
        let ones = (0..PICKS)
            .filter(|_| {
                in_order_of_chance(&even, &mut random)[0]
                    .destination
                    .remote
                    .port()
                    == 1
            })
            .count();
        assert!((4_800..5_200).contains(&ones), "{ones}");
    }

    #[test]
    fn ranks_of_two_routes_with_one_prefix_are_kept_apart() {
        let route = |port| Route {
            prefix: "1".into(),
            weight: None,
            next_hops: vec![hop(port)],
        };
        let routes = Routes::new([route(1), route(2)]);
        let mut random = Random::from_number(1);
        for _ in 0..20 {
            let ordered = in_order_of_chance(routes.lookup("1").unwrap(), &mut random);
            assert_eq!(ordered[0].destination.remote.port(), 1);
        }
    }

    #[test]
    fn neighbours_with_weights_share_the_calls_and_all_are_tried() {
        let route = |port, weight| Route {
            prefix: "1".into(),
            weight,
            next_hops: vec![hop(port), hop(port + 100)],
        };
        let routes = Routes::new([
            route(1, Some(75)),
            route(2, Some(25)),
            route(3, None),
            route(4, Some(1)),
        ]);
        let mut random = Random::from_number(1);
        let mut first = [0; 5];
        for _ in 0..4_000 {
            let ordered = in_order_of_chance(routes.lookup("1").unwrap(), &mut random);
            let ports: Vec<u16> = ordered
                .iter()
                .map(|hop| hop.destination.remote.port() % 100)
                .collect();
            first[usize::from(ports[0])] += 1;
            // The servers of a route stay together.
            assert!(ports[0] == ports[1] && ports[2] == ports[3], "{ports:?}");
            assert_eq!(
                ports[4..],
                [3, 3, 4, 4],
                "routes without a weight, and those after them, keep their order"
            );
        }
        assert!((2_900..3_100).contains(&first[1]), "{first:?}");
    }

    #[test]
    fn no_match_is_not_a_route_without_next_hops() {
        let routes = Routes::new([
            Route {
                prefix: "1".into(),
                weight: None,
                next_hops: vec![hop(1)],
            },
            Route {
                prefix: "12".into(),
                weight: None,
                next_hops: vec![],
            },
        ]);
        assert_eq!(routes.lookup("2"), None);
        assert_eq!(Routes::default().lookup("1"), None);
        assert_eq!(
            routes.lookup("12"),
            Some(&[][..]),
            "the shorter prefix is not for it"
        );
    }
}
