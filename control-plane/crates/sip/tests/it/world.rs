//! Two user agents, each on a transaction layer of its own, and a network between them that loses, repeats and
//! reorders. All of it from one seed.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sans_io::network::{Conditions, Network};
use sans_io::{Random, Timestamp};
use sip::transaction::{Config, Event, Layer, Listener};
use sip::{Destination, FlowId, Message, Source, Transmit, Transport};

/// The transaction user of one end.
pub trait User {
    /// Something came out of `layer`. What the user sends past it goes to `transmits`.
    fn handle_event(
        &mut self,
        now: Timestamp,
        layer: &mut Layer,
        event: Event,
        transmits: &mut Vec<Transmit>,
    );
    /// When to call `handle_timeout`.
    fn poll_timeout(&self) -> Option<Timestamp>;
    /// Does what is due.
    fn handle_timeout(&mut self, now: Timestamp, layer: &mut Layer, transmits: &mut Vec<Transmit>);
}

pub struct End<U> {
    pub layer: Layer,
    pub user: U,
    pub address: SocketAddr,
}

pub struct World<U> {
    pub ends: [End<U>; 2],
    pub network: Network<SocketAddr, Bytes>,
    pub now: Timestamp,
    /// All that was sent and told, with the time: equal for equal seeds.
    pub trace: String,
}

/// Ten in a hundred lost, five doubled; the delay spreads over most of T1, so that much is reordered and some
/// retransmissions cross their answer.
pub const BAD: Conditions = Conditions {
    loss_permille: 100,
    duplication_permille: 50,
    delay_min: Duration::from_millis(1),
    delay_max: Duration::from_millis(400),
};

/// Of the first and the second end.
pub const ADDRESSES: [&str; 2] = ["192.0.2.1:5060", "192.0.2.2:5060"];

pub fn destination(remote: SocketAddr) -> Destination {
    Destination {
        transport: Transport::Udp,
        remote,
        flow: None,
    }
}

impl<U: User> World<U> {
    pub fn new(seed: u64, conditions: Conditions, mut user: impl FnMut(usize, Random) -> U) -> Self {
        let mut random = Random::from_number(seed);
        let network = Network::new(conditions, random.fork());
        let ends = [0, 1].map(|end| {
            let address: SocketAddr = ADDRESSES[end].parse().expect("an address");
            let config = Config::new(vec![Listener::new(Transport::Udp, address)]);
            End {
                layer: Layer::new(config, random.fork()),
                user: user(end, random.fork()),
                address,
            }
        });
        Self {
            ends,
            network,
            now: Timestamp::ZERO,
            trace: String::new(),
        }
    }

    /// Runs until nothing is in flight and no timer is set, and no longer than `limit` of simulated time.
    pub fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            self.settle();
            let timeouts = self
                .ends
                .iter()
                .flat_map(|end| [end.layer.poll_timeout(), end.user.poll_timeout()]);
            let next = timeouts.chain([self.network.poll_timeout()]).flatten().min();
            let Some(next) = next else { return };
            assert!(next <= end, "not quiet after {limit:?}");
            self.now = self.now.max(next);
            while let Some((from, to, bytes)) = self.network.receive(self.now) {
                self.deliver(from, to, bytes);
            }
            for End { layer, user, address } in &mut self.ends {
                layer.handle_timeout(self.now);
                let mut transmits = Vec::new();
                if user.poll_timeout().is_some_and(|at| at <= self.now) {
                    user.handle_timeout(self.now, layer, &mut transmits);
                }
                transmits.into_iter().for_each(|transmit| {
                    send(&mut self.network, &mut self.trace, self.now, *address, transmit);
                });
            }
        }
    }

    fn deliver(&mut self, remote: SocketAddr, local: SocketAddr, bytes: Bytes) {
        let Some(end) = self.ends.iter_mut().find(|end| end.address == local) else {
            return;
        };
        let source = Source {
            transport: Transport::Udp,
            flow: FlowId(0),
            remote,
            local,
        };
        let message = Message::parse_datagram(bytes).expect("what a layer sends is well-formed");
        end.layer.handle_message(self.now, source, message);
    }

    /// Carries out what the layers want, until they want nothing more at this moment.
    fn settle(&mut self) {
        for End { layer, user, address } in &mut self.ends {
            loop {
                while let Some(transmit) = layer.poll_transmit() {
                    send(&mut self.network, &mut self.trace, self.now, *address, transmit);
                }
                let Some(event) = layer.poll_event() else { break };
                let _ = writeln!(self.trace, "{:?} {address} {event:?}", self.now);
                let mut transmits = Vec::new();
                user.handle_event(self.now, layer, event, &mut transmits);
                transmits.into_iter().for_each(|transmit| {
                    send(&mut self.network, &mut self.trace, self.now, *address, transmit);
                });
            }
        }
    }
}

fn send(
    network: &mut Network<SocketAddr, Bytes>,
    trace: &mut String,
    now: Timestamp,
    from: SocketAddr,
    transmit: Transmit,
) {
    let text = String::from_utf8_lossy(&transmit.bytes);
    let _ = writeln!(trace, "{now:?} {from} -> {}\n{text}", transmit.destination.remote);
    network.send(now, from, transmit.destination.remote, transmit.bytes);
}

/// Runs `simulation` for each seed below `count`, or for that of the environment's `SEED` alone. A seed that fails
/// is printed.
pub fn for_seeds(count: u64, mut simulation: impl FnMut(u64)) {
    let given = std::env::var("SEED")
        .ok()
        .map(|text| text.parse::<u64>().expect("SEED is a number"));
    for seed in given.map_or(0..count, |seed| seed..seed + 1) {
        let _guard = Seed(seed);
        simulation(seed);
    }
}

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with SEED={}", self.0);
        }
    }
}

/// Things to do at given times, in their order; those of one time in the order of their setting.
#[derive(Debug)]
pub struct Agenda<T> {
    tasks: std::collections::BTreeMap<(Timestamp, u64), T>,
    set: u64,
}

impl<T> Agenda<T> {
    pub fn new() -> Self {
        Self {
            tasks: std::collections::BTreeMap::new(),
            set: 0,
        }
    }

    pub fn set(&mut self, at: Timestamp, task: T) {
        self.set += 1;
        self.tasks.insert((at, self.set), task);
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn due(&mut self, now: Timestamp) -> Option<T> {
        self.next().filter(|&at| at <= now)?;
        self.tasks.pop_first().map(|(_, task)| task)
    }
}
