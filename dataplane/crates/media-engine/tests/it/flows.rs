//! Which path a line's flows take, why, and what is known of them there.

use std::net::SocketAddr;
use std::time::Duration;

use media_engine::{Engine, EngineConfig, FlowError, FlowMedia, PathReason, Restored, Verdict};
use media_types::{
    CallReport, CallSpec, Codec, Direction, Event, EventKind, IdempotencyKey, Latching, LegSpec, LineReport,
    LineSpec, LocalLine, Path,
};
use rtp::rtcp::{CompoundWriter, ReportBlock, SenderInfo};
use rtp::{RtpTimestamp, Ssrc};
use sans_io::{Random, Timestamp};

use crate::bench::{at, call, call_id, codec, config, hand_over, key, leg, line, rtcp, rtp};
use crate::kernel::{Kernel, Outcome};

const A: &str = "192.0.2.1:4000";
const B: &str = "192.0.2.2:5000";
const PTIME: Duration = Duration::from_millis(20);

/// An engine with a table beside it, driven as a worker drives it.
struct Node {
    engine: Engine,
    kernel: Kernel,
    now: Timestamp,
    keys: u64,
    seq: u16,
}

fn kernel_config() -> EngineConfig {
    EngineConfig {
        kernel: true,
        ..config()
    }
}

impl Node {
    fn new() -> Self {
        Self::with(kernel_config())
    }

    fn with(config: EngineConfig) -> Self {
        Self {
            engine: Engine::new(config, Random::from_number(1)),
            kernel: Kernel::default(),
            now: Timestamp::from_millis(10_000),
            keys: 0,
            seq: 0,
        }
    }

    fn key(&mut self) -> IdempotencyKey {
        self.keys += 1;
        key(&format!("k{}", self.keys))
    }

    fn create(&mut self, spec: &CallSpec) -> [LocalLine; 2] {
        let key = self.key();
        let report = self
            .engine
            .create(self.now, &mut self.kernel, &key, spec)
            .expect("it is made");
        [0, 1].map(|leg| report.legs[leg].lines[0].local.expect("it is enabled"))
    }

    fn update(&mut self, legs: &[LegSpec]) {
        let key = self.key();
        self.engine
            .update(self.now, &mut self.kernel, &key, &call_id("c"), legs)
            .expect("it is updated");
    }

    fn delete(&mut self) -> CallReport {
        let key = self.key();
        self.engine
            .delete(self.now, &mut self.kernel, &key, &call_id("c"))
            .expect("it is deleted")
    }

    fn query(&mut self) -> CallReport {
        self.engine
            .query(self.now, &mut self.kernel, &call_id("c"))
            .expect("it is there")
    }

    /// The line of a leg.
    fn line(&mut self, leg: usize) -> LineReport {
        self.query().legs[leg].lines[0].clone()
    }

    fn path(&mut self, leg: usize) -> (Path, &'static str) {
        let line = self.line(leg);
        (line.path, line.path_reason)
    }

    /// Time passes; the engine is called when it asked to be.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.engine.handle_timeout(self.now, &mut self.kernel);
        }
        self.now = until;
    }

    /// A datagram comes; whether the kernel took it, and where it left from and to.
    fn packet(
        &mut self,
        to: SocketAddr,
        from: &str,
        payload: &[u8],
    ) -> (bool, Option<(SocketAddr, SocketAddr)>) {
        match self.kernel.receive(self.now, to, at(from), payload) {
            Outcome::Forward(from, to) => (true, Some((from, to))),
            Outcome::Drop => (true, None),
            Outcome::PassUp => {
                let port = self.kernel.ports.open[&to];
                let way = match hand_over(&mut self.engine, self.now, port, at(from), payload) {
                    Verdict::Forward { port, to, .. } => Some((self.kernel.ports.local(port), to)),
                    Verdict::Drop(_) | Verdict::SetUp(_) => None,
                };
                (false, way)
            }
        }
    }

    /// `count` packets of both parties, one each 20 ms; how many the kernel took.
    fn talk(&mut self, count: u16, locals: [LocalLine; 2]) -> usize {
        let mut by_kernel = 0;
        for _ in 0..count {
            self.seq += 1;
            for (leg, party) in [A, B].into_iter().enumerate() {
                let packet = rtp(8, self.seq, u32::from(self.seq) * 160, 7 + leg as u32);
                let (in_kernel, way) = self.packet(locals[leg].rtp, party, &packet);
                assert!(way.is_some());
                by_kernel += usize::from(in_kernel);
            }
            self.pass(PTIME);
        }
        by_kernel
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.engine.poll_event()).collect()
    }
}

fn plain() -> CallSpec {
    call("c", line(A), line(B))
}

const RELAY: (Path, &str) = (Path::Kernel, PathReason::PlainRelay.text());

fn user(reason: PathReason) -> (Path, &'static str) {
    (Path::Simulated, reason.text())
}

#[test]
fn a_plain_relay_goes_to_the_kernel_once_its_parties_are_known() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    assert_eq!(node.path(0), user(PathReason::Learning));
    assert_eq!(node.talk(1, locals), 0);
    assert_eq!(node.path(0), user(PathReason::Probation));
    assert_eq!(node.talk(1, locals), 0);
    assert_eq!([node.path(0), node.path(1)], [RELAY, RELAY]);
    assert_eq!(node.talk(50, locals), 100);
    let flow = node.kernel.flow(locals[0].rtp).expect("it is in the table");
    assert_eq!(
        (flow.source, flow.egress_local, flow.destination),
        (at(A), locals[1].rtp, at(B))
    );
    let pcma = (rtp::PayloadType::PCMA, 8_000);
    let event = (rtp::PayloadType::new(101).unwrap(), 0);
    let noise = (rtp::PayloadType::COMFORT_NOISE, 8_000);
    assert_eq!(
        flow.media,
        FlowMedia::Rtp(vec![pcma, noise, event]),
        "events are left out of the jitter"
    );
    let counts = node.engine.flow_counts();
    assert_eq!(
        (counts.kernel(), counts.of(PathReason::Learning)),
        (2, 2),
        "RTCP has not come"
    );
    assert_eq!(node.line(0).rtcp_path, Some(user(PathReason::Learning)));
    for (local, source) in [
        (locals[0].rtcp, "192.0.2.1:4001"),
        (locals[1].rtcp, "192.0.2.2:5001"),
    ] {
        assert!(!node.packet(local, source, &rtcp(7)).0);
    }
    node.pass(PTIME);
    assert_eq!(node.line(0).rtcp_path, Some(RELAY));
    assert!(node.packet(locals[0].rtcp, "192.0.2.1:4001", &rtcp(7)).0);
    assert_eq!(node.engine.flow_counts().kernel(), 4);
    let report = node.delete();
    let line = &report.legs[0].lines[0];
    assert_eq!(
        (line.path, line.path_reason),
        RELAY,
        "the last report says where packets went"
    );
    assert_eq!(
        (line.streams[0].packets, line.streams[0].lost, line.rtcp_forwarded),
        (52, 0, 2)
    );
    assert_eq!((node.kernel.len(), node.engine.flow_counts().total()), (0, 0));
}

#[test]
fn a_node_without_kernel_path_says_why() {
    let mut node = Node::with(config());
    let locals = node.create(&plain());
    assert_eq!(node.talk(20, locals), 0);
    assert_eq!(node.path(0), (Path::Simulated, "a test"));
    assert_eq!(node.line(0).rtcp_path, Some((Path::Simulated, "a test")));
    assert_eq!(node.engine.flow_counts().of(PathReason::KernelOff), 4);
}

#[test]
fn hold_takes_a_flow_out_and_resume_brings_it_back() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(10, locals);
    let installs = node.kernel.installs;
    node.update(&[leg("a", vec![line(A)])]);
    assert_eq!(
        node.talk(5, locals),
        10,
        "an offer that changes nothing changes nothing here"
    );
    assert_eq!((node.kernel.installs, node.kernel.removes), (installs, 0));
    let held = LineSpec {
        direction: Direction::SendOnly,
        ..line(B)
    };
    node.update(&[leg("b", vec![held])]);
    assert_eq!(node.path(0), user(PathReason::PeerNotReceiving));
    assert_eq!(node.path(1), RELAY);
    assert!(!node.kernel.has(locals[0].rtp) && node.kernel.has(locals[1].rtp));
    let inactive = LineSpec {
        direction: Direction::Inactive,
        ..line(B)
    };
    node.update(&[leg("b", vec![inactive])]);
    assert_eq!(node.path(1), user(PathReason::PartyNotSending));
    node.update(&[leg("b", vec![line("0.0.0.0:9")])]);
    assert_eq!(node.path(0), user(PathReason::NoDestination));
    node.update(&[leg("b", vec![line(B)])]);
    node.pass(PTIME);
    assert_eq!(node.talk(5, locals), 10);
    assert_eq!(node.line(0).streams[0].packets, 20);
}

#[test]
fn a_party_that_moves_moves_the_flow_that_leads_to_it() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(10, locals);
    let moved = "192.0.2.9:7000";
    node.update(&[leg("b", vec![line(moved)])]);
    assert_eq!(node.path(1), user(PathReason::Learning));
    assert_eq!(node.path(0), RELAY);
    assert_eq!(node.kernel.flow(locals[0].rtp).unwrap().destination, at(moved));
    // It turns out to be behind a NAT that keeps its address.
    let real = "192.0.2.9:61000";
    for seq in 0..3 {
        node.packet(locals[1].rtp, real, &rtp(8, seq, 0, 9));
        node.pass(PTIME);
    }
    assert_eq!(node.kernel.flow(locals[0].rtp).unwrap().destination, at(real));
    assert_eq!(node.path(1), RELAY);
    assert_eq!(node.engine.counters().kernel.flows_changed, 2);
}

#[test]
fn what_the_table_refuses_stays_in_user_space_with_the_reason() {
    for (error, reason, retry_s) in [
        (FlowError::Unavailable, PathReason::Unavailable, 60),
        (FlowError::Full, PathReason::TableFull, 5),
        (FlowError::NoRoute, PathReason::NoRoute, 1),
        (FlowError::Refused, PathReason::Refused, 5),
    ] {
        let mut node = Node::new();
        node.kernel.refuses = Some(error);
        let locals = node.create(&plain());
        assert_eq!(node.talk(40, locals), 0);
        assert_eq!(node.path(0), user(reason));
        assert_eq!(
            node.engine.counters().kernel.refused(error),
            2,
            "it is not asked for each packet"
        );
        node.kernel.refuses = None;
        node.talk(retry_s * 50 + 100, locals);
        assert_eq!(node.path(0), RELAY, "{error:?} is tried again");
        let stream = node.delete().legs[0].lines[0].streams[0].clone();
        assert_eq!((stream.packets, stream.lost), (u64::from(node.seq), 0));
    }
}

#[test]
fn a_table_that_was_emptied_costs_nothing_but_a_second_of_counts() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(200, locals);
    node.query();
    node.kernel.clear();
    assert_eq!(node.talk(1, locals), 0);
    assert_eq!(node.path(0), user(PathReason::Lost));
    assert_eq!(node.engine.counters().kernel.flows_lost, 2);
    assert!(node.talk(200, locals) > 200, "they are put in again");
    let stream = node.delete().legs[0].lines[0].streams[0].clone();
    assert_eq!((stream.packets, stream.lost, stream.duplicates), (401, 0, 0));
}

#[test]
fn an_update_finds_out_that_the_flow_is_gone() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(20, locals);
    node.query();
    node.kernel.clear();
    let mut more = line(B);
    more.codecs.push(codec(0, "PCMU"));
    node.update(&[leg("b", vec![more])]);
    assert_eq!(node.path(0), user(PathReason::Lost));
    node.talk(100, locals);
    assert_eq!(node.path(0), RELAY);
    assert_eq!(node.line(0).streams[0].packets, 120);
}

#[test]
fn silence_in_the_kernel_is_told_and_its_end_too() {
    let mut node = Node::new();
    let mut spec = plain();
    spec.media_timeout = Duration::from_secs(3);
    let locals = node.create(&spec);
    node.talk(500, locals);
    let told = |events: Vec<Event>| {
        let silent = |event: &Event| matches!(event.kind, EventKind::MediaTimeout { .. });
        events.iter().filter(|event| silent(event)).count()
    };
    assert_eq!(told(node.events()), 0, "the kernel hears them");
    // The latest packet came 20 ms ago.
    node.pass(Duration::from_millis(2_979));
    assert_eq!(told(node.events()), 0);
    node.pass(Duration::from_millis(1));
    assert_eq!(told(node.events()), 2);
    node.talk(100, locals);
    node.pass(Duration::from_secs(7));
    assert_eq!(told(node.events()), 2, "once more, since media had come");
}

#[test]
fn packets_that_come_up_are_counted_once() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(10, locals);
    // A type that no description lists, each tenth packet.
    for n in 1..=200u16 {
        node.seq += 1;
        let payload_type = if n % 10 == 0 { 77 } else { 8 };
        let packet = rtp(payload_type, node.seq, u32::from(node.seq) * 160, 7);
        let (in_kernel, way) = node.packet(locals[0].rtp, A, &packet);
        assert_eq!(
            (in_kernel, way),
            (payload_type == 8, Some((locals[1].rtp, at(B))))
        );
        node.pass(PTIME);
    }
    let stream = node.line(0).streams[0].clone();
    assert_eq!((stream.packets, stream.bytes, stream.lost), (210, 210 * 172, 0));
    assert_eq!(node.path(0), RELAY);
    // A few in a pause of speech, and somebody who asks all the time.
    for _ in 0..40 {
        node.seq += 1;
        node.packet(locals[0].rtp, A, &rtp(77, node.seq, u32::from(node.seq) * 160, 7));
        node.pass(Duration::from_millis(160));
        node.query();
    }
    assert_eq!(node.path(0), RELAY);
    // Nothing but what comes up: user space has it again, and the loss of none is told.
    for _ in 0..100 {
        node.seq += 1;
        node.packet(locals[0].rtp, A, &rtp(77, node.seq, u32::from(node.seq) * 160, 7));
        node.pass(PTIME);
    }
    assert_eq!(node.path(0), user(PathReason::PassedUp));
    assert!(!node.kernel.has(locals[0].rtp));
    let stream = node.delete().legs[0].lines[0].streams[0].clone();
    assert_eq!((stream.packets, stream.lost), (350, 0));
}

#[test]
fn a_stream_without_pauses_waits_and_says_so() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    for seq in 0..1_500u16 {
        node.packet(locals[0].rtp, A, &rtp(8, seq, u32::from(seq) * 8, 7));
        node.pass(Duration::from_millis(1));
        if seq == 500 {
            assert_eq!(node.path(0), user(PathReason::Pause));
        }
    }
    assert_eq!(node.path(0), user(PathReason::NoPause));
    node.pass(Duration::from_millis(60));
    assert_eq!(node.path(0), RELAY);
}

#[test]
fn packets_in_the_back_end_hold_flows_up_but_not_for_ever() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.kernel.is_behind = true;
    assert_eq!(node.talk(45, locals), 0);
    assert_eq!(node.path(0), user(PathReason::Pause));
    assert!(
        node.talk(20, locals) > 20,
        "a worker that never catches up is helped most of all"
    );
}

#[test]
fn what_the_table_cannot_do_is_not_asked_of_it() {
    let mut clocks: Vec<Codec> = (0..8).map(|n| codec(96 + n, "x")).collect();
    for (codec, clock_hz) in clocks.iter_mut().zip([8, 11, 12, 16, 22, 24, 32, 48]) {
        codec.clock_rate_hz = clock_hz * 1_000;
    }
    let many = LineSpec {
        codecs: clocks,
        ..line(A)
    };
    let here = LineSpec {
        latching: Latching::AnyAddress,
        ..line("10.0.0.1:9999")
    };
    let mux = LineSpec {
        rtcp_mux: true,
        ..line(A)
    };
    for (a, from, reason) in [
        (many, A, PathReason::Clocks),
        (here, "10.0.0.1:9999", PathReason::Hairpin),
        (mux, A, PathReason::MuxDiffers),
    ] {
        let mut node = Node::new();
        let locals = node.create(&call("c", a, line(B)));
        for seq in 0..10 {
            node.packet(locals[0].rtp, from, &rtp(8, seq, 0, 7));
            node.pass(PTIME);
        }
        assert_eq!(node.path(0), user(reason));
        assert!(!node.kernel.has(locals[0].rtp));
    }
}

#[test]
fn a_line_without_codecs_takes_every_type() {
    let mut node = Node::new();
    let mut spec = plain();
    for leg in &mut spec.legs {
        leg.lines[0].codecs.clear();
    }
    let locals = node.create(&spec);
    node.talk(5, locals);
    let flow = node.kernel.flow(locals[0].rtp).expect("it is in the table");
    let FlowMedia::Rtp(types) = &flow.media else {
        panic!("{:?}", flow.media)
    };
    assert!(types.len() == 128 && types.iter().all(|(_, clock)| *clock == 8_000));
}

#[test]
fn round_trips_come_out_of_copies() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(50, locals);
    let before = node.line(0).streams[0].mos_x100;
    let info = SenderInfo {
        ntp: 0xe000_0001_8000_0000,
        rtp: RtpTimestamp(0),
        packets: 50,
        bytes: 8_000,
    };
    let block = ReportBlock {
        ssrc: Ssrc(7),
        fraction_lost: 0,
        lost: 0,
        highest_seq: 49,
        jitter_rtp_units: 0,
        last_sr: info.ntp_middle(),
        delay_since_last_sr: 0,
    };
    let (mut sent, mut answer) = (Vec::new(), Vec::new());
    CompoundWriter::new(&mut sent).sender_report(Ssrc(7), &info, &[]);
    CompoundWriter::new(&mut answer).receiver_report(Ssrc(8), &[block]);
    let passed = node.now;
    // They are read late, with the times at which they came.
    node.pass(Duration::from_secs(5));
    node.engine.handle_rtcp_copy(passed, locals[0].rtcp, &sent);
    node.engine
        .handle_rtcp_copy(passed + Duration::from_millis(600), locals[1].rtcp, &answer);
    node.engine.handle_rtcp_copy(passed, at("192.0.2.77:1"), &answer);
    node.engine.handle_rtcp_copy(passed, locals[0].rtcp, &answer[..7]);
    let after = node.line(0).streams[0].mos_x100;
    assert!(before == 441 && (370..410).contains(&after), "{before} {after}");
    assert_eq!(node.line(0).rtcp_forwarded, 0, "the flow has counted them");
}

#[test]
fn strangers_change_nothing_and_are_all_counted() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(10, locals);
    let mut random = Random::from_number(3);
    for n in 0..10_000u32 {
        let stranger = format!("198.51.100.{}:{}", n % 250, 1_024 + random.below(60_000));
        let packet = rtp((n % 128) as u8, n as u16, n, random.next_u64() as u32);
        let length = random.below(173) as usize;
        let (in_kernel, way) = node.packet(locals[0].rtp, &stranger, &packet[..length]);
        assert_eq!((in_kernel, way), (true, None));
    }
    assert_eq!(node.talk(10, locals), 20);
    let line = node.line(0);
    assert_eq!(line.drops, [("source_locked", 10_000)]);
    assert_eq!(line.learned, Some(at(A)));
    let counts = |line: &LineReport| (line.streams.len(), line.streams[0].packets, line.streams[0].lost);
    assert_eq!(counts(&line), (1, 20, 0));
    assert_eq!(
        node.engine
            .counters()
            .kernel
            .drops
            .of(media_engine::DropReason::SourceLocked),
        10_000
    );
}

/// The process ends without a word after the latches were written down; its flows go on.
#[test]
fn a_call_of_a_killed_process_goes_on_with_its_flows() {
    let mut node = Node::new();
    let spec = plain();
    let locals = node.create(&spec);
    node.talk(2, locals);
    for (local, source) in [
        (locals[0].rtcp, "192.0.2.1:4001"),
        (locals[1].rtcp, "192.0.2.2:5001"),
    ] {
        node.packet(local, source, &rtcp(7));
    }
    node.pass(Duration::from_secs(1));
    let mut state = node.engine.state(node.now, &call_id("c")).unwrap();
    let lease_left = state.lease_left;
    assert!(
        lease_left <= spec.lease - Duration::from_secs(1),
        "{lease_left:?}"
    );
    // A journal has no streams.
    state
        .lines
        .iter_mut()
        .flatten()
        .for_each(|line| line.streams.clear());
    assert_eq!(node.talk(100, locals), 200);
    node.kernel.survive();
    node.engine = Engine::new(kernel_config(), Random::from_number(2));
    assert_eq!(node.kernel.len(), 4);
    for _ in 0..20 {
        node.seq += 1;
        for (leg, party) in [A, B].into_iter().enumerate() {
            let packet = rtp(8, node.seq, u32::from(node.seq) * 160, 7 + leg as u32);
            assert!(
                node.packet(locals[leg].rtp, party, &packet).0,
                "nobody is there but the kernel"
            );
        }
        node.now = node.now + PTIME;
    }
    let restored = Restored {
        id: call_id("c"),
        legs: spec.legs.clone().try_into().unwrap(),
        state,
    };
    let report = node
        .engine
        .restore(node.now, &mut node.kernel, &restored)
        .expect("its ports are free");
    assert_eq!(report.lease_left, lease_left, "no new lease");
    for (leg, local) in locals.into_iter().enumerate() {
        let line = &report.legs[leg].lines[0];
        assert_eq!((line.local, line.path), (Some(local), Path::Kernel));
        let stream = &line.streams[0];
        assert_eq!((stream.packets, stream.lost, line.rtcp_forwarded), (122, 0, 1));
    }
    assert_eq!(node.kernel.removes, 0, "no packet went through user space");
    assert_eq!(node.engine.counters().kernel.flows_adopted, 4);
    assert_eq!(node.talk(10, locals), 20);
    assert_eq!(node.engine.counters().kernel.rtp_forwarded, 0, "not read yet");
    assert_eq!(node.line(1).streams[0].packets, 132);
    assert_eq!(
        node.engine.counters().kernel.rtp_forwarded,
        20,
        "what this process has seen"
    );
    assert!(node.events().is_empty(), "nothing of it is news");
    assert_eq!(
        node.engine.restore(node.now, &mut node.kernel, &restored),
        Err(media_types::Refusal::CallExists)
    );
    node.delete();
    assert_eq!(node.kernel.len(), 0);
}

/// A packet was on its way to user space when its flow was installed, and others were passed up: the table sees them
/// missing, and so would the next process.
#[test]
fn packets_that_came_to_user_space_are_no_loss_after_a_kill() {
    let mut node = Node::new();
    let spec = plain();
    let locals = node.create(&spec);
    assert!(node.talk(10, locals) > 0);
    let mut state = node.engine.state(node.now, &call_id("c")).unwrap();
    let lines = state.lines.iter_mut().flatten();
    lines.for_each(|line| line.streams.clear());
    node.seq += 1;
    let late = rtp(8, node.seq, u32::from(node.seq) * 160, 7);
    let port = node.kernel.ports.open[&locals[0].rtp];
    let verdict = hand_over(&mut node.engine, node.now, port, at(A), &late);
    assert!(matches!(verdict, Verdict::Forward { .. }));
    for _ in 0..3 {
        node.seq += 1;
        let unlisted = rtp(77, node.seq, u32::from(node.seq) * 160, 7);
        assert!(!node.packet(locals[0].rtp, A, &unlisted).0);
    }
    node.pass(PTIME);
    assert_eq!(node.talk(5, locals), 10);
    let before = node.line(0).streams[0].clone();
    assert_eq!((before.packets, before.lost), (19, 0));
    node.kernel.survive();
    node.engine = Engine::new(kernel_config(), Random::from_number(2));
    let restored = Restored {
        id: call_id("c"),
        legs: spec.legs.clone().try_into().unwrap(),
        state,
    };
    node.engine
        .restore(node.now, &mut node.kernel, &restored)
        .expect("its ports are free");
    let after = node.line(0).streams[0].clone();
    assert_eq!((after.packets, after.bytes), (before.packets, before.bytes));
    assert_eq!((after.lost, after.reordered, after.duplicates), (0, 0, 0));
    // They stay counted when the flow goes, comes back, and is adopted once more.
    node.update(&[leg(
        "a",
        vec![LineSpec {
            direction: Direction::RecvOnly,
            ..line(A)
        }],
    )]);
    assert!(!node.kernel.has(locals[0].rtp));
    node.update(&[leg("a", vec![line(A)])]);
    assert!(node.talk(5, locals) > 0);
    let stream = node.line(0).streams[0].clone();
    assert_eq!((stream.packets, stream.lost), (24, 0));
}

#[test]
fn a_flow_that_should_not_be_is_taken_out_when_its_call_is_restored() {
    let mut node = Node::new();
    let spec = plain();
    let locals = node.create(&spec);
    let state = node.engine.state(node.now, &call_id("c")).unwrap();
    node.talk(20, locals);
    node.kernel.survive();
    node.engine = Engine::new(kernel_config(), Random::from_number(2));
    // The journal knows of no latch.
    let restored = Restored {
        id: call_id("c"),
        legs: spec.legs.clone().try_into().unwrap(),
        state,
    };
    node.engine
        .restore(node.now, &mut node.kernel, &restored)
        .unwrap();
    assert_eq!(node.kernel.len(), 0);
    assert_eq!(
        node.line(0).streams[0].packets,
        20,
        "what it had counted is not lost"
    );
    node.talk(20, locals);
    assert_eq!((node.path(0), node.line(0).streams[0].packets), (RELAY, 40));
}

#[test]
fn a_call_whose_ports_are_taken_is_not_restored_and_leaves_nothing() {
    let mut node = Node::new();
    let spec = plain();
    node.create(&spec);
    let state = node.engine.state(node.now, &call_id("c")).unwrap();
    let restored = Restored {
        id: call_id("d"),
        legs: spec.legs.clone().try_into().unwrap(),
        state,
    };
    let free = node.engine.capacity().port_pairs_free;
    let answer = node.engine.restore(node.now, &mut node.kernel, &restored);
    assert_eq!(answer, Err(media_types::Refusal::NoPorts));
    node.delete();
    node.pass(Duration::from_secs(10));
    for failing in 0..4 {
        let failure = std::iter::once(Some(media_engine::OpenError::Refused));
        node.kernel.ports.failures = failure.chain(std::iter::repeat_n(None, failing)).collect();
        let answer = node.engine.restore(node.now, &mut node.kernel, &restored);
        assert_eq!(answer, Err(media_types::Refusal::NoPorts));
        assert_eq!(node.engine.capacity().port_pairs_free, free + 2);
        assert!(node.kernel.ports.open.is_empty());
    }
    node.kernel.ports.failures.clear();
    node.engine
        .restore(node.now, &mut node.kernel, &restored)
        .expect("they are free");
}

#[test]
fn every_end_of_a_call_takes_its_flows_out() {
    let mut node = Node::new();
    let mut spec = plain();
    spec.lease = Duration::from_secs(2);
    let locals = node.create(&spec);
    node.talk(50, locals);
    node.pass(Duration::from_secs(2));
    assert_eq!(node.kernel.len(), 0, "the lease is over");
    let ended = node.events().into_iter().find_map(|event| match event.kind {
        EventKind::Ended { report, .. } => Some(report),
        _ => None,
    });
    assert_eq!(ended.unwrap().legs[0].lines[0].streams[0].packets, 50);
    node.pass(Duration::from_secs(10));
    let locals = node.create(&plain());
    node.talk(10, locals);
    assert_eq!(node.kernel.len(), 2);
    let disabled = LineSpec {
        enabled: false,
        ..line(A)
    };
    node.update(&[leg("a", vec![disabled.clone()])]);
    assert!(!node.kernel.has(locals[0].rtp) && !node.kernel.has(locals[1].rtp));
    assert_eq!(node.path(0), user(PathReason::Disabled));
    assert_eq!(node.engine.flow_counts().of(PathReason::Disabled), 1);
    node.update(&[leg("a", vec![line(A)])]);
    node.engine.shutdown(node.now, &mut node.kernel);
    assert_eq!((node.kernel.len(), node.kernel.ports.open.len()), (0, 0));
    assert_eq!(
        (
            node.engine.flow_counts().total(),
            node.engine.poll_timeout().is_some()
        ),
        (0, true)
    );
}

/// A table that counts how often it is read.
#[test]
fn flows_are_read_once_a_second_and_a_few_at_a_time() {
    let mut config = kernel_config();
    for interface in &mut config.interfaces {
        interface.ports = (10_000..30_000).step_by(2).collect();
    }
    let mut node = Node::with(config);
    let calls = 500;
    let mut locals = Vec::new();
    for n in 0..calls {
        locals.push(node.create(&call(&format!("c{n}"), line(A), line(B))));
    }
    for seq in 0..3 {
        for local in locals.clone() {
            node.packet(local[0].rtp, A, &rtp(8, seq, 0, 7));
            node.packet(local[1].rtp, B, &rtp(8, seq, 0, 8));
        }
        node.pass(PTIME);
    }
    node.pass(Duration::from_millis(500));
    assert_eq!(node.engine.flow_counts().kernel(), 2 * calls);
    node.kernel.reads = 0;
    let (until, mut most) = (node.now + Duration::from_secs(10), 0);
    let mut turns = 0;
    while node.now < until {
        node.now = node.engine.poll_timeout().expect("there is work").max(node.now);
        let before = node.kernel.reads;
        node.engine.handle_timeout(node.now, &mut node.kernel);
        most = most.max(node.kernel.reads - before);
        turns += 1;
    }
    assert!(most <= 64, "{most} in one turn");
    let reads = node.kernel.reads as u64;
    assert!(
        (9 * 2 * calls..=11 * 2 * calls).contains(&reads),
        "{reads} in ten seconds"
    );
    assert!(turns < 3_000, "{turns} turns in ten seconds");
}

#[test]
fn each_second_of_each_stream_is_scored() {
    let mut node = Node::new();
    let locals = node.create(&plain());
    node.talk(500, locals);
    let scores = node.engine.scores();
    let count: u64 = scores.counts().iter().sum();
    assert!((18..=22).contains(&count), "two streams, ten seconds: {count}");
    assert_eq!(scores.counts().last(), Some(&count), "all is well");
    assert_eq!(scores.sum_x100(), count * 441);
    // A third of a second is lost, and only that second suffers.
    node.seq += 16;
    node.talk(200, locals);
    let counts = *node.engine.scores().counts();
    let bad: u64 = counts[..5].iter().sum();
    assert_eq!(bad, 2, "{counts:?}");
    let stream = node.line(0).streams[0].clone();
    assert_eq!(
        (stream.packets, stream.lost, stream.mos_x100_second),
        (700, 16, 441)
    );
    assert!(
        (400..441).contains(&stream.mos_x100),
        "over its life: {}",
        stream.mos_x100
    );
    assert_eq!(stream.bursts.bursts, 1);
    assert!(
        (500..=520).contains(&stream.bursts.gap_packets),
        "{:?}",
        stream.bursts
    );
    node.pass(Duration::from_secs(3));
    assert_eq!(node.line(0).streams[0].mos_x100_second, 0, "nothing to judge");
}
