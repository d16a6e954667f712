//! A worker step by step, over a simulated network, while another process may take its calls.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use media_engine::{
    Aside, EngineConfig, FLOW_STREAMS_MAX, Flow, FlowError, FlowReading, Flows, OpenError, PortId,
    StreamState,
};
use media_types::{
    CallSpec, Codec, Direction, IdempotencyKey, InterfaceName, Latching, LegId, LegSpec, LineSpec, MediaKind,
    Path,
};
use net_io::IoConfig;
use net_io::sim::{Simulated, Wire};
use rtp::Ssrc;
use rtrb::RingBuffer;
use sans_io::Random;

use super::*;

/// What the table of flows was told.
#[derive(Debug, Default)]
struct Told {
    /// By where their packets come to.
    streams: HashMap<SocketAddr, Vec<StreamState>>,
    asides: HashMap<SocketAddr, u32>,
    is_held: bool,
}

/// A table that takes every flow of RTP.
#[derive(Clone, Debug, Default)]
struct Table(Arc<Mutex<Told>>);

impl Table {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flows for Table {
    fn install(&mut self, flow: &Flow, streams: &[StreamState]) -> Result<(), FlowError> {
        self.told().streams.insert(flow.local, streams.to_vec());
        Ok(())
    }

    fn remove(&mut self, local: SocketAddr) -> Option<FlowReading> {
        let reading = self.read(local);
        self.told().streams.remove(&local);
        reading
    }

    fn read(&mut self, local: SocketAddr) -> Option<FlowReading> {
        let told = self.told();
        let mut streams = [None; FLOW_STREAMS_MAX];
        for (place, state) in streams.iter_mut().zip(told.streams.get(&local)?) {
            *place = Some(*state);
        }
        Some(FlowReading {
            streams,
            ..FlowReading::default()
        })
    }

    fn keep_aside(&mut self, local: SocketAddr, _: Ssrc, aside: Aside) -> bool {
        *self.told().asides.entry(local).or_default() += aside.packets;
        true
    }
}

impl PortTable for Table {
    fn opened(&mut self, _: PortId, _: SocketAddr) -> Result<(), OpenError> {
        Ok(())
    }

    fn closing(&mut self, _: PortId) {}

    fn hold(&mut self, hold: bool) {
        self.told().is_held = hold;
    }
}

/// A worker with one call, whose parties are at two addresses.
struct Bench {
    worker: Worker<Simulated>,
    wire: Wire,
    table: Table,
    locals: [SocketAddr; 2],
    parties: [SocketAddr; 2],
    sequences: [u16; 2],
    now: Timestamp,
}

fn call(parties: [SocketAddr; 2]) -> Creation {
    let leg = |name: &str, remote: SocketAddr| LegSpec {
        id: LegId::new(name).expect("a name"),
        interface: None,
        ipv6: false,
        lines: vec![LineSpec {
            kind: MediaKind::Audio,
            enabled: true,
            direction: Direction::SendRecv,
            remote: Some(remote),
            remote_rtcp: None,
            rtcp_mux: false,
            latching: Latching::SameAddress,
            relearn: false,
            srtp: None,
            dtls: None,
            ice: None,
            codecs: vec![Codec {
                payload_type: 0,
                name: "PCMU".into(),
                clock_rate_hz: 8_000,
                channels: 1,
                ptime_ms: 20,
            }],
        }],
    };
    Creation {
        key: IdempotencyKey::new("create").expect("a key"),
        spec: CallSpec {
            id: CallId::new("c").expect("a name"),
            legs: vec![leg("a", parties[0]), leg("b", parties[1])],
            lease: Duration::from_secs(60),
            media_timeout: Duration::ZERO,
        },
    }
}

impl Bench {
    fn new() -> Self {
        let local = "127.0.0.1".parse().expect("an address");
        let interface = media_engine::Interface {
            name: InterfaceName::new("public").expect("a name"),
            addresses: vec![media_engine::Address {
                local,
                advertised: local,
            }],
            ports: vec![20_000, 20_002],
        };
        let config = EngineConfig {
            kernel: true,
            ..EngineConfig::new(vec![interface], Path::Simulated, "a test")
        };
        let wire = Wire::new().expect("an eventfd");
        let table = Table::default();
        let (bell, _listener) = Bell::new().expect("a pipe");
        let mut worker = Worker {
            io: Simulated::new(&IoConfig::default(), wire.clone()).expect("a back-end"),
            flows: Box::new(table.clone()),
            engine: Engine::new(config, Random::from_number(1)),
            taps: Copier::default(),
            setup: WorkerEnd::alone(1).pop().expect("one"),
            clock: MonotonicClock::start(),
            commands: RingBuffer::new(4).1,
            words: RingBuffer::new(64).0,
            answers_max: 4,
            bell,
            published: Arc::default(),
            held: None,
        };
        let parties = [4_000, 4_002].map(|port| SocketAddr::from(([127, 0, 0, 2], port)));
        let now = worker.clock.now();
        let Answer::Call(Ok(report)) = worker.apply(now, Command::Create(Arc::new(call(parties)))) else {
            panic!("not created");
        };
        let local = |leg: usize| report.legs[leg].lines[0].local.expect("it is enabled").rtp;
        Self {
            locals: [local(0), local(1)],
            worker,
            wire,
            table,
            parties,
            sequences: [0; 2],
            now,
        }
    }

    /// What a party sends next, on its way.
    fn send(&mut self, party: usize) {
        self.sequences[party] += 1;
        let [high, low] = self.sequences[party].to_be_bytes();
        let mut packet = vec![0x80, 0, high, low, 0, 0, 0, low, 0, 0, 0, party as u8 + 1];
        packet.resize(172, 0xd5);
        self.wire.inject(self.locals[party], self.parties[party], &packet);
    }

    /// A turn of the worker's loop, 20 ms after the one before.
    fn turn(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        let (worker, now) = (&mut self.worker, self.now);
        worker.io.poll(Some(Duration::ZERO)).expect("works");
        worker.handle_packets(now);
        if worker.held.is_none() {
            let mut shell = Surroundings::new(&mut worker.io, &mut *worker.flows, false);
            worker.engine.handle_timeout(now, &mut shell);
        }
        worker.io.poll(Some(Duration::ZERO)).expect("works");
    }

    fn hand_over(&mut self, command: Handover) -> HandedOver {
        self.worker.hand_over(self.now, command)
    }

    /// Packets that a party was sent.
    fn heard(&self, party: usize) -> usize {
        std::iter::from_fn(|| self.wire.transmitted_to(self.parties[party])).count()
    }
}

#[tokio::test]
async fn a_worker_that_cannot_let_go_of_its_sockets_receives_again() {
    let mut bench = Bench::new();
    bench.send(0);
    bench.turn();
    assert_eq!(bench.heard(1), 1);
    bench.wire.refuse_stop(true);
    let held = bench.hand_over(Handover::Hold);
    assert!(matches!(held, HandedOver::Held(Err(_))), "{held:?}");
    assert!(bench.table.told().is_held);
    bench.send(0);
    bench.turn();
    assert_eq!(bench.heard(1), 0, "it may have been stopped for the most part");
    let done = bench.hand_over(Handover::GoOn);
    assert!(matches!(done, HandedOver::Done), "{done:?}");
    assert!(!bench.table.told().is_held);
    bench.turn();
    assert_eq!(bench.heard(1), 1, "what came meanwhile has waited");
}

#[tokio::test]
async fn what_came_past_the_kernel_is_told_to_the_next_process() {
    let mut bench = Bench::new();
    // Until both ways are in the table.
    for _ in 0..500 {
        for party in 0..2 {
            bench.send(party);
            bench.turn();
        }
        if bench.table.told().streams.len() == 2 {
            break;
        }
    }
    assert_eq!(bench.table.told().streams.len(), 2, "both ways are plain relays");
    bench.turn();
    let local = bench.locals[0];
    let before = bench.table.told().asides.get(&local).copied().unwrap_or(0);
    // Received with the last turn, and after it.
    bench.send(0);
    bench.worker.io.poll(Some(Duration::ZERO)).expect("works");
    bench.worker.handle_packets(bench.now);
    bench.send(0);
    bench.worker.io.poll(Some(Duration::ZERO)).expect("works");
    let held = bench.hand_over(Handover::Hold);
    assert!(matches!(held, HandedOver::Held(Ok(()))), "{held:?}");
    assert_eq!(bench.table.told().asides.get(&local), Some(&(before + 2)));
}
