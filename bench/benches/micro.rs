//! The functions that a packet or a message passes through, each by itself (`make bench-micro`).
//!
//! Memory is warm and branches are predicted, as they are not in a relay: these figures find regressions, and bound from
//! below what a packet costs.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use media_engine::{
    Address, Aside, Engine, EngineConfig, Flow, FlowError, FlowReading, Flows, Interface, OpenError, PortId,
    Ports, StreamState, Verdict,
};
use media_types::{
    CallId, CallSpec, Codec, Direction, IdempotencyKey, InterfaceName, Latching, LegId, LegSpec, LineSpec,
    LocalLine, MediaKind, Path,
};
use ringpath_bench::relay::load_stream::{LoadStream, PACKET};
use sans_io::{Random, Timestamp};
use sdp::{Origin, OurLine, Session};

const CALLS: usize = 1_000;
const LEASE: Duration = Duration::from_secs(1_000_000_000);
const PTIME: Duration = Duration::from_millis(20);

/// An INVITE as a desk phone behind a proxy sends it.
const INVITE: &[u8] = b"INVITE sip:+4930123456@203.0.113.7;transport=udp SIP/2.0\r\n\
Via: SIP/2.0/UDP 198.51.100.2:5060;branch=z9hG4bK7c1f.0a2b3c4d5e6f.0\r\n\
Via: SIP/2.0/UDP 192.168.1.20:5060;rport=5060;received=198.51.100.77;branch=z9hG4bK-524287-1---9f3c\r\n\
Record-Route: <sip:198.51.100.2;lr;ftag=a73kszlfl>\r\n\
Max-Forwards: 69\r\n\
Contact: <sip:alice@192.168.1.20:5060;ob>;+sip.instance=\"<urn:uuid:0cbd9ab2-93ed-4d5e-a4f3-6a3e1e7a2c11>\"\r\n\
To: <sip:+4930123456@example.com>\r\n\
From: \"Alice\" <sip:alice@example.com>;tag=a73kszlfl\r\n\
Call-ID: 84b4c76e66710-7f3a@192.168.1.20\r\n\
CSeq: 314159 INVITE\r\n\
Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, PRACK, UPDATE\r\n\
Supported: replaces, 100rel, timer, norefersub\r\n\
Session-Expires: 1800\r\n\
Min-SE: 90\r\n\
User-Agent: Desk phone 6.2\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 0\r\n\r\n";

/// An offer of four codecs.
const OFFER: &[u8] = b"v=0\r\n\
o=- 3870000000 3870000000 IN IP4 192.168.1.20\r\n\
s=call\r\n\
c=IN IP4 192.168.1.20\r\n\
t=0 0\r\n\
m=audio 4000 RTP/AVP 9 8 0 101\r\n\
a=rtcp:4001 IN IP4 192.168.1.20\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n";

/// Ports without sockets, and a table of flows that forwards nothing and always reads the same.
#[derive(Default)]
struct NoSockets {
    opened: u32,
    streams: HashMap<SocketAddr, StreamState>,
}

impl Ports for NoSockets {
    fn open(&mut self, _: SocketAddr) -> Result<PortId, OpenError> {
        self.opened += 1;
        Ok(PortId(self.opened - 1))
    }

    fn close(&mut self, _: PortId) {}
}

impl Flows for NoSockets {
    fn install(&mut self, flow: &Flow, streams: &[StreamState]) -> Result<(), FlowError> {
        self.streams
            .extend(streams.iter().map(|stream| (flow.local, *stream)));
        Ok(())
    }

    fn remove(&mut self, local: SocketAddr) -> Option<FlowReading> {
        self.streams.remove(&local);
        None
    }

    fn read(&mut self, local: SocketAddr) -> Option<FlowReading> {
        let mut reading = FlowReading::default();
        reading.streams[0] = Some(*self.streams.get(&local)?);
        Some(reading)
    }

    fn keep_aside(&mut self, _: SocketAddr, _: rtp::Ssrc, _: Aside) -> bool {
        false
    }
}

fn party(call: usize, side: usize) -> SocketAddr {
    (
        [198, 18, 1 + side as u8, 1],
        4_000 + u16::try_from(call).expect("few calls") * 4,
    )
        .into()
}

/// An engine with a thousand plain calls. Their RTP ports are, by call, 4n for the caller and 4n + 2 for the callee.
fn engine(kernel: bool) -> (Engine, NoSockets) {
    let address = Address {
        local: [198, 18, 0, 2].into(),
        advertised: [198, 18, 0, 2].into(),
    };
    let interface = Interface {
        name: InterfaceName::new("public").expect("a name"),
        addresses: vec![address],
        ports: (20_000..30_000).step_by(2).collect(),
    };
    let mut config = EngineConfig::new(vec![interface], Path::Simulated, "a benchmark");
    config.kernel = kernel;
    // A benchmark passes thousands of seconds.
    config.lease_max = LEASE;
    let mut engine = Engine::new(config, Random::from_number(1));
    let mut ports = NoSockets::default();
    let line = |remote| LineSpec {
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
            payload_type: 8,
            name: "PCMA".into(),
            clock_rate_hz: 8_000,
            channels: 1,
            ptime_ms: 20,
        }],
    };
    for call in 0..CALLS {
        let name = format!("call-{call}");
        let legs = [("caller", 0), ("callee", 1)].map(|(id, side)| LegSpec {
            id: LegId::new(id).expect("a name"),
            interface: None,
            ipv6: false,
            lines: vec![line(party(call, side))],
        });
        let spec = CallSpec {
            id: CallId::new(&name).expect("a name"),
            legs: legs.into(),
            lease: LEASE,
            media_timeout: Duration::ZERO,
        };
        let key = IdempotencyKey::new(&name).expect("a name");
        engine
            .create(Timestamp::from_millis(1), &mut ports, &key, &spec)
            .expect("there is room");
    }
    (engine, ports)
}

fn rtp_parse(criterion: &mut Criterion) {
    let mut packet = [0; PACKET];
    LoadStream::new(7, 1, 0).write(5, 0, &mut packet);
    criterion.bench_function("rtp::Packet::parse", |bench| {
        bench.iter(|| rtp::Packet::parse(black_box(&packet)).map(|packet| packet.seq()));
    });
}

fn handle_packet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("media_engine::Engine::handle_packet");
    group.throughput(Throughput::Elements(1));
    for calls in [1, CALLS] {
        let (mut engine, _) = engine(false);
        let streams: Vec<LoadStream> = (0..calls as u32)
            .map(|place| LoadStream::new(place, 1, 0))
            .collect();
        let mut packet = [0; PACKET];
        let (mut place, mut number) = (0, 0u32);
        group.bench_function(format!("{calls} calls"), |bench| {
            bench.iter(|| {
                // Only the sequence number and what goes with it differ from packet to packet.
                streams[place].write(number, 0, &mut packet);
                let now = Timestamp::from_millis(10) + PTIME * number;
                let port = PortId(place as u32 * 4);
                let verdict =
                    engine.handle_packet(now, port, party(place, 0), black_box(&mut packet), PACKET);
                assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
                place += 1;
                if place == calls {
                    (place, number) = (0, number.wrapping_add(1));
                }
            });
        });
        let mut packet = [0; PACKET];
        group.bench_function(format!("{calls} calls, only writing the packet"), |bench| {
            bench.iter(|| {
                streams[place % calls].write(number, 0, &mut packet);
                number = number.wrapping_add(1);
                black_box(&packet);
            });
        });
    }
    group.finish();
}

/// What a second costs the engine beyond packets: every flow in the table is read, every stream judged. What the table
/// itself takes for a reading comes on top.
fn sweep(criterion: &mut Criterion) {
    let (mut engine, mut shell) = engine(true);
    let mut now = Timestamp::from_millis(10);
    for number in 0..3 {
        for call in 0..CALLS {
            let mut packet = [0; PACKET];
            LoadStream::new(call as u32, 1, 0).write(number, 0, &mut packet);
            for side in 0..2 {
                let port = PortId((call * 4 + side * 2) as u32);
                let verdict = engine.handle_packet(now, port, party(call, side), &mut packet, PACKET);
                assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
            }
        }
        now = now + PTIME;
    }
    let mut pass = |time: Duration| {
        let until = now + time;
        while let Some(at) = engine.poll_timeout().filter(|at| *at <= until) {
            now = at.max(now);
            engine.handle_timeout(now, &mut shell);
        }
        now = until;
        engine.flow_counts().kernel()
    };
    assert_eq!(pass(Duration::from_secs(1)), 2 * CALLS as u64);
    let mut group = criterion.benchmark_group("media_engine::Engine::handle_timeout");
    group.throughput(Throughput::Elements(2 * CALLS as u64));
    group.bench_function(
        format!("a second of {} flows in the kernel", 2 * CALLS),
        |bench| {
            bench.iter(|| pass(Duration::from_secs(1)));
        },
    );
    group.finish();
}

fn sip_parse(criterion: &mut Criterion) {
    let datagram = Bytes::from_static(INVITE);
    criterion.bench_function("sip::message::Message::parse_datagram, INVITE", |bench| {
        bench.iter(|| {
            sip::message::Message::parse_datagram(black_box(datagram.clone()))
                .expect("it is well-formed")
                .status()
        });
    });
}

fn sdp_rewrite(criterion: &mut Criterion) {
    let ours = [Some(OurLine {
        has_feedback: false,
        handshake: None,
        local: LocalLine {
            rtp: ([203, 0, 113, 7], 20_000).into(),
            rtcp: ([203, 0, 113, 7], 20_001).into(),
        },
        rtcp_mux: false,
    })];
    criterion.bench_function("sdp::Session::parse", |bench| {
        bench.iter(|| Session::parse(black_box(OFFER)).expect("it is well-formed"));
    });
    let session = Session::parse(OFFER).expect("it is well-formed");
    let mut origin = Origin::new(7);
    criterion.bench_function("sdp::rewrite", |bench| {
        bench.iter(|| sdp::rewrite(black_box(&session), &ours, &[], &mut origin));
    });
}

criterion_group!(benches, rtp_parse, handle_packet, sweep, sip_parse, sdp_rewrite);
criterion_main!(benches);
