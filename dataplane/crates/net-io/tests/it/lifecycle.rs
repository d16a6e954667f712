//! Opening and closing ports.

use std::net::SocketAddr;
use std::time::Duration;

use net_io::{IoConfig, OpenError, PacketIo, SendError};

use crate::back_end::*;

conformance! {
    everywhere {
        ports_run_out_at_the_configured_number: IoConfig { ports_max: 5, ..IoConfig::default() };
        the_same_port_number_opens_for_both_families: IoConfig::default();
        closing_drops_what_was_not_handed_over_and_counts_it: IoConfig::default();
        closing_sends_what_was_queued: IoConfig::default();
        a_port_used_again_has_no_ghosts: IoConfig::default();
        sending_on_a_closed_port_is_counted: IoConfig::default();
        ports_come_and_go_under_traffic: IoConfig::default();
    }
    kernel {
        a_taken_port_is_in_use: IoConfig::default();
        a_foreign_address_is_refused: IoConfig::default();
    }
}

fn a_taken_port_is_in_use(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(quiet_address(2));
    assert_eq!(io.open(outside.local_addr()), Err(OpenError::InUse));
    let (port, local) = open(&mut io, quiet_address(2));
    assert_eq!(io.open(local), Err(OpenError::InUse));
    io.close(port);
    let again = io.open(local).expect("the port is free again");
    assert_eq!(io.local_address(again), Some(local));
}

fn a_foreign_address_is_refused(mut io: impl PacketIo, _world: &World) {
    // TEST-NET-3 (RFC 5737 section 3): nobody's.
    assert_eq!(
        io.open("203.0.113.1:20000".parse().unwrap()),
        Err(OpenError::Refused)
    );
}

fn ports_run_out_at_the_configured_number(mut io: impl PacketIo, _world: &World) {
    let ports: Vec<_> = (0..5).map(|_| open(&mut io, LOOPBACK_V4).0).collect();
    assert_eq!(
        io.open(SocketAddr::new(LOOPBACK_V4, 0)),
        Err(OpenError::Exhausted)
    );
    io.close(ports[2]);
    io.poll(Some(Duration::ZERO)).unwrap();
    let (again, _) = open(&mut io, LOOPBACK_V4);
    assert!(!ports.iter().any(|&port| port != ports[2] && port == again));
    assert_eq!(
        io.open(SocketAddr::new(LOOPBACK_V4, 0)),
        Err(OpenError::Exhausted)
    );
}

fn the_same_port_number_opens_for_both_families(mut io: impl PacketIo, world: &World) {
    let (ip4, ip6) = match world {
        World::Steered => (LOOPBACK_V4, LOOPBACK_V6),
        _ => ("0.0.0.0".parse().unwrap(), "::".parse().unwrap()),
    };
    for _ in 0..10 {
        let (v6, local) = open(&mut io, ip6);
        // Somebody else may have the number for IPv4: then another one.
        if let Ok(v4) = io.open(SocketAddr::new(ip4, local.port())) {
            assert_ne!(v4, v6);
            return;
        }
    }
    panic!("IPv6 ports take the IPv4 port of the same number too");
}

fn closing_drops_what_was_not_handed_over_and_counts_it(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let (port, local) = open(&mut io, LOOPBACK_V4);
    let (other, other_local) = open(&mut io, LOOPBACK_V4);
    io.poll(Some(Duration::ZERO)).unwrap();
    for _ in 0..10 {
        outside.send_to(b"lost", local);
    }
    outside.send_to(b"kept", other_local);
    poll_until(&mut io, |io| (io.frames().received == 11).then_some(()));
    io.close(port);
    let frame = expect(&mut io, other, outside.local_addr(), b"kept");
    io.release(frame);
    assert!(settle(&mut io).is_empty());
    assert_eq!((io.counters().port_closed, io.counters().received), (10, 1));
    assert_eq!(io.local_address(port), None);
    expect_all_frames_back(&mut io);
}

fn closing_sends_what_was_queued(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let to = outside.local_addr();
    let (port, local) = open(&mut io, LOOPBACK_V4);
    for _ in 0..20 {
        outside.send_to(b"bye", local);
    }
    let mut taken = 0;
    poll_until(&mut io, |io| {
        while let Some(received) = io.receive() {
            io.send(received.frame, port, to);
            taken += 1;
        }
        (taken == 20).then_some(())
    });
    io.close(port);
    io.poll(Some(Duration::ZERO)).unwrap();
    for _ in 0..20 {
        assert_eq!(outside.receives(), (b"bye".to_vec(), local));
    }
    expect_all_frames_back(&mut io);
    assert_eq!((io.counters().sent, io.counters().send_errors_total()), (20, 0));
}

fn a_port_used_again_has_no_ghosts(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    for round in 0..100u8 {
        let (port, local) = open(&mut io, LOOPBACK_V4);
        outside.send_to(&[round], local);
        if round % 3 == 0 {
            // Closed with the datagram in the kernel, with it received, and with it never looked at.
            io.poll(Some(Duration::ZERO)).unwrap();
        }
        outside.send_to(&[round], local);
        io.close(port);
        if round % 2 == 0 {
            io.poll(Some(Duration::ZERO)).unwrap();
        }
        let (again, local) = open(&mut io, LOOPBACK_V4);
        outside.send_to(&[round, round], local);
        let frame = expect(&mut io, again, outside.local_addr(), &[round, round]);
        io.release(frame);
        io.close(again);
    }
    assert!(settle(&mut io).is_empty());
    expect_all_frames_back(&mut io);
}

fn sending_on_a_closed_port_is_counted(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let (port, local) = open(&mut io, LOOPBACK_V4);
    outside.send_to(b"late", local);
    let frame = expect(&mut io, port, outside.local_addr(), b"late");
    io.close(port);
    io.send(frame, port, outside.local_addr());
    expect_all_frames_back(&mut io);
    assert_eq!(io.counters().send_errors_of(SendError::NotOpen), 1);
    assert!(outside.receives_now().is_none());
    // Closing it again is no harm either.
    io.close(port);
}

fn ports_come_and_go_under_traffic(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let from = outside.local_addr();
    let (steady, steady_local) = open(&mut io, LOOPBACK_V4);
    let mut echoed = 0u32;
    for round in 0..200u32 {
        let (brief, brief_local) = open(&mut io, LOOPBACK_V4);
        outside.send_to(&round.to_be_bytes(), steady_local);
        outside.send_to(b"brief", brief_local);
        poll_until(&mut io, |io| {
            let mut done = None;
            while let Some(received) = io.receive() {
                if received.port == steady {
                    assert_eq!(io.payload(&received.frame), round.to_be_bytes());
                    io.send(received.frame, steady, from);
                    done = Some(());
                } else {
                    assert_eq!(io.payload(&received.frame), b"brief");
                    io.release(received.frame);
                }
            }
            done
        });
        io.close(brief);
        io.poll(Some(Duration::ZERO)).unwrap();
        assert_eq!(outside.receives(), (round.to_be_bytes().to_vec(), steady_local));
        echoed += 1;
    }
    assert_eq!(echoed, 200);
    expect_all_frames_back(&mut io);
}
