use std::net::SocketAddr;
use std::num::NonZeroU64;

use ebpf::{Action, Bucket, FlowSpec, HopLimit, Media, NextHop, Range, Reason, ReasonSet, Relay};

use crate::bench::{self, address, assert_refused};
use crate::frame::{self, Checksum, Datagram};

/// Runs a packet against a relay without flows; it must go up, untouched, counted for `reason`.
fn assert_passed(packet: &[u8], reason: Reason) {
    let Some(relay) = bench::relay("pass") else {
        return;
    };
    for program in bench::variants(&relay) {
        let ran = program.run(packet, 1).unwrap();
        assert_eq!(ran.action, Action::Pass, "{}", reason.reason());
        assert_eq!(ran.packet, packet);
    }
    let totals = relay.totals().unwrap();
    assert_eq!(totals.passed(reason), 2, "{}", reason.reason());
    let counted: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| totals.passed(**reason) + totals.dropped(**reason) > 0)
        .collect();
    assert_eq!(counted, [&reason]);
}

/// A relay with one flow, whose packets the tests spoil.
struct Refusals {
    relay: Relay,
    spec: FlowSpec,
}

impl Refusals {
    fn new(name: &str, spec: &FlowSpec) -> Option<Self> {
        let relay = bench::relay(name)?;
        relay.table().install(spec, &[]).unwrap();
        Some(Self {
            relay,
            spec: spec.clone(),
        })
    }

    /// Runs what `change` made of a good packet twice: the flow drops it when not told otherwise, and passes it up
    /// when told to.
    fn check(&mut self, change: impl Fn(&mut Datagram), reason: Reason) {
        for (pass_up, action) in [
            (ReasonSet::EMPTY, Action::Drop),
            (ReasonSet::EMPTY.with(reason), Action::Pass),
        ] {
            self.spec.pass_up = pass_up;
            self.relay.table().replace(&self.spec, &[]).unwrap();
            let mut sent = bench::datagram(&self.spec, &frame::rtp(0, 1, 1, 1, &[0; 20]));
            change(&mut sent);
            assert_refused(&self.relay, &self.spec, &sent.build(), reason, action);
        }
    }
}

/// [`Refusals::check`] for one packet.
fn assert_refusal(spec: &FlowSpec, change: impl Fn(&mut Datagram), reason: Reason) {
    if let Some(mut refusals) = Refusals::new(reason.reason(), spec) {
        refusals.check(change, reason);
    }
}

fn both_versions(mut check: impl FnMut(bool)) {
    check(false);
    check(true);
}

#[test]
fn what_is_not_udp_over_ip_goes_up() {
    let v4 = bench::datagram(&bench::spec(false, false), &[0; 20]).build();
    let v6 = bench::datagram(&bench::spec(true, true), &[0; 20]).build();
    let changed = |frame: &[u8], at: usize, value: u8| {
        let mut frame = frame.to_vec();
        frame[at] = value;
        frame
    };
    let mut arp = v4.clone();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut three_tags = bench::datagram(&bench::spec(false, false), &[0; 20]);
    three_tags.tags = vec![(0x8100, 1); 3];
    for (frame, reason) in [
        (arp, Reason::NotIp),
        (three_tags.build(), Reason::NotIp),
        (changed(&v4, 14 + 9, 6), Reason::NotUdp),
        (changed(&v6, 14 + 6, 58), Reason::NotUdp),
        (changed(&v4, 14, 0x46), Reason::IpOptions),
        (changed(&v4, 14, 0x44), Reason::IpHeader),
        (changed(&v4, 14, 0x65), Reason::IpHeader),
        (changed(&v6, 14, 0x45), Reason::IpHeader),
        // More fragments, and a fragment's offset.
        (changed(&v4, 14 + 6, 0x20), Reason::IpFragment),
        (changed(&v4, 14 + 7, 0x01), Reason::IpFragment),
        (changed(&v6, 14 + 6, 44), Reason::IpFragment),
        (changed(&v6, 14 + 6, 0), Reason::IpExtension),
        (changed(&v6, 14 + 6, 43), Reason::IpExtension),
        (changed(&v6, 14 + 6, 60), Reason::IpExtension),
        (changed(&v4, 14 + 10, 0x99), Reason::IpChecksum),
        (changed(&v6, 14 + 5, 200), Reason::IpHeader),
        (changed(&v4, 14 + 20 + 5, 27), Reason::UdpLength),
        (changed(&v6, 14 + 40 + 5, 29), Reason::UdpLength),
    ] {
        assert_passed(&frame, reason);
    }
}

#[test]
fn what_is_not_for_the_relay_goes_up() {
    assert_passed(
        &bench::datagram(&bench::spec(false, false), &[0; 20]).build(),
        Reason::NotOurs,
    );
}

#[test]
fn every_cut_of_a_frame_goes_up_or_is_refused_without_being_forwarded() {
    for (v6, tags) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
        let Some(relay) = bench::relay("cut") else {
            return;
        };
        let spec = bench::spec(v6, v6);
        relay.table().install(&spec, &[]).unwrap();
        let mut whole = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[7; 20]));
        whole.tags = vec![(0x8100, 5); tags];
        let whole = whole.build();
        for length in 14..whole.len() {
            let ran = bench::run(&relay, &whole[..length]);
            assert_eq!(ran.action, Action::Pass, "{length} of {}", whole.len());
        }
        assert_eq!(bench::run(&relay, &whole).action, Action::SendBack);
    }
}

#[test]
fn ports_of_the_relay_that_no_flow_has_are_passed_or_dropped_and_counted() {
    both_versions(|v6| {
        for (drop_unowned, action) in [(false, Action::Pass), (true, Action::Drop)] {
            let Some(relay) = bench::relay("unowned") else {
                return;
            };
            let spec = bench::spec(v6, v6);
            let range = Range {
                address: spec.local.ip(),
                ports: 20_000..=20_009,
                drop_unowned,
            };
            relay.set_range(&range).unwrap();
            for (port, ours) in [(19_999, false), (20_000, true), (20_009, true), (20_010, false)] {
                let mut sent = bench::datagram(&spec, &[0; 30]);
                sent.destination.set_port(port);
                let ran = bench::run(&relay, &sent.build());
                assert_eq!(
                    ran.action,
                    if ours { action } else { Action::Pass },
                    "port {port}"
                );
            }
            assert_eq!(relay.unowned(range.address).unwrap(), Some((2, 60)));
            let totals = relay.totals().unwrap();
            assert_eq!(totals.passed(Reason::NotOurs), 2);
            assert_eq!(totals.dropped(Reason::UnownedPort), 2 * u64::from(drop_unowned));
            assert_eq!(totals.passed(Reason::UnownedPort), 2 * u64::from(!drop_unowned));
        }
    });
}

#[test]
fn ports_of_user_space_go_up_even_where_unowned_ones_are_dropped() {
    let Some(relay) = bench::relay("user space") else {
        return;
    };
    let spec = bench::spec(false, false);
    relay
        .set_range(&Range {
            address: spec.local.ip(),
            ports: 1..=u16::MAX,
            drop_unowned: true,
        })
        .unwrap();
    let frame = bench::datagram(&spec, &[0; 30]).build();
    assert_eq!(bench::run(&relay, &frame).action, Action::Drop);
    relay.table().leave_to_user_space(spec.key()).unwrap();
    assert_eq!(bench::run(&relay, &frame).action, Action::Pass);
    assert_eq!(relay.totals().unwrap().passed(Reason::UserSpace), 1);
}

#[test]
fn another_source_is_refused_and_changes_nothing() {
    both_versions(|v6| {
        let spec = bench::spec(v6, v6);
        let elsewhere: SocketAddr = address(if v6 {
            "[2001:db8:a::11]:4000"
        } else {
            "198.51.100.11:4000"
        });
        assert_refusal(&spec, |sent| sent.source = elsewhere, Reason::Source);
        assert_refusal(&spec, |sent| sent.source.set_port(4_001), Reason::Source);
    });
}

#[test]
fn sizes_have_borders() {
    let spec = FlowSpec {
        size: 32..=64,
        ..bench::spec(false, false)
    };
    let payload = |length: usize| frame::rtp(0, 1, 1, 1, &vec![0; length - 12]);
    assert_refusal(&spec, |sent| sent.payload = payload(31), Reason::TooShort);
    assert_refusal(&spec, |sent| sent.payload = payload(65), Reason::TooLong);
    let Some(relay) = bench::relay("sizes") else {
        return;
    };
    relay.table().install(&spec, &[]).unwrap();
    for length in [32, 64] {
        let frame = bench::datagram(&spec, &payload(length)).build();
        assert_eq!(bench::run(&relay, &frame).action, Action::SendBack, "{length}");
    }
}

#[test]
fn what_is_neither_rtp_nor_rtcp_is_told_by_its_first_byte() {
    let Some(mut refusals) = Refusals::new("first byte", &bench::spec(false, false)) else {
        return;
    };
    for (first, reason) in [
        (0, Reason::Stun),
        (3, Reason::Stun),
        (4, Reason::NotMedia),
        (15, Reason::NotMedia),
        (16, Reason::Zrtp),
        (19, Reason::Zrtp),
        (20, Reason::Dtls),
        (63, Reason::Dtls),
        (64, Reason::TurnChannel),
        (79, Reason::TurnChannel),
        (80, Reason::NotMedia),
        (127, Reason::NotMedia),
        (192, Reason::NotMedia),
        (255, Reason::NotMedia),
    ] {
        refusals.check(|sent| sent.payload[0] = first, reason);
    }
    refusals.check(|sent| sent.payload.clear(), Reason::NotMedia);
}

#[test]
fn rtp_and_rtcp_stay_on_their_ports() {
    let rtp_only = FlowSpec {
        media: Media::Rtp(bench::TYPES.to_vec()),
        ..bench::spec(false, false)
    };
    assert_refusal(
        &rtp_only,
        |sent| sent.payload = frame::rtcp(1),
        Reason::RtcpNotMuxed,
    );
    let rtcp_only = FlowSpec {
        media: Media::Rtcp,
        ..bench::spec(false, false)
    };
    assert_refusal(&rtcp_only, |_| {}, Reason::RtpOnRtcpPort);
}

#[test]
fn rtcp_that_contradicts_itself_is_refused() {
    let spec = bench::spec(true, true);
    assert_refusal(
        &spec,
        |sent| sent.payload = vec![0x80, 200, 0],
        Reason::RtcpTruncated,
    );
    assert_refusal(
        &spec,
        |sent| sent.payload = vec![0x80, 200, 0, 1],
        Reason::RtcpLength,
    );
}

#[test]
fn only_the_flows_payload_types_pass() {
    let Some(mut refusals) = Refusals::new("payload types", &bench::spec(false, false)) else {
        return;
    };
    for payload_type in 0..128u8 {
        if bench::TYPES.iter().any(|(ours, _)| *ours == payload_type) || (64..96).contains(&payload_type) {
            continue;
        }
        refusals.check(
            |sent| sent.payload = frame::rtp(payload_type, 1, 1, 1, &[]),
            Reason::PayloadType,
        );
    }
}

#[test]
fn a_missing_checksum_is_refused_where_ipv6_needs_one() {
    let zero = |sent: &mut Datagram| sent.checksum = Checksum::Zero;
    assert_refusal(&bench::spec(true, true), zero, Reason::UdpChecksumZero);
    assert_refusal(&bench::spec(true, false), zero, Reason::UdpChecksumZero);
    assert_refusal(&bench::spec(false, true), zero, Reason::UdpChecksumAbsent);
}

#[test]
fn a_hop_limit_of_one_ends_where_it_is_counted_down() {
    both_versions(|v6| {
        let spec = FlowSpec {
            hop_limit: HopLimit::Decrement,
            ..bench::spec(v6, v6)
        };
        assert_refusal(&spec, |sent| sent.hop_limit = 1, Reason::HopLimit);
    });
}

/// Loopback does not forward, so that the kernel's tables have no answer here.
#[test]
fn without_a_route_a_packet_is_refused_unless_the_flow_has_a_neighbour() {
    let spec = FlowSpec {
        next_hop: NextHop::Routing,
        ..bench::spec(false, false)
    };
    assert_refusal(&spec, |_| {}, Reason::NoRoute);
    let Some(relay) = bench::relay("fallback") else {
        return;
    };
    let spec = FlowSpec {
        next_hop: NextHop::RoutingOr(bench::neighbour(bench::INGRESS)),
        ..spec
    };
    relay.table().install(&spec, &[]).unwrap();
    let frame = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[])).build();
    assert_eq!(bench::run(&relay, &frame).action, Action::SendBack);
}

/// A bucket that refills once a second holds its burst and no more.
#[test]
fn buckets_hold_their_burst() {
    let slow = |burst: u64| {
        Some(Bucket {
            per_second: NonZeroU64::MIN,
            burst: NonZeroU64::new(burst).unwrap(),
        })
    };
    for (packets, bytes, passing, reason) in [
        (slow(5), None, 5, Reason::PacketRate),
        (None, slow(100), 3, Reason::ByteRate),
        (slow(2), slow(100), 2, Reason::PacketRate),
        (slow(5), slow(64), 2, Reason::ByteRate),
    ] {
        let Some(relay) = bench::relay("bucket") else {
            return;
        };
        // Loaded now: a second between packets is a packet more.
        bench::variants(&relay);
        let spec = FlowSpec {
            packets,
            bytes,
            ..bench::spec(false, false)
        };
        relay.table().install(&spec, &[]).unwrap();
        for seq in 0..passing {
            let frame = bench::datagram(&spec, &frame::rtp(0, seq, 0, 1, &[0; 20])).build();
            assert_eq!(
                bench::run(&relay, &frame).action,
                Action::SendBack,
                "packet {seq}"
            );
        }
        let frame = bench::datagram(&spec, &frame::rtp(0, passing, 0, 1, &[0; 20])).build();
        assert_refused(&relay, &spec, &frame, reason, Action::Drop);
        let stream = bench::reading(&relay, &spec).streams().next().unwrap();
        assert_eq!(
            stream.packets(),
            u64::from(passing),
            "refused packets are not of the stream"
        );
    }
}

#[test]
fn a_bucket_refills_at_its_rate() {
    let Some(relay) = bench::relay("refill") else {
        return;
    };
    let spec = FlowSpec {
        packets: Some(Bucket {
            per_second: NonZeroU64::new(1_000).unwrap(),
            burst: NonZeroU64::new(3).unwrap(),
        }),
        ..bench::spec(false, false)
    };
    relay.table().install(&spec, &[]).unwrap();
    let mut seq = 0;
    // As many as come in about 50 ms of the kernel's own clock.
    let (mut first_ns, mut last_ns) = (0, 0);
    while last_ns - first_ns < 50_000_000 {
        let frame = bench::datagram(&spec, &frame::rtp(0, seq, 0, 1, &[])).build();
        bench::run(&relay, &frame);
        seq = seq.wrapping_add(1);
        last_ns = bench::reading(&relay, &spec).last_packet_ns();
        first_ns = if first_ns == 0 { last_ns } else { first_ns };
    }
    let forwarded = bench::reading(&relay, &spec).rtp_packets();
    let due = (last_ns - first_ns) / 1_000_000;
    assert!(
        forwarded <= due + 3,
        "{forwarded} forwarded while {due} were due and the bucket holds 3"
    );
}
