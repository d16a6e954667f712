use std::net::SocketAddr;
use std::num::NonZeroU32;

use ebpf::{
    Action, FlowReading, FlowSpec, Media, Neighbour, NextHop, Program, Reason, Relay, RelayConfig, Run,
};

pub use netns::skip;

use crate::frame::Datagram;

/// The loopback interface, by which a program-run's packets come.
pub const INGRESS: NonZeroU32 = NonZeroU32::MIN;
/// Another interface. Program-run does not send, so that it need not exist.
pub const OTHER: NonZeroU32 = NonZeroU32::new(7).unwrap();

pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const NEXT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 99];

/// PCMU, PCMA, telephone events, Opus.
pub const TYPES: [(u8, u32); 4] = [(0, 8_000), (8, 8_000), (101, 0), (111, 48_000)];

/// A loaded relay; `None`, and said so, when this machine or build has none.
pub fn relay(name: &str) -> Option<Relay> {
    let config = RelayConfig {
        flows_max: 64,
        addresses_max: 2,
        copies_bytes: 1 << 16,
        taps_bytes: 1 << 16,
        ..RelayConfig::default()
    };
    relay_of(name, &config)
}

/// The same of these sizes.
pub fn relay_of(name: &str, config: &RelayConfig) -> Option<Relay> {
    match Relay::load(config) {
        Ok(relay) => Some(relay),
        Err(error) if error.is_unavailable() => {
            skip(name, &error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

/// Addresses of both legs by IP version: local, source, egress local, destination.
pub fn legs(ingress_v6: bool, egress_v6: bool) -> [SocketAddr; 4] {
    let (local, source) = if ingress_v6 {
        ("[2001:db8::1]:20000", "[2001:db8:a::10]:4000")
    } else {
        ("192.0.2.1:20000", "198.51.100.10:4000")
    };
    let (from, to) = if egress_v6 {
        ("[2001:db8::1]:20002", "[2001:db8:ffff:b::5]:5000")
    } else {
        ("192.0.2.1:20002", "203.0.113.5:5000")
    };
    [local, source, from, to].map(address)
}

pub fn neighbour(ifindex: NonZeroU32) -> Neighbour {
    Neighbour {
        ifindex,
        own: OWN_MAC,
        address: NEXT_MAC,
    }
}

/// A flow of RTP with RTCP on the same port that sends back by the ingress interface.
pub fn spec(ingress_v6: bool, egress_v6: bool) -> FlowSpec {
    let [local, source, from, to] = legs(ingress_v6, egress_v6);
    FlowSpec {
        next_hop: NextHop::Neighbour(neighbour(INGRESS)),
        ..FlowSpec::new(local, source, from, to, Media::Mux(TYPES.to_vec()))
    }
}

/// A packet of the flow with this payload.
pub fn datagram(spec: &FlowSpec, payload: &[u8]) -> Datagram {
    Datagram::new(spec.source, spec.local, payload)
}

pub fn run(relay: &Relay, packet: &[u8]) -> Run {
    relay.program().run(packet, 1).expect("program-run")
}

pub fn reading(relay: &Relay, spec: &FlowSpec) -> FlowReading {
    relay.table().read(spec.key()).expect("the flow is in it")
}

/// Runs a packet that must be refused for `reason`, and checks that flow and totals have counted it and that it is as
/// it was.
pub fn assert_refused(relay: &Relay, spec: &FlowSpec, packet: &[u8], reason: Reason, action: Action) {
    for program in variants(relay) {
        assert_refused_by(program, relay, spec, packet, reason, action);
    }
}

/// The relay for XDP, and for TC.
pub fn variants(relay: &Relay) -> [&Program; 2] {
    [
        relay.program(),
        relay.tc_program().expect("it loads where the other does"),
    ]
}

fn assert_refused_by(
    program: &Program,
    relay: &Relay,
    spec: &FlowSpec,
    packet: &[u8],
    reason: Reason,
    action: Action,
) {
    let (before, totals) = (reading(relay, spec), relay.totals().unwrap());
    let ran = program.run(packet, 1).expect("program-run");
    let (after, totals_after) = (reading(relay, spec), relay.totals().unwrap());
    let label = reason.reason();
    let counted: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| after.refused(**reason) != before.refused(**reason))
        .map(|reason| reason.reason())
        .collect();
    assert_eq!(counted, [label], "reasons that the flow counted");
    assert_eq!(ran.action, action, "{label}");
    assert_eq!(after.refused(reason), before.refused(reason) + 1, "{label}");
    assert_eq!(after.rtp_packets(), before.rtp_packets(), "{label}");
    assert_eq!(after.rtcp_packets(), before.rtcp_packets(), "{label}");
    assert_eq!(
        totals_after.dropped(reason) - totals.dropped(reason),
        u64::from(action == Action::Drop),
        "{label}"
    );
    assert_eq!(
        totals_after.passed(reason) - totals.passed(reason),
        u64::from(action == Action::Pass),
        "{label}"
    );
    assert_eq!(ran.packet, packet, "{label}: a refused packet is not touched");
}
