//! Two agents and the network between them, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use ice::{Agent, Event, Failure, Refusal, Settings};
use media_types::{IceCredentials, IceMode};
use ops::clock::MonotonicClock;
use sans_io::network::{Conditions, Network};
use sans_io::{Epoch, Random, Timestamp};

/// The end whose place in the arrays is 0: it begins.
pub const OFFERER: usize = 0;
/// The other.
pub const ANSWERER: usize = 1;

/// Two agents in virtual time. A network address belongs to the agent that has it as a candidate.
pub struct Pair {
    pub now: Timestamp,
    pub agents: [Agent; 2],
    pub addresses: [Vec<SocketAddr>; 2],
    pub network: Network<SocketAddr, Vec<u8>>,
    /// What each has last said.
    pub events: [Vec<(Timestamp, Event)>; 2],
    /// Datagrams that an end refused.
    pub refusals: Vec<Refusal>,
    /// Addresses that nothing gets through to.
    pub dead: Vec<SocketAddr>,
    /// What the offerer's address looks like from outside, if a NAT stands before it.
    pub mapped: Option<(SocketAddr, SocketAddr)>,
    random: Random,
}

impl Pair {
    /// Two that know nothing of each other. Their addresses are on different networks.
    pub fn strangers(
        modes: [IceMode; 2],
        addresses: [Vec<SocketAddr>; 2],
        conditions: Conditions,
        seed: u64,
    ) -> Self {
        let mut random = Random::from_number(seed);
        let epoch = Epoch::new(MonotonicClock::start().instant(Timestamp::ZERO));
        let now = Timestamp::from_millis(1_000);
        let mut agent = |place: usize| {
            let settings = Settings {
                mode: modes[place],
                ..Settings::default()
            };
            let credentials = IceCredentials::random(&mut random);
            Agent::new(settings, credentials, &addresses[place], epoch, now)
        };
        let agents = [agent(OFFERER), agent(ANSWERER)];
        Self {
            now,
            agents,
            addresses,
            network: Network::new(conditions, random.fork()),
            events: [Vec::new(), Vec::new()],
            refusals: Vec::new(),
            dead: Vec::new(),
            mapped: None,
            random,
        }
    }

    /// Tells one what the other's description says.
    pub fn describe(&mut self, to: usize) {
        let other = 1 - to;
        let credentials = self.agents[other].credentials().clone();
        self.agents[to].set_remote_credentials(self.now, credentials);
        self.take(to);
    }

    /// Tells one the other's candidates.
    pub fn trickle(&mut self, to: usize) {
        let candidates: Vec<String> = self.agents[1 - to].local_candidates().collect();
        for candidate in candidates {
            assert_eq!(
                self.agents[to].add_remote_candidate(self.now, &candidate),
                Ok(()),
                "{candidate}"
            );
        }
        self.take(to);
    }

    /// New credentials for both, told to both.
    pub fn restart(&mut self) {
        for place in [OFFERER, ANSWERER] {
            let credentials = IceCredentials::random(&mut self.random);
            self.agents[place].restart(self.now, credentials);
        }
        for place in [OFFERER, ANSWERER] {
            self.describe(place);
            self.trickle(place);
        }
    }

    /// Runs for a while.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for place in [OFFERER, ANSWERER] {
                self.take(place);
            }
            let mut timers: Vec<Timestamp> = Vec::new();
            timers.extend(self.agents.iter_mut().filter_map(|agent| agent.poll_timeout()));
            timers.extend(self.network.poll_timeout());
            let Some(next) = timers.into_iter().min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some((from, to, datagram)) = self.network.receive(self.now) {
                self.deliver(from, to, &datagram);
            }
            for place in [OFFERER, ANSWERER] {
                if self.agents[place]
                    .poll_timeout()
                    .is_some_and(|due| due <= self.now)
                {
                    self.agents[place].handle_timeout(self.now);
                }
            }
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        if self.dead.contains(&to) || self.dead.contains(&from) {
            return;
        }
        let to = match self.mapped {
            Some((inside, outside)) if to == outside => inside,
            // Nobody reaches the inside of a NAT by its inner address.
            Some((inside, _)) if to == inside => return,
            _ => to,
        };
        let place = self
            .addresses
            .iter()
            .position(|addresses| addresses.contains(&to));
        let Some(place) = place else { return };
        if let Err(refusal) = self.agents[place].handle_datagram(self.now, to, from, datagram) {
            self.refusals.push(refusal);
        }
        self.take(place);
    }

    fn take(&mut self, place: usize) {
        while let Some(transmit) = self.agents[place].poll_transmit() {
            let from = match self.mapped {
                Some((inside, outside)) if transmit.local == inside => outside,
                _ => transmit.local,
            };
            self.network
                .send(self.now, from, transmit.remote, transmit.datagram);
        }
        while let Some(event) = self.agents[place].poll_event() {
            self.events[place].push((self.now, event));
        }
    }

    /// Whether both send to each other.
    pub fn is_connected(&self) -> bool {
        let [offerer, answerer] = [OFFERER, ANSWERER].map(|place| self.agents[place].selected());
        let (Some((_, to_answerer)), Some((_, to_offerer))) = (offerer, answerer) else {
            return false;
        };
        let inside = match self.mapped {
            Some((inside, outside)) if to_offerer == outside => inside,
            _ => to_offerer,
        };
        self.addresses[ANSWERER].contains(&to_answerer) && self.addresses[OFFERER].contains(&inside)
    }

    /// The last failure that an end has told.
    pub fn failure(&self, place: usize) -> Option<Failure> {
        self.events[place]
            .iter()
            .rev()
            .find_map(|(_, event)| match event {
                Event::Failed(failure) => Some(*failure),
                Event::Selected { .. } => None,
            })
    }
}

/// An address for tests.
pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
