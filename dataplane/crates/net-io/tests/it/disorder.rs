//! Everything at once, in an order that a seed decides: ports open and close, datagrams come, frames are sent, kept
//! and released. Nothing may be lost, doubled, misattributed or reordered, and the account of frames holds at every
//! step. A failing seed is printed; `SEED=n` runs that one, `SEEDS=n` runs more.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use net_io::{Frame, IoConfig, PacketIo, PortId};
use sans_io::Random;

use crate::back_end::*;

conformance! {
    everywhere {
        nothing_is_lost_or_misattributed_in_any_order: IoConfig { frames: 64, ports_max: 16, ..IoConfig::default() };
        nor_with_the_smallest_queues: IoConfig {
            frames: 64,
            frames_receiving: 8,
            ports_max: 16,
            batch: 3,
            submission_entries: 8,
            completion_entries: 16,
            gather: Duration::ZERO,
            ..IoConfig::default()
        };
    }
    kernel {}
}

const SEEDS: u64 = 12;
const STEPS: u32 = 400;

fn nothing_is_lost_or_misattributed_in_any_order(io: impl PacketIo, world: &World) {
    run_seeds(io, world);
}

fn nor_with_the_smallest_queues(io: impl PacketIo, world: &World) {
    run_seeds(io, world);
}

/// Says which seed it was when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with SEED={}", self.0);
        }
    }
}

/// All seeds on one back-end, so that each begins with what the ones before it left behind.
fn run_seeds(mut io: impl PacketIo, world: &World) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("SEED and SEEDS are numbers"))
    };
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    for number in seeds {
        let seed = Seed(number);
        Disorder::new(&mut io, world, number).run();
        std::mem::forget(seed);
    }
}

struct Disorder<'a, Io> {
    io: &'a mut Io,
    random: Random,
    peers: Vec<Peer>,
    /// Ports open now, with the number that each opening gets for ever.
    open: Vec<(PortId, u32)>,
    /// By such a number: the address that the port had.
    locals: Vec<SocketAddr>,
    /// By peer and opening: datagrams sent, and datagrams received.
    inward: HashMap<(usize, u32), (u32, u32)>,
    kept: Vec<Frame>,
    outward_sent: u64,
    outward_received: u64,
    not_open: u64,
}

impl<'a, Io: PacketIo> Disorder<'a, Io> {
    fn new(io: &'a mut Io, world: &World, seed: u64) -> Self {
        let peers = [LOOPBACK_V4, LOOPBACK_V4, LOOPBACK_V6, LOOPBACK_V6]
            .map(|ip| world.peer(ip))
            .into();
        Self {
            io,
            random: Random::from_number(seed),
            peers,
            open: Vec::new(),
            locals: Vec::new(),
            inward: HashMap::new(),
            kept: Vec::new(),
            outward_sent: 0,
            outward_received: 0,
            not_open: 0,
        }
    }

    fn run(mut self) {
        let before = self.io.counters().clone();
        for _ in 0..STEPS {
            match self.random.below(100) {
                0..8 => self.open_port(),
                8..14 => self.close_port(),
                14..50 => self.burst_inward(),
                50..60 => self.poll(Duration::ZERO),
                60..80 => self.poll(Duration::from_millis(1)),
                80..95 => self.take_some(),
                _ => self.dispose_of_kept(),
            }
            self.check_account();
            self.drain_outward();
        }
        self.dispose_of_all();
        self.expect_all_inward();
        while let Some((port, _)) = self.open.pop() {
            self.io.close(port);
        }
        for _ in 0..20 {
            self.poll(Duration::from_millis(1));
            assert!(self.io.receive().is_none(), "a datagram of a port that is closed");
            self.drain_outward();
        }
        expect_all_frames_back(self.io);
        let after = self.io.counters();
        assert_eq!(self.outward_received, self.outward_sent, "{after:?}");
        assert_eq!(after.sent - before.sent, self.outward_sent);
        assert_eq!(
            after.send_errors_total() - before.send_errors_total(),
            self.not_open
        );
        assert_eq!(after.truncated + after.receive_errors, 0);
    }

    fn pick<T: Copy>(random: &mut Random, from: &[T]) -> Option<T> {
        from.get(random.below(from.len().max(1) as u64) as usize).copied()
    }

    /// A peer of the family of this address.
    fn peer_for(&mut self, local: SocketAddr) -> usize {
        self.random.below(2) as usize + if local.is_ipv4() { 0 } else { 2 }
    }

    fn open_port(&mut self) {
        if self.open.len() >= 12 {
            return;
        }
        let ip = if self.random.chance_permille(500) {
            LOOPBACK_V4
        } else {
            LOOPBACK_V6
        };
        let (port, local) = open(self.io, ip);
        assert!(
            self.open.iter().all(|&(other, _)| other != port),
            "one identity for two ports"
        );
        self.open.push((port, self.locals.len() as u32));
        self.locals.push(local);
    }

    fn close_port(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let place = self.random.below(self.open.len() as u64) as usize;
        let (port, _) = self.open.swap_remove(place);
        self.io.close(port);
        if self.random.chance_permille(300)
            && let Some(frame) = self.kept.pop()
        {
            self.io.send(frame, port, self.peers[0].local_addr());
            self.not_open += 1;
        }
    }

    fn burst_inward(&mut self) {
        let Some((_, opening)) = Self::pick(&mut self.random, &self.open) else {
            return;
        };
        let local = self.locals[opening as usize];
        let peer = self.peer_for(local);
        for _ in 0..=self.random.below(8) {
            let (sent, _) = self.inward.entry((peer, opening)).or_default();
            let mut payload = vec![0; 12 + self.random.below(300) as usize];
            payload[0..4].copy_from_slice(&opening.to_be_bytes());
            payload[4..8].copy_from_slice(&(peer as u32).to_be_bytes());
            payload[8..12].copy_from_slice(&sent.to_be_bytes());
            *sent += 1;
            self.peers[peer].send_to(&payload, local);
        }
    }

    fn poll(&mut self, wait: Duration) {
        self.io.poll(Some(wait)).unwrap();
    }

    /// Takes a few datagrams, or one, and does something with each.
    fn take_some(&mut self) {
        for _ in 0..=self.random.below(20) {
            let Some(received) = self.io.receive() else { break };
            let payload = self.io.payload(&received.frame);
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            let (opening, peer, sequence) = (number(0), number(4) as usize, number(8));
            assert!(
                self.open.contains(&(received.port, opening)),
                "a ghost of opening {opening}"
            );
            assert_eq!(received.source, self.peers[peer].local_addr());
            let (sent, taken) = self.inward.get_mut(&(peer, opening)).unwrap();
            assert!(sequence < *sent);
            assert_eq!(
                sequence, *taken,
                "order or loss from peer {peer} to opening {opening}"
            );
            *taken += 1;
            self.dispose_of(received.frame);
        }
    }

    fn dispose_of(&mut self, mut frame: Frame) {
        match self.random.below(10) {
            0..6 => {
                let Some((port, opening)) = Self::pick(&mut self.random, &self.open) else {
                    return self.io.release(frame);
                };
                let peer = self.peer_for(self.locals[opening as usize]);
                self.io.payload_mut(&mut frame)[0..4].copy_from_slice(&opening.to_be_bytes());
                self.io.send(frame, port, self.peers[peer].local_addr());
                self.outward_sent += 1;
            }
            6..8 => self.io.release(frame),
            _ => self.kept.push(frame),
        }
    }

    fn dispose_of_kept(&mut self) {
        for _ in 0..self.random.below(self.kept.len() as u64 + 1) {
            let Some(frame) = self.kept.pop() else { break };
            self.dispose_of(frame);
        }
    }

    fn dispose_of_all(&mut self) {
        while let Some(frame) = self.kept.pop() {
            self.io.release(frame);
        }
    }

    /// Waits until the ports that are open have received all that was sent to them.
    fn expect_all_inward(&mut self) {
        for _ in 0..1000 {
            self.take_some();
            self.dispose_of_all();
            self.poll(Duration::from_millis(1));
            self.drain_outward();
            let missing = self.inward.iter().any(|(&(_, opening), (sent, taken))| {
                sent != taken && self.open.iter().any(|&(_, open)| open == opening)
            });
            if !missing {
                return;
            }
        }
        panic!(
            "datagrams are missing: {:?} {:?}",
            self.io.counters(),
            self.io.frames()
        );
    }

    fn drain_outward(&mut self) {
        for peer in &self.peers {
            while let Some((payload, source)) = peer.receives_now() {
                let opening = u32::from_be_bytes(payload[0..4].try_into().unwrap());
                assert_eq!(source, self.locals[opening as usize], "left from another port");
                self.outward_received += 1;
            }
        }
    }

    fn check_account(&mut self) {
        let frames = self.io.frames();
        assert_eq!(
            frames.idle + frames.received + frames.held + frames.sending,
            frames.total,
            "{frames:?}"
        );
        assert_eq!(frames.held as usize, self.kept.len());
    }
}
