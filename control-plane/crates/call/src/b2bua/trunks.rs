//! Which next hops may be tried now.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guard::{Feedback, Rank, Throttle};
use sans_io::{Random, Timestamp};
use sip::message::Overload;
use sip::{Destination, Transport};

use super::hub::CallKey;
use crate::{NextHop, TrunkId, TrunkLimits, TrunkUse};

/// Servers that rest at once; of further ones it is not kept.
const RESTING_MAX: usize = 10_000;

type Server = (Transport, SocketAddr);

/// How trunks and servers stand, as far as calls have to know.
#[derive(Debug)]
pub(super) struct Trunks {
    trunks: HashMap<TrunkId, Trunk>,
    /// Servers that do not answer OPTIONS.
    down: HashSet<(TrunkId, Server)>,
    /// Servers that wanted to be left alone, and until when (RFC 3261 §21.5.4).
    resting: HashMap<Server, Timestamp>,
    /// What servers that are obeyed do not want (RFC 7339).
    throttle: Throttle<Server>,
    /// At which trunk a call is.
    calls: HashMap<CallKey, TrunkId>,
    has_changed: bool,
}

#[derive(Debug, Default)]
struct Trunk {
    limits: TrunkLimits,
    used: TrunkUse,
    /// When the next call would be due if calls came at the limit's rate (a token bucket in one number).
    due: Timestamp,
    service_route: Arc<[String]>,
}

impl Trunks {
    /// Without trunks. No server is obeyed longer than `rest_max` for one word.
    pub(super) fn new(rest_max: Duration, random: Random) -> Self {
        Self {
            trunks: HashMap::new(),
            down: HashSet::new(),
            resting: HashMap::new(),
            throttle: Throttle::new(rest_max, random),
            calls: HashMap::new(),
            has_changed: false,
        }
    }

    /// Obeys these servers, and no others, about their overload.
    pub(super) fn obey(&mut self, servers: impl IntoIterator<Item = Server>) {
        self.throttle.set(servers);
    }

    /// Whether a server is obeyed.
    pub(super) fn obeys(&self, destination: &Destination) -> bool {
        let server = (destination.transport, destination.remote);
        self.throttle.obeys(server)
    }

    /// Takes what a server says of its overload; false if that does not count, as it is not the latest.
    pub(super) fn hear(&mut self, now: Timestamp, destination: &Destination, overload: Overload) -> bool {
        let feedback = Feedback {
            percent: overload.percent,
            validity: Duration::from_millis(overload.validity_ms.into()),
            sequence: overload.sequence,
        };
        let server = (destination.transport, destination.remote);
        self.throttle.hear(now, server, feedback)
    }

    /// Whether the server of `hop` is to have a new call of that rank, as far as its overload goes.
    pub(super) fn spares(&mut self, now: Timestamp, hop: &NextHop, rank: Rank) -> bool {
        let server = (hop.destination.transport, hop.destination.remote);
        !self.throttle.admit(now, server, rank)
    }

    /// Whether no call is at a trunk.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes these trunks and forgets others. Those that stay keep their state; calls at those that go are not counted
    /// any more.
    pub(super) fn set(&mut self, trunks: &[(TrunkId, TrunkLimits)]) {
        let mut before = std::mem::take(&mut self.trunks);
        for &(id, limits) in trunks {
            let mut trunk = before.remove(&id).unwrap_or_default();
            trunk.limits = limits;
            self.trunks.insert(id, trunk);
        }
        let trunks = &self.trunks;
        self.down.retain(|(id, _)| trunks.contains_key(id));
        self.calls.retain(|_, id| trunks.contains_key(id));
    }

    pub(super) fn set_up(&mut self, trunk: TrunkId, transport: Transport, remote: SocketAddr, up: bool) {
        let server = (trunk, (transport, remote));
        match up {
            true => drop(self.down.remove(&server)),
            false if self.trunks.contains_key(&trunk) => drop(self.down.insert(server)),
            false => {}
        }
    }

    pub(super) fn set_service_route(&mut self, trunk: TrunkId, route: Arc<[String]>) {
        if let Some(trunk) = self.trunks.get_mut(&trunk) {
            trunk.service_route = route;
        }
    }

    /// The `Route` values of calls to `hop` (RFC 3608 §5).
    pub(super) fn service_route(&self, hop: &NextHop) -> &[String] {
        let trunk = hop.trunk.and_then(|trunk| self.trunks.get(&trunk));
        trunk.map_or(&[], |trunk| &trunk.service_route)
    }

    pub(super) fn have_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    pub(super) fn used(&self, trunk: TrunkId) -> TrunkUse {
        self.trunks
            .get(&trunk)
            .map_or_else(TrunkUse::default, |trunk| trunk.used.clone())
    }

    /// Those of `hops` that may be tried: none that rest, and none that is down unless all are.
    ///
    /// # Errors
    /// When all rest: for how long yet.
    pub(super) fn usable<'a>(
        &mut self,
        now: Timestamp,
        hops: &'a [NextHop],
    ) -> Result<Cow<'a, [NextHop]>, Duration> {
        if self.down.is_empty() && self.resting.is_empty() {
            return Ok(hops.into());
        }
        self.resting.retain(|_, until| *until > now);
        let server = |hop: &NextHop| (hop.destination.transport, hop.destination.remote);
        let awake: Vec<&NextHop> = hops
            .iter()
            .filter(|hop| !self.resting.contains_key(&server(hop)))
            .collect();
        if awake.is_empty() {
            let until = hops.iter().filter_map(|hop| self.resting.get(&server(hop))).min();
            return match until {
                Some(until) => Err(until.saturating_since(now)),
                None => Ok(hops.into()),
            };
        }
        let is_up = |hop: &&NextHop| {
            let is_down = |trunk| self.down.contains(&(trunk, server(hop)));
            !hop.trunk.is_some_and(is_down)
        };
        let has_up = awake.iter().any(is_up);
        Ok(awake
            .into_iter()
            .filter(|hop| !has_up || is_up(hop))
            .cloned()
            .collect())
    }

    /// A server wants to be left alone.
    pub(super) fn rest(&mut self, destination: &Destination, until: Timestamp) {
        if self.resting.len() < RESTING_MAX {
            let server = (destination.transport, destination.remote);
            self.resting.insert(server, until);
        }
    }

    /// Counts the call to the trunk of `hop`, in place of where it was before; false if that takes no more now.
    pub(super) fn admit(&mut self, now: Timestamp, call: CallKey, hop: &NextHop) -> bool {
        self.release(call);
        let Some(id) = hop.trunk else { return true };
        let Some(trunk) = self.trunks.get_mut(&id) else {
            return true;
        };
        let interval = trunk
            .limits
            .calls_per_s_max
            .map(|rate| Duration::from_secs(1) / rate.max(1));
        let is_full = trunk.limits.calls_max.is_some_and(|max| trunk.used.calls >= max);
        // A second's worth may come at once.
        let is_fast = interval
            .is_some_and(|interval| trunk.due.saturating_since(now) + interval > Duration::from_secs(1));
        if is_full || is_fast {
            trunk.used.passed_over_at_limit += 1;
            self.has_changed = true;
            return false;
        }
        if let Some(interval) = interval {
            trunk.due = trunk.due.max(now) + interval;
        }
        trunk.used.calls += 1;
        trunk.used.attempts += 1;
        self.calls.insert(call, id);
        self.has_changed = true;
        true
    }

    /// The call is at no trunk any more.
    pub(super) fn release(&mut self, call: CallKey) {
        if self.calls.is_empty() {
            return;
        }
        if let Some(id) = self.calls.remove(&call)
            && let Some(trunk) = self.trunks.get_mut(&id)
        {
            trunk.used.calls = trunk.used.calls.saturating_sub(1);
            self.has_changed = true;
        }
    }
}
