//! Next hops: which interface and link-layer address packets leave by. Sans-IO: answers of the kernel go in, what to ask it
//! and what changed come out.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use sans_io::Timestamp;

use super::netlink::{Link, Mac};
use super::ways::{Neighbour, Route};

/// The local and the remote address of packets: what the way of a packet depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    pub from: IpAddr,
    pub to: IpAddr,
}

/// A machine on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NextHop {
    pub ifindex: NonZeroU32,
    pub ip: IpAddr,
}

/// Why there is no next hop to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The kernel has no way there, or not over Ethernet.
    Way,
    /// Nobody has answered yet who has the next hop's address; or nobody was asked yet.
    Neighbour,
}

/// Time between two datagrams that make the kernel ask who has an address.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The same for an address that is known and not confirmed: the kernel waits 5 s for a confirmation from above, then asks
/// three times, a second apart.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);

/// What is known of ways and neighbours.
#[derive(Debug, Default)]
pub struct Hops {
    links: HashMap<NonZeroU32, Link>,
    ways: HashMap<Ends, Way>,
    neighbours: HashMap<NextHop, Known>,
    /// Ends whose way is to be asked.
    unasked: HashSet<Ends>,
    /// Whether a flow may have another next hop than the one it was made with.
    changed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// `None` before the first answer, and when there is none.
    hop: Option<NextHop>,
    is_answered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The last that was said; kept when it is not confirmed any more, since flows have nothing better.
    mac: Option<Mac>,
    /// Whether the kernel would use it now.
    is_valid: bool,
    needs_probe: bool,
    probed: Option<Timestamp>,
    /// The kernel may have said something else meanwhile, which was not heard.
    is_doubted: bool,
}

impl Hops {
    /// The interfaces that there are now.
    pub(super) fn set_links(&mut self, links: Vec<Link>) {
        self.links = links.into_iter().map(|link| (link.index, link)).collect();
        self.changed = true;
    }

    /// Where packets between `ends` go. The first call for them only makes them [`Self::take_unasked`].
    pub(super) fn find(&mut self, ends: Ends) -> Result<ebpf::Neighbour, Missing> {
        let Some(way) = self.ways.get(&ends) else {
            self.ways.insert(ends, Way::default());
            self.unasked.insert(ends);
            return Err(Missing::Neighbour);
        };
        match way {
            Way {
                is_answered: false, ..
            } => Err(Missing::Neighbour),
            Way { hop: None, .. } => Err(Missing::Way),
            Way { hop: Some(hop), .. } => self.neighbour(*hop),
        }
    }

    fn neighbour(&self, hop: NextHop) -> Result<ebpf::Neighbour, Missing> {
        let link = self
            .links
            .get(&hop.ifindex)
            .filter(|link| link.is_up && !link.is_loopback);
        let own = link.and_then(|link| link.mac).ok_or(Missing::Way)?;
        let known = self.neighbours.get(&hop).and_then(|known| known.mac);
        Ok(ebpf::Neighbour {
            ifindex: hop.ifindex,
            own,
            address: known.ok_or(Missing::Neighbour)?,
        })
    }

    /// Ends whose way the kernel has to be asked for, at most `count`.
    pub(super) fn take_unasked(&mut self, count: usize) -> Vec<Ends> {
        let ends: Vec<Ends> = self.unasked.iter().take(count).copied().collect();
        for ends in &ends {
            self.unasked.remove(ends);
        }
        ends
    }

    /// Whether [`Self::take_unasked`] has some.
    pub(super) fn has_unasked(&self) -> bool {
        !self.unasked.is_empty()
    }

    /// The kernel's answer; `None`: there is no way. Says which neighbour is to be asked for, too.
    pub(super) fn set_way(&mut self, ends: Ends, route: Option<Route>) -> Option<NextHop> {
        let hop = route.map(|route| NextHop {
            ifindex: route.ifindex,
            ip: route.next_hop,
        });
        let way = self.ways.get_mut(&ends)?;
        self.changed |= way.hop != hop;
        *way = Way {
            hop,
            is_answered: true,
        };
        hop.filter(|hop| self.neighbours.get(hop).is_none_or(|known| known.is_doubted))
    }

    /// What the kernel says of a next hop; `None`: it has never heard of it.
    pub(super) fn set_neighbour(&mut self, hop: NextHop, neighbour: Option<Neighbour>) {
        let known = self.neighbours.entry(hop).or_insert(Known {
            mac: None,
            is_valid: false,
            needs_probe: false,
            probed: None,
            is_doubted: false,
        });
        known.is_doubted = false;
        let mac = neighbour.and_then(|neighbour| neighbour.mac);
        self.changed |= mac.is_some() && mac != known.mac;
        known.is_valid = mac.is_some();
        known.mac = mac.or(known.mac);
        known.needs_probe = neighbour.is_none_or(|neighbour| neighbour.mac.is_none() || neighbour.is_stale);
    }

    /// The same unasked. Others than those that a way goes through are of no interest.
    pub(super) fn hear(&mut self, neighbour: Neighbour) {
        let hop = NextHop {
            ifindex: neighbour.ifindex,
            ip: neighbour.ip,
        };
        if self.neighbours.contains_key(&hop) {
            self.set_neighbour(hop, Some(neighbour));
        }
    }

    /// Every way may be another now.
    pub(super) fn forget_ways(&mut self) {
        self.unasked.extend(self.ways.keys());
    }

    /// Word of changes was lost: every way and every neighbour may be another now.
    pub(super) fn doubt(&mut self) {
        self.forget_ways();
        for known in self.neighbours.values_mut() {
            known.is_doubted = true;
        }
    }

    /// The next hops to which a datagram must go so that the kernel asks who has their address: nobody has answered yet, or
    /// not for a while. What the programs send is no traffic to the kernel, so that nothing else would make it ask.
    pub(super) fn take_probes(&mut self, now: Timestamp) -> Vec<NextHop> {
        let mut probes = Vec::new();
        for (hop, known) in &mut self.neighbours {
            let interval = if known.is_valid {
                CONFIRM_INTERVAL
            } else {
                PROBE_INTERVAL
            };
            let is_due = known.probed.is_none_or(|probed| now >= probed + interval);
            if known.needs_probe && is_due {
                known.probed = Some(now);
                probes.push(*hop);
            }
        }
        probes
    }

    /// Whether a flow may have another next hop now than at the last time.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Some flow did not get what is new.
    pub(super) const fn set_changed(&mut self) {
        self.changed = true;
    }

    /// Every way that was asked for.
    pub(super) fn ends(&self) -> impl Iterator<Item = Ends> + '_ {
        self.ways.keys().copied()
    }

    /// Lets go of the other ways, and of neighbours that none goes through.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Ends) -> bool) {
        self.ways.retain(|ends, _| wanted(ends));
        self.unasked.retain(wanted);
        let hops: HashSet<NextHop> = self.ways.values().filter_map(|way| way.hop).collect();
        self.neighbours.retain(|hop, _| hops.contains(hop));
    }

    /// Next hops that are known, and those among them whose address nobody confirms now.
    pub(super) fn count(&self) -> (usize, usize) {
        let lost = self.neighbours.values().filter(|known| !known.is_valid).count();
        (self.neighbours.len(), lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];
    const OWN: Mac = [2, 0, 0, 0, 0, 1];

    fn index() -> NonZeroU32 {
        NonZeroU32::new(3).expect("not zero")
    }

    fn hops() -> Hops {
        let mut hops = Hops::default();
        hops.set_links(vec![Link {
            index: index(),
            name: "eth0".into(),
            is_loopback: false,
            is_up: true,
            mac: Some(OWN),
            kind: String::new(),
        }]);
        hops
    }

    fn ends() -> Ends {
        Ends {
            from: [192, 0, 2, 1].into(),
            to: [198, 51, 100, 7].into(),
        }
    }

    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));

    fn heard(mac: Option<Mac>, is_stale: bool) -> Neighbour {
        Neighbour {
            ifindex: index(),
            ip: GATEWAY,
            mac,
            is_stale,
        }
    }

    /// With the way over the gateway answered.
    fn on_the_way() -> (Hops, NextHop) {
        let mut hops = hops();
        assert_eq!(hops.find(ends()), Err(Missing::Neighbour));
        assert_eq!(hops.take_unasked(8), [ends()]);
        let route = Route {
            ifindex: index(),
            next_hop: GATEWAY,
        };
        let hop = hops.set_way(ends(), Some(route)).expect("not asked for yet");
        (hops, hop)
    }

    #[test]
    fn a_way_is_asked_for_once_and_then_known() {
        let (mut hops, hop) = on_the_way();
        assert_eq!(hops.find(ends()), Err(Missing::Neighbour));
        assert!(!hops.has_unasked());
        hops.set_neighbour(hop, None);
        assert_eq!(hops.take_probes(Timestamp::ZERO), [hop], "nobody knows it: ask");
        assert_eq!(hops.take_probes(Timestamp::ZERO), [], "asked a moment ago");
        hops.hear(heard(Some(MAC), false));
        let found = hops.find(ends()).expect("known");
        assert_eq!((found.ifindex, found.own, found.address), (index(), OWN, MAC));
        assert_eq!(hops.take_probes(Timestamp::MAX), [], "confirmed");
        assert_eq!(hops.count(), (1, 0));
    }

    #[test]
    fn no_way_is_an_answer_until_ways_change() {
        let mut hops = hops();
        assert_eq!(hops.find(ends()), Err(Missing::Neighbour));
        hops.take_unasked(8);
        assert_eq!(hops.set_way(ends(), None), None);
        assert_eq!(hops.find(ends()), Err(Missing::Way));
        hops.forget_ways();
        assert_eq!(hops.take_unasked(8), [ends()]);
    }

    #[test]
    fn a_neighbour_is_asked_for_again_when_word_was_lost() {
        let (mut hops, hop) = on_the_way();
        hops.set_neighbour(hop, Some(heard(Some(MAC), false)));
        let route = Route {
            ifindex: index(),
            next_hop: GATEWAY,
        };
        hops.forget_ways();
        assert_eq!(hops.take_unasked(8), [ends()]);
        assert_eq!(hops.set_way(ends(), Some(route)), None, "nothing was said of it");
        hops.doubt();
        assert_eq!(hops.take_unasked(8), [ends()]);
        assert!(hops.find(ends()).is_ok(), "as it was until there is an answer");
        assert_eq!(hops.set_way(ends(), Some(route)), Some(hop));
        let other = [2, 0, 0, 0, 0, 10];
        hops.take_changed();
        hops.set_neighbour(hop, Some(heard(Some(other), false)));
        assert!(hops.take_changed());
        assert_eq!(hops.find(ends()).map(|found| found.address), Ok(other));
        assert_eq!(hops.set_way(ends(), Some(route)), None, "asked for once");
    }

    #[test]
    fn a_stale_neighbour_is_probed_and_one_that_is_gone_is_kept_for_want_of_better() {
        let (mut hops, hop) = on_the_way();
        hops.set_neighbour(hop, Some(heard(Some(MAC), true)));
        assert!(hops.find(ends()).is_ok(), "stale is good enough");
        let now = Timestamp::from_millis(5_000);
        assert_eq!(hops.take_probes(now), [hop]);
        hops.hear(heard(None, false));
        assert_eq!(hops.find(ends()).map(|found| found.address), Ok(MAC));
        assert_eq!(hops.count(), (1, 1));
        assert_eq!(hops.take_probes(now + PROBE_INTERVAL), [hop]);
        let other = [2, 0, 0, 0, 0, 10];
        assert!(hops.take_changed());
        hops.hear(heard(Some(MAC), false));
        assert!(!hops.take_changed(), "the same again");
        hops.hear(heard(Some(other), false));
        assert!(hops.take_changed());
        assert_eq!(hops.find(ends()).map(|found| found.address), Ok(other));
    }

    #[test]
    fn what_nobody_uses_is_let_go_of() {
        let (mut hops, hop) = on_the_way();
        hops.set_neighbour(hop, Some(heard(Some(MAC), false)));
        hops.retain(|_| true);
        assert_eq!(hops.count(), (1, 0));
        hops.retain(|_| false);
        assert_eq!(hops.count(), (0, 0));
        assert_eq!(hops.find(ends()), Err(Missing::Neighbour), "asked for anew");
    }

    #[test]
    fn a_link_that_is_down_is_no_way() {
        let (mut hops, hop) = on_the_way();
        hops.set_neighbour(hop, Some(heard(Some(MAC), false)));
        hops.set_links(vec![]);
        assert_eq!(hops.find(ends()), Err(Missing::Way));
    }
}
