//! Calls whose flows come and go in a table that forwards by itself, beside an engine that forwards the same packets all
//! alone.
//!
//! Invariants: each packet has the fate that it has in user space alone, and leaves by the same way; what leaves for a
//! party leaves once and in the order in which it came; reports are the same in the end, every packet counted once; no
//! port closes with a flow on it; nothing is left in the table.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use media_engine::{DropReason, Engine, EngineConfig, FlowError, Restored, Verdict};
use media_types::{CallId, CallReport, Direction, Event, EventKind, Latching, LegSpec, LineReport};
use rtp::rtcp::{CompoundWriter, ReportBlock, SenderInfo};
use rtp::{Header, PayloadType, RtpTimestamp, Seq, Ssrc};
use sans_io::{Random, Timestamp};

use crate::bench::{FakePorts, call, call_id, codec, config, hand_over, key, line};
use crate::kernel::{Kernel, Outcome};
use crate::seeds;

const PTIME: Duration = Duration::from_millis(20);
const TIME: Duration = Duration::from_secs(12);

/// A datagram on its way.
#[derive(Clone, Debug)]
struct Datagram {
    local: SocketAddr,
    source: SocketAddr,
    bytes: Vec<u8>,
    /// Party and number, when order matters.
    sent: Option<(usize, u64)>,
}

struct Party {
    call: String,
    leg: usize,
    spec: LegSpec,
    /// What the control plane said last.
    told: LegSpec,
    source: SocketAddr,
    rtcp_source: SocketAddr,
    rtp_local: SocketAddr,
    rtcp_local: SocketAddr,
    header: Header,
    next_at: Timestamp,
    next_rtcp_at: Timestamp,
    sent: u64,
    /// The number of its latest packet that has left the relay.
    left: u64,
}

struct World {
    random: Random,
    now: Timestamp,
    engine: Engine,
    kernel: Kernel,
    /// The engine that has no table.
    alone: Engine,
    alone_ports: FakePorts,
    parties: Vec<Party>,
    /// What came for user space and was not handed over.
    queue: VecDeque<Datagram>,
    /// What user space has forwarded and not flushed.
    outbox: Vec<Datagram>,
    keys: u64,
    calls: u64,
    by_kernel: u64,
    restarted: bool,
    /// Why the engine that is alone dropped something last.
    why: Option<DropReason>,
}

fn kernel_config() -> EngineConfig {
    EngineConfig {
        kernel: true,
        ..config()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random::from_number(seed),
            now: Timestamp::from_millis(5_000),
            engine: Engine::new(kernel_config(), Random::from_number(seed)),
            kernel: Kernel::default(),
            alone: Engine::new(config(), Random::from_number(seed)),
            alone_ports: FakePorts::default(),
            parties: Vec::new(),
            queue: VecDeque::new(),
            outbox: Vec::new(),
            keys: 0,
            calls: 0,
            by_kernel: 0,
            restarted: false,
            why: None,
        };
        for _ in 0..=world.random.below(2) {
            world.create();
        }
        world
    }

    fn chance(&mut self, permille: u64) -> bool {
        self.random.chance_permille(permille)
    }

    fn create(&mut self) {
        self.calls += 1;
        let name = format!("c{}", self.calls);
        let mut specs = [0u8, 1].map(|side| {
            let host = self.calls as u8 * 2 + side;
            line(&format!("192.0.2.{host}:4000"))
        });
        let mux = self.random.chance_permille(300);
        for spec in &mut specs {
            // Now and then one only has both on one port.
            spec.rtcp_mux = mux != self.random.chance_permille(100);
            spec.latching = match self.random.below(3) {
                0 => Latching::Off,
                1 => Latching::SameAddress,
                _ => Latching::AnyAddress,
            };
        }
        let spec = call(&name, specs[0].clone(), specs[1].clone());
        self.keys += 1;
        let key = key(&format!("k{}", self.keys));
        let report = self
            .engine
            .create(self.now, &mut self.kernel, &key, &spec)
            .unwrap();
        let alone = self
            .alone
            .create(self.now, &mut self.alone_ports, &key, &spec)
            .unwrap();
        assert_eq!(locals(&report), locals(&alone));
        for (leg, spec) in spec.legs.iter().enumerate() {
            let next_at = self.now + Duration::from_micros(self.random.below(20_000));
            let remote = spec.lines[0].remote.unwrap();
            self.parties.push(Party {
                call: name.clone(),
                leg,
                spec: spec.clone(),
                told: spec.clone(),
                source: remote,
                rtcp_source: remote,
                rtp_local: remote,
                rtcp_local: remote,
                header: Header {
                    payload_type: PayloadType::PCMA,
                    seq: Seq(self.random.next_u64() as u16),
                    timestamp: RtpTimestamp(self.random.next_u64() as u32),
                    ssrc: Ssrc(self.random.next_u64() as u32),
                    marker: false,
                },
                next_at,
                next_rtcp_at: next_at + Duration::from_millis(100),
                sent: 0,
                left: 0,
            });
            let at = self.parties.len() - 1;
            self.place(at);
        }
        self.learn_locals(&name, &report);
    }

    /// Where a party's packets come from, by its policy: from behind a NAT, or as it says.
    fn place(&mut self, at: usize) {
        let nat_port = 20_000 + self.random.below(20_000) as u16;
        let behind_nat = self.random.chance_permille(500);
        let party = &mut self.parties[at];
        let spec = &party.spec.lines[0];
        let signalled = match spec.remote {
            Some(remote) if !remote.ip().is_unspecified() => remote,
            _ => return,
        };
        party.source = match spec.latching {
            Latching::SameAddress if behind_nat => SocketAddr::new(signalled.ip(), nat_port),
            Latching::AnyAddress if behind_nat => SocketAddr::from(([203, 0, 113, at as u8], nat_port)),
            _ => signalled,
        };
        party.rtcp_source = match spec.rtcp_mux {
            true => party.source,
            false => SocketAddr::new(party.source.ip(), party.source.port() + 1),
        };
    }

    fn learn_locals(&mut self, name: &str, report: &CallReport) {
        for party in self.parties.iter_mut().filter(|party| party.call == name) {
            let ports = report.legs[party.leg].lines[0].local.expect("it is enabled");
            (party.rtp_local, party.rtcp_local) = (ports.rtp, ports.rtcp);
        }
    }

    fn run(&mut self) {
        let end = self.now + TIME;
        let mut next_command = self.now + Duration::from_millis(300);
        while self.now < end {
            // A turn of the loop: what has gathered leaves, what has come is looked at, then the rest.
            let turn = Duration::from_micros(50 + self.random.below(3_000));
            self.arrive(self.now + turn);
            self.now = self.now + turn;
            self.flush();
            let limit = if self.chance(50) { 1 } else { 100 };
            self.hand_over(limit);
            self.timeouts();
            if self.now >= next_command {
                self.command();
                next_command = self.now + Duration::from_millis(50 + self.random.below(700));
            }
        }
        self.drain();
    }

    /// What the parties and strangers send until `until` comes in, in order.
    fn arrive(&mut self, until: Timestamp) {
        loop {
            let next = (0..self.parties.len()).min_by_key(|at| self.parties[*at].next_at);
            let Some(at) = next.filter(|at| self.parties[*at].next_at < until) else {
                return;
            };
            let now = self.parties[at].next_at;
            // Packets come in bursts now and then.
            self.parties[at].next_at = match self.random.below(4) {
                0 => now + Duration::from_micros(50 + self.random.below(4_000)),
                _ => now + PTIME,
            };
            if self.chance(150) {
                self.shoot(now, at);
            }
            let talks = !self.chance(20);
            let party = &mut self.parties[at];
            if talks {
                party.sent += 1;
                let bytes = [&party.header.to_bytes()[..], &[0xd5; 160]].concat();
                let datagram = Datagram {
                    local: party.rtp_local,
                    source: party.source,
                    bytes,
                    sent: Some((at, party.sent)),
                };
                self.receive(now, datagram);
            }
            let party = &mut self.parties[at];
            party.header = party.header.next(160);
            if party.next_rtcp_at <= now {
                party.next_rtcp_at = now + Duration::from_millis(500);
                let datagram = Datagram {
                    local: party.rtcp_local,
                    source: party.rtcp_source,
                    bytes: report_of(now, party.header.ssrc),
                    sent: None,
                };
                self.receive(now, datagram);
            }
        }
    }

    /// A stranger sends what the party would send next.
    fn shoot(&mut self, now: Timestamp, at: usize) {
        let party = &self.parties[at];
        let source = SocketAddr::from(([198, 51, 100, 9], 1_024 + self.random.below(50_000) as u16));
        // While a source is learned the policy may allow it: then strangers shoot at the other port.
        let is_rtcp =
            self.random.chance_permille(300) || party.spec.lines[0].latching == Latching::AnyAddress;
        let (local, bytes) = match is_rtcp && party.rtcp_local != party.rtp_local {
            true => (party.rtcp_local, report_of(now, party.header.ssrc)),
            false if is_rtcp => return,
            false => (
                party.rtp_local,
                [&party.header.to_bytes()[..], &[0xee; 160]].concat(),
            ),
        };
        self.receive(
            now,
            Datagram {
                local,
                source,
                bytes,
                sent: None,
            },
        );
    }

    /// A datagram comes to the machine.
    fn receive(&mut self, now: Timestamp, datagram: Datagram) {
        let Datagram { local, source, .. } = datagram;
        match self.kernel.receive(now, local, source, &datagram.bytes) {
            Outcome::PassUp => self.queue.push_back(datagram),
            Outcome::Drop => {
                let verdict = self.alone(now, &datagram);
                assert!(verdict.is_none(), "{local} from {source}: {verdict:?}");
            }
            Outcome::Forward(from, to) => {
                let alone = self.alone(now, &datagram);
                assert_eq!(alone, Some((from, to)), "{local} from {source}: {:?}", self.why);
                self.by_kernel += 1;
                self.leave(&datagram);
            }
        }
    }

    /// What the engine without a table does with it.
    fn alone(&mut self, now: Timestamp, datagram: &Datagram) -> Option<(SocketAddr, SocketAddr)> {
        let port = self.alone_ports.open[&datagram.local];
        match hand_over(&mut self.alone, now, port, datagram.source, &datagram.bytes) {
            Verdict::Forward { port, to, .. } => Some((self.alone_ports.local(port), to)),
            Verdict::Drop(reason) => {
                self.why = Some(reason);
                None
            }
            Verdict::SetUp(_) => None,
        }
    }

    /// A packet leaves the machine.
    fn leave(&mut self, datagram: &Datagram) {
        if let Some((at, number)) = datagram.sent {
            let party = &mut self.parties[at];
            assert!(
                number > party.left,
                "packet {number} of party {at} after {}",
                party.left
            );
            party.left = number;
        }
    }

    fn flush(&mut self) {
        for datagram in std::mem::take(&mut self.outbox) {
            self.leave(&datagram);
        }
    }

    fn hand_over(&mut self, limit: usize) {
        for _ in 0..limit {
            let Some(datagram) = self.queue.pop_front() else {
                break;
            };
            // Its port may have closed meanwhile.
            let Some(port) = self.kernel.ports.open.get(&datagram.local).copied() else {
                continue;
            };
            if datagram.sent.is_none() {
                // RTCP is learned by the streams of its party, of which the engine hears once a second.
                self.read_all();
            }
            let (source, bytes) = (datagram.source, &datagram.bytes);
            let verdict = hand_over(&mut self.engine, self.now, port, source, bytes);
            let way = match verdict {
                Verdict::Forward { port, to, .. } => Some((self.kernel.ports.local(port), to)),
                Verdict::Drop(_) | Verdict::SetUp(_) => None,
            };
            assert_eq!(self.alone(self.now, &datagram), way, "{datagram:?}");
            if way.is_some() {
                self.outbox.push(datagram);
            }
        }
        self.kernel.is_behind = !self.queue.is_empty();
        for (arrival, local, bytes) in std::mem::take(&mut self.kernel.copies) {
            self.engine.handle_rtcp_copy(arrival, local, &bytes);
        }
    }

    fn timeouts(&mut self) {
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now, &mut self.kernel);
        }
        if self.alone.poll_timeout().is_some_and(|at| at <= self.now) {
            self.alone.handle_timeout(self.now, &mut self.alone_ports);
        }
        assert_eq!(events(&mut self.engine), events(&mut self.alone));
    }

    fn drain(&mut self) {
        self.flush();
        self.hand_over(usize::MAX);
        self.flush();
        self.timeouts();
    }

    /// One random thing that a control plane, a party or the machine does.
    fn command(&mut self) {
        // Commands come between batches; what was received before them is looked at first, so that both engines see the
        // same.
        self.hand_over(usize::MAX);
        self.flush();
        let at = self.random.below(self.parties.len() as u64) as usize;
        let moved = SocketAddr::from((
            [192, 0, 2, 100 + at as u8],
            4_000 + 2 * self.random.below(1_000) as u16,
        ));
        let was = self.parties[at].spec.clone();
        let spec = &mut self.parties[at].spec.lines[0];
        let cmd = self.random.below(13);
        match cmd {
            0 => self.update(at),
            1 => {
                let directions = [
                    Direction::SendOnly,
                    Direction::RecvOnly,
                    Direction::Inactive,
                    Direction::SendRecv,
                ];
                spec.direction = directions[self.random.below(4) as usize];
                self.update(at);
            }
            2 => {
                spec.remote = Some(SocketAddr::from(([0, 0, 0, 0], 9)));
                self.update(at);
                let party = &mut self.parties[at];
                party.spec = was;
                if party.spec.lines[0]
                    .remote
                    .is_some_and(|remote| remote.ip().is_unspecified())
                {
                    party.spec.lines[0].remote = Some(moved);
                }
            }
            3 => {
                spec.direction = Direction::SendRecv;
                self.update(at);
            }
            4 => {
                spec.remote = Some(moved);
                self.update(at);
                self.place(at);
            }
            5 => {
                spec.relearn = true;
                self.update(at);
                self.parties[at].spec.lines[0].relearn = false;
                self.place(at);
            }
            6 => self.change_codec(at),
            7 => self.parties[at].header.ssrc = Ssrc(self.random.next_u64() as u32),
            8 => {
                // A NAT forgets: until the next offer nothing of the party passes.
                let source = &mut self.parties[at].source;
                source.set_port(source.port() ^ 1);
            }
            9 if !self.restarted => {
                let name = self.parties[at].call.clone();
                self.delete(&name);
                self.create();
            }
            10 => {
                spec.rtcp_mux = !spec.rtcp_mux;
                self.update(at);
            }
            11 => {
                self.kernel.refuses = match self.random.below(6) {
                    0 => Some(FlowError::Unavailable),
                    1 => Some(FlowError::NoRoute),
                    2 => Some(FlowError::Refused),
                    _ => None,
                };
                self.kernel.room = self.random.chance_permille(300).then_some(2);
            }
            12 if self.random.chance_permille(200) => self.restart(),
            _ => {}
        }
        self.check_reports();
    }

    fn change_codec(&mut self, at: usize) {
        let (payload_type, name, clock_hz) =
            [(8, "PCMA", 8_000), (0, "PCMU", 8_000), (96, "opus", 48_000)][self.random.below(3) as usize];
        let name_of_call = self.parties[at].call.clone();
        for party in self.parties.iter_mut().filter(|party| party.call == name_of_call) {
            let mut new = codec(payload_type, name);
            new.clock_rate_hz = clock_hz;
            party.spec.lines[0].codecs = vec![new, codec(101, "telephone-event")];
            party.header.payload_type = PayloadType::new(payload_type).unwrap();
        }
        let both: Vec<usize> = (0..self.parties.len())
            .filter(|at| self.parties[*at].call == name_of_call)
            .collect();
        for at in both {
            self.update(at);
        }
    }

    fn update(&mut self, at: usize) {
        self.keys += 1;
        let key = key(&format!("k{}", self.keys));
        let name = self.parties[at].call.clone();
        let (id, legs) = (call_id(&name), [self.parties[at].spec.clone()]);
        let report = self
            .engine
            .update(self.now, &mut self.kernel, &key, &id, &legs)
            .unwrap();
        let alone = self
            .alone
            .update(self.now, &mut self.alone_ports, &key, &id, &legs)
            .unwrap();
        assert_eq!(locals(&report), locals(&alone));
        self.learn_locals(&name, &report);
        let party = &mut self.parties[at];
        party.told = party.spec.clone();
        if party.spec.lines[0].rtcp_mux {
            party.rtcp_source = party.source;
        }
    }

    fn read_all(&mut self) {
        let names: Vec<CallId> = self.engine.call_ids().cloned().collect();
        for id in names {
            self.engine
                .query(self.now, &mut self.kernel, &id)
                .expect("it is there");
        }
    }

    /// Every call is the same for both, at any time.
    fn check_reports(&mut self) {
        let names: Vec<CallId> = self.alone.call_ids().cloned().collect();
        for id in names {
            let report = self
                .engine
                .query(self.now, &mut self.kernel, &id)
                .expect("it is there");
            let alone = self
                .alone
                .query(self.now, &mut self.alone_ports, &id)
                .expect("it is there");
            self.compare(&report, &alone);
        }
    }

    fn compare(&self, report: &CallReport, alone: &CallReport) {
        assert_eq!((&report.id, report.age), (&alone.id, alone.age));
        for (leg, alone) in report.legs.iter().zip(&alone.legs) {
            for (line, alone) in leg.lines.iter().zip(&alone.lines) {
                let drops = |line: &LineReport| line.drops.iter().map(|drop| drop.1).sum::<u64>();
                assert_eq!(drops(line), drops(alone), "{:?} {:?}", line.drops, alone.drops);
                assert_eq!((line.local, line.learned), (alone.local, alone.learned));
                assert_eq!(line.rtcp_forwarded, alone.rtcp_forwarded, "RTCP");
                let (mut streams, mut expected) = (line.streams.clone(), alone.streams.clone());
                // Copies of RTCP come a little later than RTCP itself, so that round trips may differ; and the seconds of
                // two engines need not begin together.
                for stream in streams.iter_mut().chain(&mut expected) {
                    (stream.mos_x100, stream.mos_x100_second) = (0, 0);
                }
                assert_eq!(streams, expected);
                assert_ne!(line.path_reason, "");
            }
        }
    }

    fn delete(&mut self, name: &str) {
        self.keys += 1;
        let (key, id) = (key(&format!("k{}", self.keys)), call_id(name));
        let report = self.engine.delete(self.now, &mut self.kernel, &key, &id).unwrap();
        let alone = self
            .alone
            .delete(self.now, &mut self.alone_ports, &key, &id)
            .unwrap();
        self.compare(&report, &alone);
        assert_eq!(events(&mut self.engine), events(&mut self.alone));
        self.parties.retain(|party| party.call != name);
        // Numbers of parties have changed; what was on the way has left.
        assert!(self.queue.is_empty() && self.outbox.is_empty());
    }

    /// Another process goes on with the calls, once every party was found: what is half learned is learned anew.
    fn restart(&mut self) {
        let names: Vec<CallId> = self.alone.call_ids().cloned().collect();
        let mut calls = Vec::new();
        for id in names {
            let state = self.engine.state(self.now, &id).expect("it is there");
            let all_found = state.lines.iter().flatten().all(|line| line.source.is_some());
            let specs: Vec<LegSpec> = self
                .parties
                .iter()
                .filter(|party| party.call == id.as_str())
                .map(|party| party.told.clone())
                .collect();
            let is_held = specs.iter().any(|spec| spec.lines[0].remote.is_none());
            if !all_found || is_held {
                return;
            }
            calls.push(Restored {
                id,
                legs: specs.try_into().expect("two legs"),
                state,
            });
        }
        self.restarted = true;
        self.kernel.survive();
        self.engine = Engine::new(kernel_config(), Random::from_number(99));
        let refuses = self.kernel.refuses.take();
        for restored in calls {
            self.engine
                .restore(self.now, &mut self.kernel, &restored)
                .expect("its ports are free");
        }
        self.kernel.refuses = refuses;
    }

    fn finish(mut self) -> u64 {
        self.check_reports();
        let names: Vec<CallId> = self.alone.call_ids().cloned().collect();
        for id in names {
            self.delete(id.as_str());
        }
        assert_eq!(self.kernel.len(), 0, "flows are left in the table");
        assert_eq!(self.engine.flow_counts().total(), 0);
        assert!(self.kernel.ports.open.is_empty());
        if !self.restarted {
            let (counters, alone) = (self.engine.counters(), self.alone.counters());
            let kernel = &counters.kernel;
            assert_eq!(counters.rtp_forwarded + kernel.rtp_forwarded, alone.rtp_forwarded);
            assert_eq!(
                counters.rtcp_forwarded + kernel.rtcp_forwarded,
                alone.rtcp_forwarded
            );
            assert_eq!(
                counters.bytes_forwarded + kernel.bytes_forwarded,
                alone.bytes_forwarded
            );
            assert_eq!(kernel.rtp_forwarded + kernel.rtcp_forwarded, self.by_kernel);
            assert_eq!(kernel.flows_lost, 0);
            assert_eq!(counters.streams_evicted, alone.streams_evicted);
        }
        self.by_kernel
    }
}

fn locals(report: &CallReport) -> Vec<Option<media_types::LocalLine>> {
    report
        .legs
        .iter()
        .flat_map(|leg| leg.lines.iter().map(|line| line.local))
        .collect()
}

/// What is told of first packets and learned sources.
fn events(engine: &mut Engine) -> Vec<Event> {
    std::iter::from_fn(|| engine.poll_event())
        .filter(|event| {
            matches!(
                event.kind,
                EventKind::FirstPacket { .. } | EventKind::Latched { .. }
            )
        })
        .collect()
}

/// A sender report that answers one of the other party, so that round trips come out.
fn report_of(now: Timestamp, ssrc: Ssrc) -> Vec<u8> {
    let ntp = (now.as_nanos() / 1_000_000_000) << 32;
    let info = SenderInfo {
        ntp,
        rtp: RtpTimestamp(0),
        packets: 1,
        bytes: 160,
    };
    let block = ReportBlock {
        ssrc: Ssrc(1),
        fraction_lost: 0,
        lost: 0,
        highest_seq: 0,
        jitter_rtp_units: 0,
        last_sr: info.ntp_middle(),
        delay_since_last_sr: 0,
    };
    let mut bytes = Vec::new();
    CompoundWriter::new(&mut bytes).sender_report(ssrc, &info, &[block]);
    bytes
}

#[test]
fn calls_in_the_kernel_are_the_same_as_in_user_space() {
    let by_kernel = std::cell::Cell::new(0);
    seeds::for_each("offload", 60, |seed| {
        let mut world = World::new(seed);
        world.run();
        by_kernel.set(by_kernel.get() + world.finish());
    });
    assert!(
        by_kernel.get() > 100,
        "only {} packets took the kernel path",
        by_kernel.get()
    );
}
