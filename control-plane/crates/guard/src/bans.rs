use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use sans_io::Timestamp;

use crate::{Network, Offence};

/// A network that is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The network.
    pub network: Network,
    /// Until when.
    pub until: Timestamp,
    /// The offence that was one too many; `None` for an operator's order.
    pub offence: Option<Offence>,
}

/// A change of the ban list, for whoever drops packets further down: a table of a packet filter is kept equal by taking
/// these in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A network is banned, or longer than before.
    Banned(Ban),
    /// It is no longer.
    Lifted(Network),
}

/// The networks that are banned. Those of one source are found by hash; wider ones, which operators make, one by one.
#[derive(Debug)]
pub(crate) struct Bans {
    sources: HashMap<Network, (Timestamp, Option<Offence>)>,
    wide: Vec<Ban>,
    max: usize,
    changes: VecDeque<Change>,
}

impl Bans {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            sources: HashMap::new(),
            wide: Vec::new(),
            max: max.max(1),
            changes: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sources.len() + self.wide.len()
    }

    /// Whether `source` is banned. A ban whose time is over is lifted.
    pub(crate) fn holds(&mut self, now: Timestamp, source: IpAddr) -> bool {
        if self.sources.is_empty() && self.wide.is_empty() {
            return false;
        }
        let network = Network::of_source(source);
        match self.sources.get(&network) {
            Some(&(until, _)) if until > now => return true,
            Some(_) => drop(self.lift(network)),
            None => {}
        }
        if self.wide.iter().any(|ban| ban.until <= now) {
            self.expire(now);
        }
        self.wide.iter().any(|ban| ban.network.contains(source))
    }

    /// Bans. Gives the number of bans that were lifted for want of room.
    pub(crate) fn add(&mut self, now: Timestamp, ban: Ban) -> u64 {
        let mut lifted = 0;
        let is_known =
            self.sources.contains_key(&ban.network) || self.wide.iter().any(|old| old.network == ban.network);
        if !is_known && self.len() >= self.max {
            lifted += self.expire(now);
            let first = self.iter().min_by_key(|ban| ban.until);
            if let Some(first) = first.filter(|_| self.len() >= self.max) {
                self.lift(first.network);
                lifted += 1;
            }
        }
        if ban.network == Network::of_source(ban.network.address()) {
            self.sources.insert(ban.network, (ban.until, ban.offence));
        } else {
            self.wide.retain(|old| old.network != ban.network);
            self.wide.push(ban);
        }
        self.changes.push_back(Change::Banned(ban));
        lifted
    }

    /// Lifts a ban. `false` if there is none of exactly that network.
    pub(crate) fn lift(&mut self, network: Network) -> bool {
        let before = self.len();
        self.sources.remove(&network);
        self.wide.retain(|ban| ban.network != network);
        let is_lifted = self.len() < before;
        if is_lifted {
            self.changes.push_back(Change::Lifted(network));
        }
        is_lifted
    }

    /// Lifts those whose time is over; their number.
    pub(crate) fn expire(&mut self, now: Timestamp) -> u64 {
        let over: Vec<Network> = self
            .iter()
            .filter(|ban| ban.until <= now)
            .map(|ban| ban.network)
            .collect();
        over.into_iter().filter(|&network| self.lift(network)).count() as u64
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Ban> {
        let ban = |(&network, &(until, offence)): (&Network, &(Timestamp, Option<Offence>))| Ban {
            network,
            until,
            offence,
        };
        let of_sources = self.sources.iter().map(ban);
        of_sources.chain(self.wide.iter().copied())
    }

    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }
}
