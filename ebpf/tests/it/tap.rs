//! What taps copy, held against the packets that went in and came out.

use ebpf::{Direction, FlowSpec, Tags, TapRecord, Taps};

use crate::bench;
use crate::frame;

fn all(taps: &mut Taps) -> Vec<TapRecord> {
    std::iter::from_fn(|| taps.next_record().unwrap()).collect()
}

/// A frame from its IP header on, without what pads it.
fn ip(frame: &[u8], tags: usize, length: usize) -> &[u8] {
    &frame[14 + 4 * tags..][..length]
}

#[test]
fn a_tap_copies_packets_as_received_and_as_sent_for_every_pair_of_ip_versions() {
    for (ingress, egress) in [(false, false), (true, true), (false, true), (true, false)] {
        for tags in [Tags::AsReceived, Tags::Set(Vec::new())] {
            let Some(relay) = bench::relay("tap") else {
                return;
            };
            let spec = FlowSpec {
                tags,
                ..bench::spec(ingress, egress)
            };
            let mut taps = relay.taps().unwrap();
            let table = relay.table();
            // Before there is a flow; the flow takes the tap over, and a change of it too.
            table.set_tap(spec.key(), true);
            table.install(&spec, &[]).unwrap();
            table.replace(&spec, &[]).unwrap();
            for payload in [frame::rtp(0, 1, 1, 1, &[7; 40]), frame::rtcp(3)] {
                let mut datagram = bench::datagram(&spec, &payload);
                datagram.tags = vec![(0x8100, 5)];
                let sent = datagram.build();
                let ran = bench::run(&relay, &sent);
                let records = all(&mut taps);
                let [received, forwarded] = &records[..] else {
                    panic!("{} records", records.len());
                };
                assert_eq!((received.key, forwarded.key), (spec.key(), spec.key()));
                assert_eq!(
                    (received.direction, forwarded.direction),
                    (Direction::Received, Direction::Sent)
                );
                let length = |v6: bool| if v6 { 48 } else { 28 } + payload.len();
                assert_eq!(received.packet, ip(&sent, 1, length(ingress)));
                let tags = if spec.tags == Tags::AsReceived { 1 } else { 0 };
                assert_eq!(forwarded.packet, ip(&ran.packet, tags, length(egress)));
                assert_eq!(usize::from(received.length), received.packet.len());
                assert!(received.at_ns <= forwarded.at_ns);
            }
            table.set_tap(spec.key(), false);
            bench::run(&relay, &bench::datagram(&spec, &frame::rtcp(3)).build());
            assert!(all(&mut taps).is_empty(), "the tap has ended");
        }
    }
}

#[test]
fn what_is_refused_is_tapped_as_received_and_other_flows_are_not_tapped() {
    let Some(relay) = bench::relay("tap refused") else {
        return;
    };
    let spec = bench::spec(true, true);
    let mut other = spec.clone();
    other.local.set_port(30_000);
    let table = relay.table();
    table.install(&spec, &[]).unwrap();
    table.install(&other, &[]).unwrap();
    table.set_tap(spec.key(), true);
    let mut taps = relay.taps().unwrap();
    let mut spoofed = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[]));
    spoofed.source.set_port(9);
    bench::run(&relay, &spoofed.build());
    bench::run(
        &relay,
        &bench::datagram(&other, &frame::rtp(0, 1, 1, 1, &[])).build(),
    );
    let records = all(&mut taps);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].direction, Direction::Received);
    assert_eq!(table.tapped(), [spec.key()]);
}

#[test]
fn long_packets_are_cut_and_a_full_ring_costs_records_and_no_packet() {
    let Some(relay) = bench::relay("tap full") else {
        return;
    };
    let spec = bench::spec(false, false);
    let table = relay.table();
    table.install(&spec, &[]).unwrap();
    table.set_tap(spec.key(), true);
    relay.set_tap_length(100).unwrap();
    let mut taps = relay.taps().unwrap();
    let frame = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[3; 1_000])).build();
    const PACKETS: u64 = 1_000;
    for _ in 0..PACKETS {
        assert_eq!(bench::run(&relay, &frame).action, ebpf::Action::SendBack);
    }
    let records = all(&mut taps);
    assert!(records.iter().all(|record| record.packet.len() == 100));
    assert!(records.iter().all(|record| record.length == 1_040));
    let lost = bench::reading(&relay, &spec).taps_lost();
    assert!(lost > 0 && !records.is_empty());
    assert_eq!(records.len() as u64 + lost, 2 * PACKETS);
    assert_eq!(relay.totals().unwrap().taps_lost(), lost);
    assert_eq!(bench::reading(&relay, &spec).rtp_packets(), PACKETS);
}
