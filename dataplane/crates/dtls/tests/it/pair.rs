//! Two associations and the network between them, in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dtls::{Association, Endpoint, Event, Failure, Identity, Keys, Settings};
use media_types::{DtlsRole, Fingerprint, SrtpKey};
use ops::clock::MonotonicClock;
use sans_io::network::{Conditions, Network};
use sans_io::{Epoch, Random, Timestamp};
use srtp::{MasterKey, Receiver, Sender};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who sends the ClientHello.
    Active,
    /// Who waits for it.
    Passive,
}

impl Side {
    fn place(self) -> usize {
        self as usize
    }

    /// Where it sends from.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Active => ([192, 0, 2, 1], 1_000).into(),
            Self::Passive => ([198, 51, 100, 1], 2_000).into(),
        }
    }

    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
        }
    }
}

/// Two associations in virtual time.
pub struct Pair {
    pub now: Timestamp,
    pub identities: [Arc<Identity>; 2],
    pub ends: [Association; 2],
    pub network: Network<Side, Vec<u8>>,
    /// What each end has given.
    pub outcomes: [Option<Result<Keys, Failure>>; 2],
    /// When each end gave it.
    pub settled: [Option<Timestamp>; 2],
}

/// A key as `srtp` has it.
pub fn master(key: &SrtpKey) -> Result<MasterKey, srtp::KeyError> {
    MasterKey::new(key.suite(), key.key_and_salt())
}

/// The beginning of virtual time.
pub fn epoch() -> Epoch {
    Epoch::new(MonotonicClock::start().instant(Timestamp::ZERO))
}

impl Pair {
    /// Two that know each other's fingerprints.
    pub fn new(settings: [Settings; 2], conditions: Conditions, seed: u64) -> anyhow::Result<Self> {
        let mut pair = Self::strangers(settings, conditions, seed)?;
        for side in [Side::Active, Side::Passive] {
            let fingerprint = pair.identities[side.other().place()].fingerprint().clone();
            pair.tell(side, vec![fingerprint]);
        }
        Ok(pair)
    }

    /// Two that have not been told each other's fingerprints yet.
    pub fn strangers(settings: [Settings; 2], conditions: Conditions, seed: u64) -> anyhow::Result<Self> {
        let identities = [Arc::new(Identity::generate()?), Arc::new(Identity::generate()?)];
        let (epoch, now) = (epoch(), Timestamp::from_millis(1_000));
        let with_seed = |settings: Settings, seed| Settings {
            insecure_seed: Some(seed),
            ..settings
        };
        let active = with_seed(settings[0], seed);
        let passive = with_seed(settings[1], !seed);
        let mut ends = [
            Association::new(
                &Endpoint::new(active, identities[0].clone())?,
                DtlsRole::Active,
                epoch,
                now,
            ),
            Association::new(
                &Endpoint::new(passive, identities[1].clone())?,
                DtlsRole::Passive,
                epoch,
                now,
            ),
        ];
        ends[0].set_remote(Side::Passive.address());
        ends[1].set_remote(Side::Active.address());
        Ok(Self {
            now,
            identities,
            ends,
            network: Network::new(conditions, Random::from_number(seed)),
            outcomes: [None, None],
            settled: [None, None],
        })
    }

    /// Tells one end what the other's description says.
    pub fn tell(&mut self, side: Side, fingerprints: Vec<Fingerprint>) {
        self.ends[side.place()].set_fingerprints(self.now, fingerprints);
        self.take(side);
    }

    /// Runs until nothing is left to do, or `until`.
    pub fn run(&mut self, until: Timestamp) {
        for side in [Side::Active, Side::Passive] {
            self.take(side);
        }
        loop {
            let timers = self.ends.iter().filter_map(Association::poll_timeout);
            let next = timers.chain(self.network.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                return;
            };
            self.now = self.now.max(next);
            while let Some((from, to, datagram)) = self.network.receive(self.now) {
                let taken = self.ends[to.place()].handle_datagram(self.now, from.address(), &datagram);
                assert_eq!(taken, Ok(()), "{to:?}");
                self.take(to);
            }
            for side in [Side::Active, Side::Passive] {
                let due = self.ends[side.place()].poll_timeout();
                if due.is_some_and(|due| due <= self.now) {
                    self.ends[side.place()].handle_timeout(self.now);
                    self.take(side);
                }
            }
        }
    }

    /// Runs until both have settled, for at most two minutes.
    pub fn settle(&mut self) {
        let end = self.now + Duration::from_secs(120);
        let mut step = self.now;
        while self.settled.contains(&None) && step < end {
            step = step + Duration::from_millis(100);
            self.run(step);
        }
    }

    /// What an end came to, by name.
    pub fn outcome(&self, side: Side) -> Option<Result<(), Failure>> {
        let outcome = self.outcomes[side.place()].as_ref();
        outcome.map(|outcome| outcome.as_ref().map(|_| ()).map_err(|failure| *failure))
    }

    /// What an end sends from here on is on its way, and what it says is noted.
    pub fn take(&mut self, side: Side) {
        let end = &mut self.ends[side.place()];
        while let Some(datagram) = end.poll_transmit() {
            self.network.send(self.now, side, side.other(), datagram);
        }
        while let Some(event) = end.poll_event() {
            let outcome = match event {
                Event::Connected(keys) => Ok(keys),
                Event::Failed(failure) => Err(failure),
                Event::Closed => continue,
            };
            let before = self.outcomes[side.place()].replace(outcome);
            assert!(before.is_none(), "{side:?} settled twice");
            self.settled[side.place()] = Some(self.now);
        }
    }

    /// Asserts that what each end protects the other unprotects, and nobody else's.
    pub fn assert_keys_agree(&self) -> anyhow::Result<()> {
        let [Some(Ok(active)), Some(Ok(passive))] = &self.outcomes else {
            anyhow::bail!("not connected: {:?}", self.outcomes);
        };
        for (from, to) in [(active, passive), (passive, active)] {
            let mut packet = [0u8; 64];
            packet[0] = 0x80;
            packet[11] = 7;
            packet[12..20].copy_from_slice(b"in clear");
            let mut sender = Sender::new(&master(&from.send)?, 1)?;
            let len = sender.protect_rtp(&mut packet, 20)?;
            assert_ne!(&packet[12..20], b"in clear");
            let mut stranger = Receiver::new(&master(&from.receive)?, 1)?;
            assert!(stranger.unprotect_rtp(&mut packet[..len].to_vec()).is_err());
            let mut receiver = Receiver::new(&master(&to.receive)?, 1)?;
            let len = receiver.unprotect_rtp(&mut packet[..len])?;
            assert_eq!((len, &packet[12..20]), (20, &b"in clear"[..]));
        }
        Ok(())
    }
}
