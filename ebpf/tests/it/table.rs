use ebpf::{FlowKey, FlowSpec, Media, Reason, RelayConfig, SpecError, TableError};

use crate::bench;
use crate::frame;

#[test]
fn a_flow_is_installed_read_replaced_and_removed() {
    let Some(relay) = bench::relay("table") else {
        return;
    };
    let spec = bench::spec(false, false);
    let table = relay.table();
    assert!(table.is_empty());
    table.install(&spec, &[]).unwrap();
    assert!(matches!(table.install(&spec, &[]), Err(TableError::Occupied(key)) if key == spec.key()));
    let frame = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[])).build();
    bench::run(&relay, &frame);
    let narrower = FlowSpec {
        media: Media::Rtp(vec![(8, 8_000)]),
        ..spec.clone()
    };
    relay.table().replace(&narrower, &[]).unwrap();
    bench::run(&relay, &frame);
    let reading = relay.table().remove(spec.key()).unwrap().unwrap();
    assert_eq!(reading.rtp_packets(), 1, "counted before the change");
    assert_eq!(reading.refused(Reason::PayloadType), 1, "counted after it");
    assert!(matches!(
        relay.table().remove(spec.key()),
        Err(TableError::Absent(_))
    ));
    relay.table().install(&spec, &[]).unwrap();
    assert_eq!(
        bench::reading(&relay, &spec).refused_total(),
        0,
        "a new flow begins at zero"
    );
}

#[test]
fn a_clone_is_the_same_table_for_another_thread() {
    const THREADS: u16 = 4;
    let Some(relay) = bench::relay("shared table") else {
        return;
    };
    let packet = |spec: &FlowSpec| bench::datagram(spec, &frame::rtp(0, 1, 1, 1, &[])).build();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, relay) = (relay.table().clone(), &relay);
            scope.spawn(move || {
                let mut spec = bench::spec(false, false);
                for round in 0..500 {
                    spec.local.set_port(10_000 + thread * 1_000 + round);
                    table.install(&spec, &[]).unwrap();
                    bench::run(relay, &packet(&spec));
                    assert_eq!(table.read(spec.key()).unwrap().rtp_packets(), 1);
                    assert_eq!(table.remove(spec.key()).unwrap().unwrap().rtp_packets(), 1);
                    assert_eq!(table.read(spec.key()), None);
                }
            });
        }
    });
    assert!(relay.table().is_empty());
}

#[test]
fn the_flows_of_a_table_are_listed_as_they_were_installed() {
    let Some(relay) = bench::relay("list") else {
        return;
    };
    let table = relay.table();
    let mut specs = Vec::new();
    for (port, v6, media) in [
        (20_000, (false, true), Media::Mux(bench::TYPES.to_vec())),
        (20_002, (true, false), Media::Rtp(vec![(0, 8_000), (127, 90_000)])),
        (20_003, (true, true), Media::Rtcp),
    ] {
        let mut spec = FlowSpec {
            media,
            ..bench::spec(v6.0, v6.1)
        };
        spec.local.set_port(port);
        table.install(&spec, &[]).unwrap();
        specs.push(spec);
    }
    let user = FlowKey::new(bench::address("192.0.2.1:30000"));
    table.leave_to_user_space(user).unwrap();
    bench::run(
        &relay,
        &bench::datagram(&specs[0], &frame::rtp(0, 1, 1, 1, &[])).build(),
    );
    let mut flows = table.flows();
    flows.sort_by_key(|flow| flow.local.port());
    assert_eq!(flows.len(), specs.len());
    for (flow, spec) in flows.iter().zip(&specs) {
        assert_eq!(flow.local, spec.local);
        assert_eq!(flow.source, spec.source);
        assert_eq!(flow.egress_local, spec.egress_local);
        assert_eq!(flow.destination, spec.destination);
        assert_eq!(flow.media, spec.media);
    }
    assert_eq!(flows[0].reading.rtp_packets(), 1);
}

#[test]
fn a_full_table_says_so_and_every_place_comes_back() {
    let Some(relay) = bench::relay("full table") else {
        return;
    };
    let mut spec = bench::spec(true, false);
    for round in 0..3 {
        for port in 0..relay.table().flows_max() {
            spec.local.set_port(1_000 + port as u16);
            relay.table().install(&spec, &[]).unwrap();
        }
        spec.local.set_port(900);
        assert!(matches!(
            relay.table().install(&spec, &[]),
            Err(TableError::Full(64))
        ));
        let keys: Vec<_> = relay.table().keys().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 64, "round {round}");
        for key in keys {
            relay.table().remove(key).unwrap();
        }
    }
    assert!(relay.table().is_empty());
}

#[test]
fn flows_of_rtcp_take_no_room_for_streams_until_their_own_is_used_up() {
    let config = RelayConfig {
        flows_max: 6,
        rtp_flows_max: 4,
        addresses_max: 1,
        ..RelayConfig::default()
    };
    let Some(relay) = bench::relay_of("rtcp places", &config) else {
        return;
    };
    let table = relay.table();
    let at = |port: u16, media: &Media| {
        let mut spec = FlowSpec {
            media: media.clone(),
            ..bench::spec(false, false)
        };
        spec.local.set_port(port);
        spec
    };
    let (rtp, rtcp) = (Media::Rtp(bench::TYPES.to_vec()), Media::Rtcp);
    for port in [1, 3] {
        table.install(&at(port, &rtcp), &[]).unwrap();
    }
    for port in [10, 12, 14] {
        table.install(&at(port, &rtp), &[]).unwrap();
    }
    assert!(matches!(
        table.replace(&at(1, &rtp), &[]),
        Err(TableError::Rtcp(_))
    ));
    table.install(&at(5, &rtcp), &[]).unwrap();
    assert!(matches!(
        table.install(&at(16, &rtp), &[]),
        Err(TableError::Full(4))
    ));
    assert!(matches!(
        table.install(&at(7, &rtcp), &[]),
        Err(TableError::Full(6))
    ));
    for port in [1, 5] {
        let spec = at(port, &rtcp);
        bench::run(&relay, &bench::datagram(&spec, &frame::rtcp(1)).build());
        let reading = table.remove(spec.key()).unwrap().unwrap();
        assert_eq!((reading.rtcp_packets(), reading.rtp_packets()), (1, 0));
        assert!(reading.last_packet_ns() > 0);
    }
    table.install(&at(16, &rtp), &[]).unwrap();
    let spec = at(16, &rtp);
    bench::run(
        &relay,
        &bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[])).build(),
    );
    assert_eq!(bench::reading(&relay, &spec).rtp_packets(), 1);
    table.remove(spec.key()).unwrap();
    let elsewhere = FlowSpec {
        local: bench::address("192.0.2.77:1"),
        ..spec
    };
    assert!(matches!(
        table.install(&elsewhere, &[]),
        Err(TableError::Addresses(1))
    ));
}

#[test]
fn a_flow_may_have_every_payload_type_and_the_clock_of_each() {
    let Some(relay) = bench::relay("all types") else {
        return;
    };
    let clocks = [8_000, 16_000, 48_000, 90_000, 0, 32_000, 44_100];
    // RTCP has the second bytes from 192 on, which are the types from 64 on with the marker set.
    let types: Vec<(u8, u32)> = (0..128u8).map(|n| (n, clocks[usize::from(n) % 7])).collect();
    let spec = FlowSpec {
        media: Media::Rtp(types.clone()),
        ..bench::spec(false, false)
    };
    relay.table().install(&spec, &[]).unwrap();
    for (n, (payload_type, clock_hz)) in types.into_iter().enumerate() {
        let packet = frame::rtp(payload_type, n as u16, 0, u32::from(payload_type), &[]);
        let ran = bench::run(&relay, &bench::datagram(&spec, &packet).build());
        assert_eq!(ran.action, ebpf::Action::SendBack, "type {payload_type}");
        let reading = bench::reading(&relay, &spec);
        let stream = reading
            .streams()
            .find(|stream| stream.ssrc() == u32::from(payload_type))
            .expect("it was the latest");
        assert_eq!(stream.state().clock_rate_hz, clock_hz, "type {payload_type}");
    }
}

#[test]
fn a_flow_that_contradicts_itself_is_refused() {
    let Some(relay) = bench::relay("wrong flows") else {
        return;
    };
    let base = bench::spec(false, false);
    let wrong = [
        (
            FlowSpec {
                source: bench::address("[::1]:4000"),
                ..base.clone()
            },
            SpecError::Family("local and source"),
        ),
        (
            FlowSpec {
                destination: bench::address("[::1]:4000"),
                ..base.clone()
            },
            SpecError::Family("egress_local and destination"),
        ),
        (
            FlowSpec {
                destination: bench::address("203.0.113.5:0"),
                ..base.clone()
            },
            SpecError::Unspecified("destination"),
        ),
        (
            FlowSpec {
                media: Media::Rtp(vec![]),
                ..base.clone()
            },
            SpecError::NoPayloadTypes,
        ),
        (
            FlowSpec {
                media: Media::Rtp(vec![(128, 8_000)]),
                ..base.clone()
            },
            SpecError::PayloadType(128),
        ),
        (
            FlowSpec {
                media: Media::Rtp((0..8).map(|n| (n, 8_000 + u32::from(n))).collect()),
                ..base.clone()
            },
            SpecError::Clocks,
        ),
        (
            FlowSpec {
                dscp: Some(64),
                ..base.clone()
            },
            SpecError::Dscp(64),
        ),
        (
            FlowSpec {
                size: 0..=9_001,
                ..base.clone()
            },
            SpecError::Size { min: 0, max: 9_001 },
        ),
    ];
    for (spec, expected) in wrong {
        match relay.table().install(&spec, &[]) {
            Err(TableError::Spec(error)) => assert_eq!(error, expected),
            other => panic!("{other:?} where {expected} was expected"),
        }
    }
    assert!(relay.table().is_empty());
}

/// Packets of one flow on two CPUs at once: each is counted whole or said to be uncounted, and a reader that is told
/// that its figures are whole has not seen half of one.
#[test]
fn two_cpus_count_one_flow() {
    const PACKETS: u32 = 40_000;
    let Some(relay) = bench::relay("two cpus") else {
        return;
    };
    // The flow and its twin the other way: a program-run repeats with the packet that it sent.
    let spec = bench::spec(false, false);
    let media = spec.media.clone();
    let twin = FlowSpec::new(
        spec.destination,
        spec.egress_local,
        spec.source,
        spec.local,
        media,
    );
    let twin = FlowSpec {
        next_hop: spec.next_hop,
        ..twin
    };
    relay.table().install(&spec, &[]).unwrap();
    relay.table().install(&twin, &[]).unwrap();
    let frame = bench::datagram(&spec, &frame::rtp(0, 1, 1, 1, &[0; 20])).build();
    // In one go, where readers hardly find a pause, and one by one, where they do.
    for repeat in [PACKETS, 1] {
        let mut whole = 0;
        std::thread::scope(|scope| {
            let runner = || {
                for _ in 0..PACKETS / repeat {
                    relay.program().run(&frame, repeat).unwrap();
                }
            };
            let runners = [scope.spawn(runner), scope.spawn(runner)];
            while !runners.iter().all(|runner| runner.is_finished()) {
                let reading = bench::reading(&relay, &spec);
                if !reading.is_whole() {
                    continue;
                }
                whole += 1;
                let packets: u64 = reading.streams().map(|stream| stream.packets()).sum();
                assert_eq!(packets, reading.rtp_packets());
                assert_eq!(reading.rtp_bytes(), 32 * packets);
            }
        });
        assert!(whole > 0 || repeat > 1);
    }
    let counted: u64 = [&spec, &twin]
        .map(|spec| bench::reading(&relay, spec).rtp_packets())
        .iter()
        .sum();
    let totals = relay.totals().unwrap();
    assert_eq!(totals.sent_back(), u64::from(4 * PACKETS));
    assert_eq!(counted + totals.uncounted(), totals.sent_back());
}
