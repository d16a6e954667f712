//! A node's desk with one line, parties of our crates `ice` and `dtls`, and the network between them, in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dtls::{Association, Endpoint, Event, Identity};
use ice::Agent;
use line_setup::{Config, Desk, Key, Output};
use media_engine::{SetupId, SetupNews, SetupOrder, SetupRounds, SetupState, SetupTerms};
use media_types::{DtlsRole, DtlsSpec, Fingerprint, IceCredentials, IceMode, IceSpec, Latching, SrtpSpec};
use ops::clock::MonotonicClock;
use sans_io::network::{Conditions, Network};
use sans_io::{Epoch, Random, Timestamp};

/// The line.
pub const LINE: Key = (0, SetupId(7));

/// The node's address.
pub fn node() -> SocketAddr {
    ([192, 0, 2, 1], 20_000).into()
}

/// The party's address.
pub fn home() -> SocketAddr {
    ([198, 51, 100, 1], 4_000).into()
}

pub fn epoch() -> Epoch {
    Epoch::new(MonotonicClock::start().instant(Timestamp::ZERO))
}

/// A party: an agent, an association, or both.
pub struct Party {
    pub address: SocketAddr,
    pub identity: Arc<Identity>,
    pub ice: Option<Agent>,
    pub dtls: Option<Association>,
    /// It begins the handshake when ICE has a pair.
    is_active: bool,
    settings: dtls::Settings,
    /// What it protects with and what the node does, or why it has no keys.
    pub keys: Option<Result<SrtpSpec, dtls::Failure>>,
}

impl Party {
    pub fn new(address: SocketAddr, seed: u64) -> Self {
        Self {
            address,
            identity: Arc::new(Identity::generate().expect("an identity")),
            ice: None,
            dtls: None,
            is_active: true,
            settings: dtls::Settings {
                insecure_seed: Some(seed),
                ..dtls::Settings::default()
            },
            keys: None,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint().clone()
    }

    /// Begins its side of a handshake with the node.
    pub fn shake_hands(&mut self, now: Timestamp, role: DtlsRole, node_has: &Fingerprint) {
        let endpoint = Endpoint::new(self.settings, self.identity.clone()).expect("an endpoint");
        let mut association = Association::new(&endpoint, role, epoch_of(), now);
        association.set_remote(node());
        association.set_fingerprints(now, vec![node_has.clone()]);
        self.dtls = Some(association);
    }
}

/// One epoch for all: virtual time begins once.
pub fn epoch_of() -> Epoch {
    use std::sync::OnceLock;
    static EPOCH: OnceLock<Epoch> = OnceLock::new();
    *EPOCH.get_or_init(epoch)
}

pub struct Bench {
    pub now: Timestamp,
    pub desk: Desk,
    pub identity: Arc<Identity>,
    pub parties: Vec<Party>,
    pub network: Network<SocketAddr, Vec<u8>>,
    pub news: Vec<SetupNews>,
    /// Of each of the news.
    pub rounds: Vec<SetupRounds>,
    /// The node's fingerprint, for parties that begin when ICE has a pair.
    pub begins_with: Option<Fingerprint>,
}

impl Bench {
    pub fn new(config: Config, conditions: Conditions, seed: u64) -> Self {
        let identity = Arc::new(Identity::generate().expect("an identity"));
        let settings = dtls::Settings {
            insecure_seed: Some(!seed),
            ..dtls::Settings::default()
        };
        let endpoint = Endpoint::new(settings, identity.clone()).expect("an endpoint");
        Self {
            now: Timestamp::from_millis(1_000),
            desk: Desk::new(config, endpoint, epoch_of()),
            identity,
            parties: Vec::new(),
            network: Network::new(conditions, Random::from_number(seed)),
            news: Vec::new(),
            rounds: Vec::new(),
            begins_with: None,
        }
    }

    /// A line with a handshake and no ICE, whose party says that it is at home.
    pub fn terms(&self, role: DtlsRole, fingerprints: Vec<Fingerprint>) -> SetupTerms {
        SetupTerms {
            local: node(),
            remote: Some(home()),
            latching: Latching::SameAddress,
            dtls: Some(DtlsSpec {
                role,
                fingerprints,
                tls_id: String::new(),
            }),
            ice: None,
            reached: SetupState::default(),
            rounds: SetupRounds::default(),
        }
    }

    pub fn set(&mut self, terms: SetupTerms) {
        self.desk
            .order(self.now, LINE.0, SetupOrder::Set(LINE.1, Box::new(terms)));
        self.take_desk();
    }

    /// Gives the party at `place` an agent that the line's credentials are for; what the line needs.
    pub fn with_ice(&mut self, place: usize, node_mode: IceMode, random: &mut Random) -> IceSpec {
        let (ours, theirs) = (IceCredentials::random(random), IceCredentials::random(random));
        let party = &mut self.parties[place];
        let settings = ice::Settings {
            mode: match node_mode {
                IceMode::Controlling => IceMode::Controlled,
                IceMode::Lite | IceMode::Controlled => IceMode::Controlling,
            },
            ..ice::Settings::default()
        };
        let mut agent = Agent::new(settings, theirs.clone(), &[party.address], epoch_of(), self.now);
        let candidates: Vec<String> = agent.local_candidates().collect();
        agent.set_remote_credentials(self.now, ours.clone());
        let candidate = format!(
            "candidate:1 1 udp 2130706431 {} {} typ host",
            node().ip(),
            node().port()
        );
        agent
            .add_remote_candidate(self.now, &candidate)
            .expect("a candidate");
        party.ice = Some(agent);
        IceSpec {
            mode: node_mode,
            local: ours,
            remote: Some(theirs),
            candidates,
        }
    }

    pub fn take_desk(&mut self) {
        while let Some((key, output)) = self.desk.poll_output() {
            assert_eq!(key, LINE);
            match output {
                Output::Transmit(to, datagram) => self.network.send(self.now, node(), to, datagram),
                Output::News(report) => {
                    self.rounds.push(report.rounds);
                    self.news.push(report.news);
                }
            }
        }
    }

    pub fn take_party(&mut self, place: usize) {
        let party = &mut self.parties[place];
        if let Some(agent) = &mut party.ice {
            let mut has_pair = false;
            while let Some(event) = agent.poll_event() {
                has_pair |= matches!(event, ice::Event::Selected { .. });
            }
            while let Some(transmit) = agent.poll_transmit() {
                self.network
                    .send(self.now, party.address, transmit.remote, transmit.datagram);
            }
            if let Some(fingerprint) = self
                .begins_with
                .clone()
                .filter(|_| has_pair && party.dtls.is_none() && party.is_active)
            {
                party.shake_hands(self.now, DtlsRole::Active, &fingerprint);
            }
        }
        if let Some(association) = &mut party.dtls {
            while let Some(datagram) = association.poll_transmit() {
                self.network.send(self.now, party.address, node(), datagram);
            }
            while let Some(event) = association.poll_event() {
                match event {
                    Event::Connected(keys) => {
                        party.keys = Some(Ok(SrtpSpec {
                            receive: vec![keys.receive],
                            send: Some(keys.send),
                        }));
                    }
                    Event::Failed(failure) => party.keys = Some(Err(failure)),
                    Event::Closed => {}
                }
            }
        }
    }

    fn next(&mut self) -> Option<Timestamp> {
        let mut next = [self.desk.poll_timeout(), self.network.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        for party in &mut self.parties {
            let search = party.ice.as_mut().and_then(Agent::poll_timeout);
            let handshake = party.dtls.as_ref().and_then(Association::poll_timeout);
            next = [next, search, handshake].into_iter().flatten().min();
        }
        next
    }

    /// Runs until `time` has passed, or `is_done` says so.
    pub fn run_until(&mut self, time: Duration, is_done: impl Fn(&Self) -> bool) {
        let until = self.now + time;
        let mut turns = 0;
        self.take_desk();
        for place in 0..self.parties.len() {
            self.take_party(place);
        }
        while !is_done(self)
            && let Some(next) = self.next().filter(|next| *next <= until)
        {
            self.now = self.now.max(next);
            turns += 1;
            assert!(turns < 200_000, "time stands still at {:?}", self.now);
            while let Some((from, to, datagram)) = self.network.receive(self.now) {
                if to == node() {
                    self.desk.handle_datagram(self.now, LINE, from, &datagram);
                    self.take_desk();
                } else if let Some(place) = self.parties.iter().position(|party| party.address == to) {
                    self.hear(place, from, &datagram);
                }
            }
            self.desk.handle_timeout(self.now, 16);
            self.take_desk();
            for place in 0..self.parties.len() {
                let party = &mut self.parties[place];
                if let Some(agent) = &mut party.ice {
                    agent.handle_timeout(self.now);
                }
                if let Some(association) = &mut party.dtls {
                    association.handle_timeout(self.now);
                }
                self.take_party(place);
            }
        }
        if !is_done(self) {
            self.now = until;
        }
    }

    fn hear(&mut self, place: usize, from: SocketAddr, datagram: &[u8]) {
        let party = &mut self.parties[place];
        let is_stun = datagram.first().is_some_and(|first| *first < 4);
        if is_stun && let Some(agent) = &mut party.ice {
            // Late answers are refused, which is right.
            let _ = agent.handle_datagram(self.now, party.address, from, datagram);
        } else if !is_stun && let Some(association) = &mut party.dtls {
            association
                .handle_datagram(self.now, from, datagram)
                .expect("from the node");
        }
        self.take_party(place);
    }

    /// The keys that the line has, and whose they are.
    pub fn secured(&self) -> Option<(SrtpSpec, SocketAddr)> {
        self.news.iter().rev().find_map(|news| match news {
            SetupNews::Secured { keys, remote, .. } => Some((keys.clone(), *remote)),
            _ => None,
        })
    }

    /// Why the line's handshake came to nothing.
    pub fn failed(&self) -> Option<&'static str> {
        self.news.iter().find_map(|news| match news {
            SetupNews::Failed(reason) => Some(*reason),
            _ => None,
        })
    }

    /// The reasons of datagrams that were not taken.
    pub fn refused(&self) -> Vec<&'static str> {
        let refused = self.news.iter().filter_map(|news| match news {
            SetupNews::Refused(reason) => Some(reason.reason()),
            _ => None,
        });
        refused.collect()
    }

    /// Asserts that the node and a party have the same keys, each the other's.
    pub fn assert_secured_with(&self, place: usize) {
        let (node, remote) = self.secured().expect("the node has keys");
        let Some(Ok(party)) = &self.parties[place].keys else {
            panic!(
                "the party has no keys: {:?}; {:?}",
                self.parties[place].keys, self.news
            );
        };
        assert_eq!(remote, self.parties[place].address);
        assert_eq!(node.receive.as_slice(), party.send.as_slice());
        assert_eq!(party.receive.as_slice(), node.send.as_slice());
    }
}

/// Seeds of a simulation: `SEED` names one, else there are as many.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

/// A network that loses 30 of 100, delivers some twice and in another order.
pub const BAD: Conditions = Conditions {
    loss_permille: 300,
    duplication_permille: 100,
    delay_min: Duration::from_millis(5),
    delay_max: Duration::from_millis(120),
};
