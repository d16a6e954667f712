//! Packets go through unharmed.

use std::collections::HashMap;
use std::net::SocketAddr;

use net_io::{IoConfig, PAYLOAD_MAX, PacketIo, PortId};

use crate::back_end::*;

conformance! {
    everywhere {
        packets_are_relayed_both_ways_with_the_right_source: IoConfig::default();
        datagrams_of_every_size_pass: IoConfig::default();
        a_payload_can_be_rewritten_and_resized_in_its_frame: IoConfig::default();
        a_burst_over_a_hundred_ports_arrives_whole_and_in_order: IoConfig::default();
        a_packet_sent_on_a_port_leaves_from_it_whatever_else_is_queued: IoConfig::default();
        a_packet_that_answers_none_leaves_from_its_port: IoConfig::default();
    }
    kernel {
    }
}

fn packets_are_relayed_both_ways_with_the_right_source(mut io: impl PacketIo, world: &World) {
    for ip in [LOOPBACK_V4, LOOPBACK_V6] {
        let (caller, callee) = (world.peer(ip), world.peer(ip));
        let (to_caller, caller_side) = open(&mut io, ip);
        let (to_callee, callee_side) = open(&mut io, ip);
        for round in 0..50u8 {
            caller.send_to(&[1, round], caller_side);
            let frame = expect(&mut io, to_caller, caller.local_addr(), &[1, round]);
            io.send(frame, to_callee, callee.local_addr());

            callee.send_to(&[2, round, round], callee_side);
            let frame = expect(&mut io, to_callee, callee.local_addr(), &[2, round, round]);
            io.send(frame, to_caller, caller.local_addr());
            io.poll(Some(std::time::Duration::ZERO)).unwrap();

            assert_eq!(callee.receives(), (vec![1, round], callee_side));
            assert_eq!(caller.receives(), (vec![2, round, round], caller_side));
        }
    }
    expect_all_frames_back(&mut io);
    assert_eq!((io.counters().received, io.counters().sent), (200, 200));
    assert_eq!(
        (io.counters().received_bytes, io.counters().sent_bytes),
        (500, 500)
    );
    assert_eq!(io.counters().send_errors_total(), 0);
}

fn datagrams_of_every_size_pass(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let from = outside.local_addr();
    let (port, local) = open(&mut io, LOOPBACK_V4);
    let sizes = (0..=200)
        .chain((201..PAYLOAD_MAX).step_by(97))
        .chain([PAYLOAD_MAX]);
    for size in sizes {
        let payload: Vec<u8> = (0..size).map(|byte| (byte * 7 + size) as u8).collect();
        outside.send_to(&payload, local);
        let frame = expect(&mut io, port, from, &payload);
        io.send(frame, port, from);
        io.poll(Some(std::time::Duration::ZERO)).unwrap();
        assert_eq!(outside.receives(), (payload, local), "{size} bytes");
    }
    expect_all_frames_back(&mut io);
    assert_eq!(io.counters().truncated, 0);
}

fn a_payload_can_be_rewritten_and_resized_in_its_frame(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let from = outside.local_addr();
    let (port, local) = open(&mut io, LOOPBACK_V4);
    outside.send_to(b"-middle-", local);
    let mut frame = expect(&mut io, port, from, b"-middle-");
    assert!(frame.grow_front(6) && frame.grow_back(4));
    let payload = io.payload_mut(&mut frame);
    payload[..7].copy_from_slice(b"before-");
    payload[13..].copy_from_slice(b"-tag!");
    io.send(frame, port, from);
    io.poll(Some(std::time::Duration::ZERO)).unwrap();
    assert_eq!(outside.receives().0, b"before-middle-tag!");
    expect_all_frames_back(&mut io);
}

fn a_burst_over_a_hundred_ports_arrives_whole_and_in_order(mut io: impl PacketIo, world: &World) {
    const PORTS: usize = 100;
    const EACH: u32 = 40;
    let outside: Vec<Peer> = (0..PORTS)
        .map(|number| world.peer(if number % 2 == 0 { LOOPBACK_V4 } else { LOOPBACK_V6 }))
        .collect();
    let ports: Vec<(PortId, SocketAddr)> = outside
        .iter()
        .map(|peer| open(&mut io, peer.local_addr().ip()))
        .collect();
    for round in 0..3 {
        // All of it is in the kernel before the first poll.
        for number in 0..EACH {
            for (peer, (_, local)) in outside.iter().zip(&ports) {
                peer.send_to(&(round * EACH + number).to_be_bytes(), *local);
            }
        }
        let mut next: HashMap<PortId, u32> = ports.iter().map(|&(port, _)| (port, round * EACH)).collect();
        let mut arrived = 0;
        poll_until(&mut io, |io| {
            while let Some(received) = io.receive() {
                let index = ports.iter().position(|&(port, _)| port == received.port).unwrap();
                assert_eq!(received.source, outside[index].local_addr());
                let number = u32::from_be_bytes(io.payload(&received.frame).try_into().unwrap());
                let expected = next.get_mut(&received.port).unwrap();
                assert_eq!(number, *expected, "order on {:?}", received.port);
                *expected += 1;
                arrived += 1;
                io.send(received.frame, received.port, received.source);
            }
            (arrived == PORTS as u32 * EACH).then_some(())
        });
        expect_all_frames_back(&mut io);
        for (peer, (_, local)) in outside.iter().zip(&ports) {
            for number in 0..EACH {
                let expected = (round * EACH + number).to_be_bytes().to_vec();
                assert_eq!(peer.receives(), (expected, *local));
            }
        }
    }
    assert_eq!(io.counters().sent, 3 * u64::from(EACH) * PORTS as u64);
}

fn a_packet_sent_on_a_port_leaves_from_it_whatever_else_is_queued(mut io: impl PacketIo, world: &World) {
    const PORTS: usize = 10;
    let outside = world.peer(LOOPBACK_V4);
    let to = outside.local_addr();
    let ports: Vec<(PortId, SocketAddr)> = (0..PORTS).map(|_| open(&mut io, LOOPBACK_V4)).collect();
    for _ in 0..5 * PORTS {
        outside.send_to(b"x", ports[0].1);
    }
    let mut frames = Vec::new();
    poll_until(&mut io, |io| {
        frames.extend(std::iter::from_fn(|| io.receive()).map(|received| received.frame));
        (frames.len() == 5 * PORTS).then_some(())
    });
    for (number, mut frame) in frames.into_iter().enumerate() {
        io.payload_mut(&mut frame)[0] = number as u8;
        io.send(frame, ports[number % PORTS].0, to);
    }
    expect_all_frames_back(&mut io);
    let mut last: HashMap<SocketAddr, u8> = HashMap::new();
    for _ in 0..5 * PORTS {
        let (payload, source) = outside.receives();
        assert_eq!(source, ports[usize::from(payload[0]) % PORTS].1);
        let before = last.insert(source, payload[0]);
        assert!(
            before.is_none_or(|before| before < payload[0]),
            "order from {source}"
        );
    }
    assert!(outside.receives_now().is_none());
}

fn a_packet_that_answers_none_leaves_from_its_port(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let (port, local) = open(&mut io, LOOPBACK_V4);
    assert!(io.fresh(&[0; PAYLOAD_MAX + 1]).is_none());
    for round in 0..50u8 {
        let payload = vec![round; usize::from(round) + 1];
        let frame = io.fresh(&payload).expect("a free frame");
        assert_eq!(io.payload(&frame), payload);
        io.send(frame, port, outside.local_addr());
        io.poll(Some(std::time::Duration::ZERO)).unwrap();
        assert_eq!(outside.receives(), (payload, local));
    }
    expect_all_frames_back(&mut io);
    let total = io.frames().total as usize;
    let held: Vec<_> = std::iter::from_fn(|| io.fresh(b"x")).collect();
    assert!(
        !held.is_empty() && held.len() <= total,
        "{} of {total}",
        held.len()
    );
    held.into_iter().for_each(|frame| io.release(frame));
    expect_all_frames_back(&mut io);
}
