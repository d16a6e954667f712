use std::collections::BTreeMap;

use sip::Destination;

/// A place to send calls to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Where the messages go.
    pub destination: Destination,
    /// `host` or `host:port` of the request URI and of `To`, IPv6 in brackets.
    pub host: String,
    /// The contact of a user, when the next hop is one and not a place that routes by itself.
    pub contact: Option<Contact>,
}

/// How a user wants to be asked for at a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The request URI, as it was registered (RFC 3261 §16.6 step 2).
    pub uri: String,
    /// `Route` values in order (RFC 3327 §5.3).
    pub routes: Vec<String>,
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
            hops.entry(route.prefix.into_bytes().into())
                .or_default()
                .extend(route.next_hops);
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
