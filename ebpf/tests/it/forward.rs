use std::num::NonZeroU8;

use ebpf::{Action, FlowSpec, HopLimit, NextHop, Reason, Tag, Tags};

use crate::bench::{self, NEXT_MAC, OTHER, OWN_MAC};
use crate::frame::{self, Checksum, Datagram};

/// Every pair of IP versions.
const VERSIONS: [(bool, bool); 4] = [(false, false), (true, true), (false, true), (true, false)];

const INNER: (u16, u16) = (0x8100, 0x2007);
const OUTER: (u16, u16) = (0x88a8, 0x0064);

/// Runs `sent` through a flow of its own and compares what leaves with what was expected, field by field.
fn assert_forwarded(spec: &FlowSpec, sent: &Datagram, expected: &Datagram) {
    let Some(relay) = bench::relay("forward") else {
        return;
    };
    relay.table().install(spec, &[]).unwrap();
    let ran = bench::run(&relay, &sent.build());
    assert_eq!(ran.action, Action::SendBack, "{sent:?}");
    let left = Datagram::parse(&ran.packet);
    assert_eq!(&left, expected, "{sent:?}");
    assert_eq!(relay.totals().unwrap().sent_back(), 1);
    assert_eq!(relay.totals().unwrap().bytes(), sent.payload.len() as u64);
    let ran = relay.tc_program().unwrap().run(&sent.build(), 1).unwrap();
    let translated = spec.local.is_ipv6() != spec.destination.is_ipv6();
    if matches!(spec.tags, Tags::Set(_)) || translated && !sent.tags.is_empty() {
        assert_eq!(ran.action, Action::Pass, "TC leaves these to user space");
        assert_eq!(ran.packet, sent.build());
        assert_eq!(relay.totals().unwrap().passed(Reason::UserSpace), 1);
        return;
    }
    assert_eq!(ran.action, Action::Redirect, "TC: {sent:?}");
    assert_eq!(&Datagram::parse(&ran.packet), expected, "TC: {sent:?}");
    assert_eq!(relay.totals().unwrap().sent_back(), 2);
    assert_eq!(bench::reading(&relay, spec).refused_total(), 0);
}

/// What should leave when `sent` fits `spec`, defaults of the bench assumed.
fn expectation(spec: &FlowSpec, sent: &Datagram) -> Datagram {
    let id = match (spec.local.is_ipv6(), spec.destination.is_ipv6()) {
        // The id of IPv4 and the flow label of IPv6 are kept, and neither becomes the other.
        (ingress, egress) if ingress == egress => sent.id,
        _ => 0,
    };
    Datagram {
        ethernet_to: NEXT_MAC,
        ethernet_from: OWN_MAC,
        source: spec.egress_local,
        destination: spec.destination,
        hop_limit: 64,
        id,
        ..sent.clone()
    }
}

#[test]
fn addresses_ports_and_checksums_are_those_of_the_other_leg_for_every_pair_of_ip_versions() {
    for (ingress, egress) in VERSIONS {
        for length in [0usize, 1, 159, 160, 1_200] {
            let spec = bench::spec(ingress, egress);
            let payload: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let sent = bench::datagram(&spec, &frame::rtp(0, 1, 2, 3, &payload));
            assert_forwarded(&spec, &sent, &expectation(&spec, &sent));
        }
    }
}

#[test]
fn any_payload_keeps_a_right_checksum_right_and_a_wrong_one_wrong() {
    for (ingress, egress) in VERSIONS {
        let spec = bench::spec(ingress, egress);
        let Some(relay) = bench::relay("checksum") else {
            return;
        };
        relay.table().install(&spec, &[]).unwrap();
        for value in 0..=u16::MAX {
            if value % 37 != 0 && value > 300 && value < 65_300 {
                continue;
            }
            for checksum in [Checksum::Right, Checksum::Wrong] {
                let payload = frame::rtp(0, value, 0, 0, &value.to_be_bytes());
                let sent = Datagram {
                    checksum,
                    ..bench::datagram(&spec, &payload)
                };
                let left = Datagram::parse(&bench::run(&relay, &sent.build()).packet);
                assert_eq!(left.checksum, checksum, "{ingress} {egress} {value}");
            }
        }
    }
}

/// RFC 768: a sum of zero is sent as all ones, since zero on the wire means that there is none.
#[test]
fn a_checksum_that_comes_to_zero_leaves_as_all_ones() {
    for (ingress, egress) in VERSIONS {
        let Some(relay) = bench::relay("zero sum") else {
            return;
        };
        let spec = bench::spec(ingress, egress);
        relay.table().install(&spec, &[]).unwrap();
        let payload = |word: u16| frame::rtp(0, 1, 1, 1, &word.to_be_bytes());
        // The checksum of what leaves with a word of zero is the word that makes it zero.
        let leaving = Datagram::new(spec.egress_local, spec.destination, &payload(0)).build();
        let at = leaving.len() - payload(0).len() - 2;
        let word = u16::from_be_bytes([leaving[at], leaving[at + 1]]);
        let sent = bench::datagram(&spec, &payload(word));
        let left = bench::run(&relay, &sent.build()).packet;
        assert_eq!(left[at..at + 2], [0xff, 0xff]);
        assert_eq!(Datagram::parse(&left), expectation(&spec, &sent));
    }
}

#[test]
fn received_tags_are_kept_and_set_tags_replace_them() {
    let lists = [vec![], vec![INNER], vec![OUTER, INNER]];
    for (ingress, egress) in VERSIONS {
        for received in &lists {
            for leaving in lists.iter().map(Some).chain([None]) {
                let spec = FlowSpec {
                    tags: match leaving {
                        None => Tags::AsReceived,
                        Some(tags) => Tags::Set(
                            tags.iter()
                                .map(|&(protocol, control)| Tag { protocol, control })
                                .collect(),
                        ),
                    },
                    ..bench::spec(ingress, egress)
                };
                let sent = Datagram {
                    tags: received.clone(),
                    ..bench::datagram(&spec, &frame::rtp(8, 9, 9, 9, &[5; 33]))
                };
                let expected = Datagram {
                    tags: leaving.unwrap_or(received).clone(),
                    ..expectation(&spec, &sent)
                };
                assert_forwarded(&spec, &sent, &expected);
            }
        }
    }
}

#[test]
fn dscp_is_set_or_kept_and_ecn_always_kept() {
    for (ingress, egress) in VERSIONS {
        for (dscp, received, leaving) in [(None, 0xb9, 0xb9), (Some(46), 0x03, 0xbb), (Some(0), 0xff, 0x03)] {
            let spec = FlowSpec {
                dscp,
                ..bench::spec(ingress, egress)
            };
            let sent = Datagram {
                traffic_class: received,
                ..bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[]))
            };
            let expected = Datagram {
                traffic_class: leaving,
                ..expectation(&spec, &sent)
            };
            assert_forwarded(&spec, &sent, &expected);
        }
    }
}

#[test]
fn the_hop_limit_is_set_or_one_less() {
    for (ingress, egress) in VERSIONS {
        for (hop_limit, leaving) in [
            (HopLimit::Decrement, 56),
            (HopLimit::Set(NonZeroU8::new(9).unwrap()), 9),
        ] {
            let spec = FlowSpec {
                hop_limit,
                ..bench::spec(ingress, egress)
            };
            let sent = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[]));
            let expected = Datagram {
                hop_limit: leaving,
                ..expectation(&spec, &sent)
            };
            assert_forwarded(&spec, &sent, &expected);
        }
    }
}

#[test]
fn ipv4_without_a_udp_checksum_leaves_without_one() {
    let spec = bench::spec(false, false);
    let sent = Datagram {
        checksum: Checksum::Zero,
        ..bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[1, 2, 3]))
    };
    assert_forwarded(&spec, &sent, &expectation(&spec, &sent));
}

#[test]
fn padding_of_a_short_frame_is_no_part_of_the_packet() {
    for (ingress, egress) in VERSIONS {
        let Some(relay) = bench::relay("padding") else {
            return;
        };
        let spec = bench::spec(ingress, egress);
        relay.table().install(&spec, &[]).unwrap();
        let sent = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[]));
        let mut padded = sent.build();
        padded.resize(padded.len() + 6, 0xee);
        let ran = bench::run(&relay, &padded);
        assert_eq!(ran.action, Action::SendBack);
        assert_eq!(Datagram::parse(&ran.packet), expectation(&spec, &sent));
    }
}

#[test]
fn a_hop_by_another_interface_is_a_redirect() {
    let Some(relay) = bench::relay("redirect") else {
        return;
    };
    let spec = FlowSpec {
        next_hop: NextHop::Neighbour(bench::neighbour(OTHER)),
        ..bench::spec(false, true)
    };
    relay.table().install(&spec, &[]).unwrap();
    let sent = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[]));
    let ran = bench::run(&relay, &sent.build());
    assert_eq!(ran.action, Action::Redirect);
    assert_eq!(Datagram::parse(&ran.packet), expectation(&spec, &sent));
    assert_eq!(relay.totals().unwrap().redirected(), 1);
}

#[test]
fn rtcp_is_forwarded_and_counted_apart() {
    for (ingress, egress) in VERSIONS {
        let Some(relay) = bench::relay("rtcp") else {
            return;
        };
        let spec = bench::spec(ingress, egress);
        relay.table().install(&spec, &[]).unwrap();
        let sent = bench::datagram(&spec, &frame::rtcp(77));
        let ran = bench::run(&relay, &sent.build());
        assert_eq!(ran.action, Action::SendBack);
        assert_eq!(Datagram::parse(&ran.packet), expectation(&spec, &sent));
        let reading = bench::reading(&relay, &spec);
        assert_eq!((reading.rtcp_packets(), reading.rtcp_bytes()), (1, 8));
        assert_eq!((reading.rtp_packets(), reading.streams().count()), (0, 0));
    }
}

#[test]
fn forwarded_rtcp_is_copied_whole_or_cut_and_a_full_ring_costs_no_packet() {
    let Some(relay) = bench::relay("copies") else {
        return;
    };
    let spec = bench::spec(true, false);
    relay.table().install(&spec, &[]).unwrap();
    let mut copies = relay.rtcp_copies().unwrap();
    assert_eq!(copies.next_copy().unwrap(), None);
    for length in [8usize, 216, 220, 1_200, 1_456, 1_600] {
        let mut report: Vec<u8> = (0..length).map(|n| n as u8).collect();
        report[..4].copy_from_slice(&[0x80, 201, 0, 1]);
        let sent = bench::datagram(&spec, &report);
        assert_eq!(bench::run(&relay, &sent.build()).action, Action::SendBack);
        let copy = copies.next_copy().unwrap().expect("the report was copied");
        assert_eq!((copy.key, usize::from(copy.length)), (spec.key(), length));
        assert_eq!(copy.payload, report[..length.min(1_456)], "{length}");
        assert_eq!(copy.arrival_ns, bench::reading(&relay, &spec).last_packet_ns());
    }
    // 64 kB hold fewer than 300 reports of 256 bytes with their heads.
    let frame = bench::datagram(&spec, &frame::rtcp(1)).build();
    for _ in 0..300 {
        assert_eq!(bench::run(&relay, &frame).action, Action::SendBack);
    }
    let lost = bench::reading(&relay, &spec).copies_lost();
    assert!(lost > 0);
    assert_eq!(relay.totals().unwrap().copies_lost(), lost);
    let mut left = 0;
    while copies.next_copy().unwrap().is_some() {
        left += 1;
    }
    assert_eq!(left + lost, 300);
    let quiet = FlowSpec {
        copy_rtcp: false,
        ..spec
    };
    relay.table().replace(&quiet, &[]).unwrap();
    bench::run(&relay, &frame);
    assert_eq!(copies.next_copy().unwrap(), None);
}
