//! What goes wrong is counted and goes no further.

use std::time::Duration;

use net_io::{IoConfig, PAYLOAD_MAX, PacketIo, SendError, SocketOptions};

use crate::back_end::*;

conformance! {
    everywhere {
        an_oversize_datagram_is_counted_as_truncated: IoConfig::default();
        a_destination_of_the_other_family_is_unreachable: IoConfig::default();
        service_resumes_when_kept_frames_are_released: IoConfig { frames: 64, ..IoConfig::default() };
    }
    kernel {
        a_refused_packet_does_not_poison_the_port: IoConfig::default();
        a_bad_destination_spoils_no_other_packet_of_its_batch: IoConfig::default();
        a_steered_packet_beyond_the_mtu_is_too_big: IoConfig::default();
        what_the_kernel_drops_at_a_full_socket_is_counted: IoConfig {
            socket: SocketOptions { receive_buffer: Some(4096), ..SocketOptions::default() },
            ..IoConfig::default()
        };
    }
}

fn a_refused_packet_does_not_poison_the_port(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let from = outside.local_addr();
    let (port, local) = open(&mut io, LOOPBACK_V4);
    // A port where nobody listens: bound, and given back.
    let nobody = world.peer(quiet_address(1)).local_addr();
    for round in 0..20u8 {
        outside.send_to(&[round, 0], local);
        let frame = expect(&mut io, port, from, &[round, 0]);
        io.send(frame, port, nobody);
        io.poll(Some(Duration::ZERO)).unwrap();

        outside.send_to(&[round, 1], local);
        let frame = expect(&mut io, port, from, &[round, 1]);
        io.send(frame, port, from);
        io.poll(Some(Duration::ZERO)).unwrap();
        assert_eq!(outside.receives(), (vec![round, 1], local));
    }
    expect_all_frames_back(&mut io);
    assert_eq!(io.counters().received, 40);
}

fn an_oversize_datagram_is_counted_as_truncated(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let (port, local) = open(&mut io, LOOPBACK_V4);
    for size in [PAYLOAD_MAX + 1, 2048, 9000, 65_507] {
        outside.send_to(&vec![1; size], local);
    }
    outside.send_to(b"fits", local);
    let frame = expect(&mut io, port, outside.local_addr(), b"fits");
    io.release(frame);
    assert_eq!((io.counters().truncated, io.counters().received), (4, 1));
    expect_all_frames_back(&mut io);
}

fn a_destination_of_the_other_family_is_unreachable(mut io: impl PacketIo, world: &World) {
    for (ip, foreign) in [(LOOPBACK_V4, "[::1]:9"), (LOOPBACK_V6, "127.0.0.1:9")] {
        let outside = world.peer(ip);
        let (port, local) = open(&mut io, ip);
        outside.send_to(b"x", local);
        let frame = expect(&mut io, port, outside.local_addr(), b"x");
        io.send(frame, port, foreign.parse().unwrap());
    }
    expect_all_frames_back(&mut io);
    assert_eq!(
        io.counters().send_errors_of(SendError::Unreachable),
        2,
        "{:?}",
        io.counters()
    );
}

fn a_bad_destination_spoils_no_other_packet_of_its_batch(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let to = outside.local_addr();
    let (port, local) = open(&mut io, LOOPBACK_V4);
    for number in 0..30u8 {
        outside.send_to(&[number], local);
    }
    let mut taken = 0;
    poll_until(&mut io, |io| {
        while let Some(received) = io.receive() {
            // Every third goes to port 0, which no packet can be sent to.
            let to = if taken % 3 == 0 {
                "127.0.0.1:0".parse().unwrap()
            } else {
                to
            };
            io.send(received.frame, port, to);
            taken += 1;
        }
        (taken == 30).then_some(())
    });
    expect_all_frames_back(&mut io);
    for number in (0..30u8).filter(|number| number % 3 != 0) {
        assert_eq!(outside.receives(), (vec![number], local));
    }
    assert!(outside.receives_now().is_none());
    assert_eq!((io.counters().sent, io.counters().send_errors_total()), (20, 10));
}

/// With a socket a port the kernel cuts it into fragments instead.
fn a_steered_packet_beyond_the_mtu_is_too_big(mut io: impl PacketIo, world: &World) {
    if !matches!(world, World::Steered) {
        return;
    }
    for ip in [LOOPBACK_V4, LOOPBACK_V6] {
        let outside = world.peer(ip);
        let to = outside.local_addr();
        let (port, local) = open(&mut io, ip);
        // Headers of IP and UDP take 28 or 48 bytes.
        let most = 1_400 - if ip.is_ipv4() { 28 } else { 48 };
        for size in [most, most + 1, most + 200, 172] {
            outside.send_to(&vec![7; size], local);
        }
        let mut frames = Vec::new();
        poll_until(&mut io, |io| {
            frames.extend(std::iter::from_fn(|| io.receive()).map(|received| received.frame));
            (frames.len() == 4).then_some(())
        });
        let mtu = ["link", "set", "lo", "mtu", "1400"];
        assert!(
            std::process::Command::new("ip")
                .args(mtu)
                .status()
                .unwrap()
                .success()
        );
        for frame in frames {
            io.send(frame, port, to);
        }
        expect_all_frames_back(&mut io);
        assert_eq!(outside.receives(), (vec![7; most], local));
        assert_eq!(outside.receives(), (vec![7; 172], local));
        let mtu = ["link", "set", "lo", "mtu", "65536"];
        assert!(
            std::process::Command::new("ip")
                .args(mtu)
                .status()
                .unwrap()
                .success()
        );
    }
    assert_eq!(
        io.counters().send_errors_of(SendError::TooBig),
        4,
        "{:?}",
        io.counters()
    );
    assert_eq!(io.counters().sent, 4);
}

fn what_the_kernel_drops_at_a_full_socket_is_counted(mut io: impl PacketIo, world: &World) {
    const BURST: u64 = 200;
    let outside = world.peer(LOOPBACK_V4);
    let (port, local) = open(&mut io, LOOPBACK_V4);
    for _ in 0..2 {
        let before = (io.counters().received, io.counters().kernel_drops.unwrap());
        for _ in 0..BURST {
            outside.send_to(&[0; 200], local);
        }
        let arrived = settle(&mut io);
        assert!((arrived.len() as u64) < BURST, "the socket was to overflow");
        for received in arrived {
            io.release(received.frame);
        }
        outside.send_to(b"after", local);
        let frame = expect(&mut io, port, outside.local_addr(), b"after");
        io.release(frame);
        let received = io.counters().received - before.0;
        let dropped = io.counters().kernel_drops.unwrap() - before.1;
        assert_eq!((received + dropped), BURST + 1, "{:?}", io.counters());
    }
    expect_all_frames_back(&mut io);
}

fn service_resumes_when_kept_frames_are_released(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let from = outside.local_addr();
    let (port, local) = open(&mut io, LOOPBACK_V4);
    let total = io.frames().total;
    let mut sent = 0u32;
    let mut expected = 0u32;
    for _ in 0..3 {
        let mut kept = Vec::new();
        let before = io.counters().no_buffer;
        for _ in 0..total + 20 {
            outside.send_to(&sent.to_be_bytes(), local);
            sent += 1;
        }
        poll_until(&mut io, |io| {
            kept.extend(std::iter::from_fn(|| io.receive()));
            (kept.len() as u32 == total).then_some(())
        });
        assert_eq!(io.frames().held, total);

        poll_until(&mut io, |io| {
            assert!(io.receive().is_none(), "there is no frame left to receive into");
            (io.counters().no_buffer > before).then_some(())
        });
        for received in kept {
            assert_eq!((received.port, received.source), (port, from));
            assert_eq!(io.payload(&received.frame), expected.to_be_bytes());
            expected += 1;
            io.release(received.frame);
        }
        // What waited in the kernel comes now, in order.
        poll_until(&mut io, |io| {
            while let Some(received) = io.receive() {
                assert_eq!(io.payload(&received.frame), expected.to_be_bytes());
                expected += 1;
                io.release(received.frame);
            }
            (expected == sent).then_some(())
        });
        expect_all_frames_back(&mut io);
    }
}
