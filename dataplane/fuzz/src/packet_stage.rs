use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use media_engine::{
    Address, Aside, Counters, DropReason, Engine, EngineConfig, Flow, FlowError, FlowReading, Flows,
    Interface, OpenError, PortId, Ports, StreamState, Verdict,
};
use media_types::{
    CallId, CallSpec, Codec, Direction, DtlsRole, DtlsSpec, Fingerprint, HashFunction, IceCredentials,
    IceMode, IceSpec, IdempotencyKey, InterfaceName, Latching, LegId, LegSpec, LineSpec, MediaKind, Path,
};
use sans_io::{Random, Timestamp};

/// Who may send: the signalled addresses of both parties, other ports of theirs, and strangers.
const SOURCES: [&str; 8] = [
    "192.0.2.1:4000",
    "192.0.2.1:4001",
    "192.0.2.1:9000",
    "192.0.2.2:5000",
    "192.0.2.2:5001",
    "203.0.113.3:7000",
    "203.0.113.3:7001",
    "[2001:db8::3]:7000",
];

/// The longest input that is looked at: a fuzzer gains nothing from more.
const FRAMES_MAX: usize = 256;

/// A live call of two parties, and what a network may do to it.
///
/// The first byte says how the call is made. Then come frames: a byte for the port (two bits), the source (three
/// bits), whether time passes and whether the call is updated; a byte for the length of the datagram; the datagram.
///
/// Every frame has exactly one fate, on the engine and on its line; what is forwarded leaves by an open port of the
/// other line; RTP is forwarded from the learned source only; streams and events stay bounded; every port is closed in
/// the end. Some of the second party's lines have DTLS and ICE, whose datagrams are handed to nobody here.
pub fn packet_stage(data: &[u8]) {
    let Some((&setup, mut rest)) = data.split_first() else {
        return;
    };
    let mut stage = Stage::new(setup);
    let mut frames = 0;
    while let Some((&[control, len], after)) = rest.split_first_chunk::<2>()
        && frames < FRAMES_MAX
    {
        let len = usize::from(len).min(after.len());
        let (datagram, next) = after.split_at(len);
        stage.frame(control, datagram);
        rest = next;
        frames += 1;
    }
    stage.finish(frames as u64);
}

/// Ports as a table.
#[derive(Default)]
struct Table(Vec<Option<SocketAddr>>);

impl Ports for Table {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        self.0.push(Some(local));
        Ok(PortId(self.0.len() as u32 - 1))
    }

    fn close(&mut self, port: PortId) {
        let closed = self.0[port.0 as usize].take();
        assert!(closed.is_some(), "{port:?} was closed twice");
    }
}

impl Flows for Table {
    fn install(&mut self, _: &Flow, _: &[StreamState]) -> Result<(), FlowError> {
        Err(FlowError::Unavailable)
    }

    fn remove(&mut self, _: SocketAddr) -> Option<FlowReading> {
        None
    }

    fn read(&mut self, _: SocketAddr) -> Option<FlowReading> {
        None
    }

    fn keep_aside(&mut self, _: SocketAddr, _: rtp::Ssrc, _: Aside) -> bool {
        false
    }
}

impl Table {
    fn find(&self, local: SocketAddr) -> Option<PortId> {
        self.0
            .iter()
            .position(|open| *open == Some(local))
            .map(|at| PortId(at as u32))
    }
}

struct Stage {
    engine: Engine,
    ports: Table,
    now: Timestamp,
    call: CallId,
    /// RTP and RTCP of the first leg, then of the second.
    locals: [SocketAddr; 4],
    updates: u32,
}

impl Stage {
    fn new(setup: u8) -> Self {
        let local: IpAddr = [10, 0, 0, 1].into();
        let interface = Interface {
            name: InterfaceName::new("one").expect("a name"),
            addresses: vec![Address {
                local,
                advertised: local,
            }],
            ports: (20_000..20_016).step_by(2).collect(),
        };
        let mut config = EngineConfig::new(vec![interface], Path::Simulated, "fuzzing");
        config.limits.events_max = 16;
        let mut stage = Self {
            engine: Engine::new(config, Random::from_number(1)),
            ports: Table::default(),
            now: Timestamp::from_millis(1),
            call: CallId::new("call").expect("a name"),
            locals: [SocketAddr::from(([0, 0, 0, 0], 0)); 4],
            updates: 0,
        };
        let spec = CallSpec {
            id: stage.call.clone(),
            legs: legs(setup),
            lease: Duration::from_secs(3_600),
            media_timeout: Duration::from_secs(1),
        };
        let key = IdempotencyKey::new("create").expect("a key");
        let report = stage
            .engine
            .create(stage.now, &mut stage.ports, &key, &spec)
            .expect("the call is made");
        let lines = report.legs.iter().flat_map(|leg| leg.lines[0].local);
        for (at, local) in lines.enumerate() {
            // The second port of a pair, open or not.
            let rtcp = SocketAddr::new(local.rtp.ip(), local.rtp.port() + 1);
            (stage.locals[2 * at], stage.locals[2 * at + 1]) = (local.rtp, rtcp);
        }
        stage
    }

    fn frame(&mut self, control: u8, datagram: &[u8]) {
        let to = self.locals[usize::from(control & 3)];
        let source: SocketAddr = SOURCES[usize::from(control >> 2 & 7)]
            .parse()
            .expect("an address");
        if control & 0x20 != 0 {
            self.pass(Duration::from_millis(20));
        }
        if control & 0x40 != 0 {
            self.pass(Duration::from_millis(1_100));
        }
        if control & 0x80 != 0 {
            self.update(control);
        }
        let port = self.ports.find(to).unwrap_or(PortId(9_999));
        let before = self.engine.counters().clone();
        let mut buffer = datagram.to_vec();
        let verdict = self
            .engine
            .handle_packet(self.now, port, source, &mut buffer, datagram.len());
        assert_eq!(buffer, datagram, "nobody encrypts");
        self.judge(&before, to, source, datagram, verdict);
    }

    fn judge(
        &mut self,
        before: &Counters,
        to: SocketAddr,
        source: SocketAddr,
        datagram: &[u8],
        verdict: Verdict,
    ) {
        let after = self.engine.counters().clone();
        assert_eq!(after.received(), before.received() + 1, "one frame, one fate");
        match verdict {
            Verdict::Drop(reason) => {
                assert_eq!(after.dropped(reason), before.dropped(reason) + 1);
                let others = DropReason::ALL.iter().filter(|other| **other != reason);
                assert!(
                    others
                        .into_iter()
                        .all(|other| after.dropped(*other) == before.dropped(*other))
                );
                assert_eq!(after.bytes_forwarded, before.bytes_forwarded);
            }
            Verdict::SetUp(id) => {
                assert_eq!(after.set_up, before.set_up + 1);
                assert_eq!(after.dropped_total(), before.dropped_total());
                assert_eq!(after.bytes_forwarded, before.bytes_forwarded);
                assert!(matches!(datagram[0], 0..=3 | 20..=63), "STUN or DTLS (RFC 7983)");
                let port = self.engine.setup_port(id).expect("the line lives");
                assert_eq!(
                    self.ports.0[port.0 as usize],
                    Some(to),
                    "of the port that it came to"
                );
            }
            Verdict::Forward {
                port,
                to: destination,
                ..
            } => {
                assert_eq!(after.dropped_total(), before.dropped_total());
                assert_eq!(
                    after.bytes_forwarded,
                    before.bytes_forwarded + datagram.len() as u64
                );
                let from = self.ports.0[port.0 as usize].expect("it leaves by an open port");
                let (ingress, egress) = (self.line_of(to), self.line_of(from));
                assert_ne!(ingress, egress, "it leaves on the other side");
                assert!(
                    SOURCES.iter().any(|known| known.parse() == Ok(destination)),
                    "{destination}"
                );
                let report = self
                    .engine
                    .query(self.now, &mut self.ports, &self.call)
                    .expect("the call lives");
                if after.rtp_forwarded > before.rtp_forwarded {
                    assert_eq!(report.legs[ingress].lines[0].learned, Some(source));
                    assert_eq!(to, self.locals[2 * ingress], "RTP comes to the RTP port");
                }
            }
        }
    }

    fn line_of(&self, local: SocketAddr) -> usize {
        self.locals
            .iter()
            .position(|known| *known == local)
            .expect("a port of the call")
            / 2
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.engine.handle_timeout(self.now, &mut self.ports);
        assert!(
            self.engine.poll_timeout().is_none_or(|at| at > self.now),
            "the timer stands still"
        );
    }

    fn update(&mut self, control: u8) {
        self.updates += 1;
        let key = IdempotencyKey::new(&format!("update-{}", self.updates)).expect("a key");
        let (call, legs) = (
            self.call.clone(),
            legs(control.rotate_left(3) ^ self.updates as u8),
        );
        self.engine
            .update(self.now, &mut self.ports, &key, &call, &legs)
            .expect("the call is updated");
    }

    fn finish(mut self, frames: u64) {
        let counters = self.engine.counters().clone();
        assert_eq!(counters.received(), frames);
        let mut events = 0;
        while self.engine.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= 16, "{events} events");
        let key = IdempotencyKey::new("delete").expect("a key");
        let report = self
            .engine
            .delete(self.now, &mut self.ports, &key, &self.call)
            .expect("the call lives");
        let mut fates = counters.rtp_forwarded + counters.set_up + counters.dropped(DropReason::UnknownPort);
        for leg in &report.legs {
            let line = &leg.lines[0];
            fates += line.rtcp_forwarded + line.drops.iter().map(|drop| drop.1).sum::<u64>();
            assert!(line.streams.len() <= 4);
            assert!(line.streams.iter().all(|stream| stream.mos_x100 <= 450));
        }
        assert_eq!(fates, frames, "the lines have counted what the engine has");
        assert!(self.ports.0.iter().all(Option::is_none), "a port stayed open");
    }
}

/// The legs that a byte stands for.
fn legs(bits: u8) -> Vec<LegSpec> {
    let policies = [
        Latching::Off,
        Latching::SameAddress,
        Latching::AnyAddress,
        Latching::AnyAddress,
    ];
    let directions = [
        Direction::SendRecv,
        Direction::SendRecv,
        Direction::RecvOnly,
        Direction::Inactive,
    ];
    let leg = |name: &str, remote: &str, latching: u8, mux: bool, direction: u8| LegSpec {
        id: LegId::new(name).expect("a name"),
        interface: None,
        ipv6: false,
        lines: vec![LineSpec {
            kind: MediaKind::Audio,
            enabled: true,
            direction: directions[usize::from(direction & 3)],
            remote: Some(remote.parse().expect("an address")),
            remote_rtcp: None,
            rtcp_mux: mux,
            latching: policies[usize::from(latching & 3)],
            relearn: bits == 0xff,
            srtp: None,
            dtls: None,
            ice: None,
            codecs: vec![Codec {
                payload_type: 8,
                name: "PCMA".into(),
                clock_rate_hz: 8_000,
                channels: 1,
                ptime_ms: 20,
            }],
        }],
    };
    let mut legs = vec![
        leg("a", SOURCES[0], bits, bits & 4 != 0, bits >> 6),
        leg("b", SOURCES[3], bits >> 3, bits & 0x20 != 0, 0),
    ];
    // One of the two patterns that mean any address, with RTP and RTCP on one port.
    if bits & 0x38 == 0x38 {
        let line = &mut legs[1].lines[0];
        line.dtls = Some(Box::new(handshake(bits)));
        line.ice = (bits & 0x40 != 0).then(|| Box::new(search(bits)));
    }
    legs
}

fn handshake(bits: u8) -> DtlsSpec {
    DtlsSpec {
        role: DtlsRole::Passive,
        fingerprints: vec![Fingerprint::new(HashFunction::Sha256, &[bits & 1; 32]).expect("a hash")],
        tls_id: String::new(),
    }
}

fn search(bits: u8) -> IceSpec {
    let credentials = |name: &str| IceCredentials::new(name, "0123456789012345678901").expect("credentials");
    IceSpec {
        mode: IceMode::Lite,
        local: credentials("node"),
        remote: Some(credentials(if bits & 2 == 0 { "one1" } else { "two2" })),
        candidates: vec![],
    }
}
