use std::collections::BTreeMap;
use std::sync::Arc;

use sans_io::Random;
use sip::Destination;
use sip::digest::Login;

/// A place to send calls to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Where the messages go.
    pub destination: Destination,
    /// `host` or `host:port` of the request URI and of `To`, IPv6 in brackets.
    pub host: String,
    /// The contact of a user, when the next hop is one and not a place that routes by itself.
    pub contact: Option<Contact>,
    /// Its place among the others of its route.
    pub place: Place,
    /// Who we are there and beyond, when we are challenged.
    pub logins: Option<Arc<[Login]>>,
}

/// How a user wants to be asked for at a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The request URI, as it was registered (RFC 3261 §16.6 step 2).
    pub uri: String,
    /// `Route` values in order (RFC 3327 §5.3).
    pub routes: Vec<String>,
}

/// Where a next hop stands in the order in which those of a call are tried (RFC 2782).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Next hops stand in the order of their ranks.
    pub rank: u32,
    /// Next hops of one rank with the same number are addresses of one server: tried one after the other.
    pub server: u32,
    /// The share of calls that the server gets first, among those of its rank.
    pub weight: u16,
}

/// One line of the routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the user part of the request URI begins with; empty matches all.
    pub prefix: String,
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
    /// Makes the table. Of two routes with the same prefix the later one's next hops come after the earlier one's.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut hops: BTreeMap<Box<[u8]>, Vec<NextHop>> = BTreeMap::new();
        for route in routes {
            let hops = hops.entry(route.prefix.into_bytes().into()).or_default();
            // Ranks count within a route.
            let first = hops.last().map_or(0, |last| last.place.rank + 1);
            hops.extend(route.next_hops.into_iter().map(|mut hop| {
                hop.place.rank += first;
                hop
            }));
        }
        let longest = hops.keys().map(|prefix| prefix.len()).max().unwrap_or(0);
        Self {
            by_prefix: hops
                .into_iter()
                .map(|(prefix, hops)| (prefix, hops.into()))
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

/// The order in which a call tries `hops`: by rank, and within a rank by chance, each server first as often as its weight
/// says (RFC 2782). Draws no number where there is no choice.
pub(crate) fn in_order_of_chance(hops: &[NextHop], random: &mut Random) -> Box<[NextHop]> {
    let mut ordered = Vec::with_capacity(hops.len());
    for of_rank in hops.chunk_by(|a, b| a.place.rank == b.place.rank) {
        let mut servers: Vec<&[NextHop]> = of_rank
            .chunk_by(|a, b| a.place.server == b.place.server)
            .collect();
        while servers.len() > 1 {
            let weight = |server: &[NextHop]| u64::from(server[0].place.weight);
            let sum: u64 = servers.iter().map(|server| weight(server)).sum();
            // Those without weight have a small chance when others have one, and the same chance among themselves.
            let chosen = match sum {
                0 => random.below(servers.len() as u64) as usize,
                sum => {
                    servers.sort_by_key(|server| server[0].place.weight != 0);
                    let mut left = random.below(sum + 1);
                    let reaches = |server: &&[NextHop]| {
                        let is_it = left <= weight(server);
                        left = left.saturating_sub(weight(server));
                        is_it
                    };
                    servers.iter().position(reaches).unwrap_or(0)
                }
            };
            ordered.extend_from_slice(servers.remove(chosen));
        }
        servers
            .iter()
            .for_each(|server| ordered.extend_from_slice(server));
    }
    ordered.into()
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
            place: Place::default(),
            logins: None,
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
                next_hops: vec![hop(1)],
            },
            Route {
                prefix: "+49".into(),
                next_hops: vec![hop(2), hop(3)],
            },
            Route {
                prefix: "+4930".into(),
                next_hops: vec![hop(4)],
            },
            Route {
                prefix: "+49".into(),
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
            place: Place { rank, server, weight },
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
    fn no_match_is_not_a_route_without_next_hops() {
        let routes = Routes::new([
            Route {
                prefix: "1".into(),
                next_hops: vec![hop(1)],
            },
            Route {
                prefix: "12".into(),
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
