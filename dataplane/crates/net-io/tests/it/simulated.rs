//! The simulated back-end, which has a test's wire instead of a kernel.

use std::net::SocketAddr;
use std::time::Duration;

use net_io::sim::{Simulated, Transmitted, Wire};
use net_io::{IoConfig, OpenError, PAYLOAD_MAX, PacketIo, Ports, SendError};

fn back_end(frames: u32) -> (Simulated, Wire) {
    let wire = Wire::new().unwrap();
    let config = IoConfig {
        frames,
        ..IoConfig::default()
    };
    (Simulated::new(&config, wire.clone()).unwrap(), wire)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_packet_goes_from_the_wire_through_a_frame_to_the_wire() {
    let (mut io, wire) = back_end(64);
    let (inside, caller, callee) = (
        address("10.0.0.1:20000"),
        address("192.0.2.1:1"),
        address("192.0.2.2:2"),
    );
    let port = io.open(inside).unwrap();
    wire.inject(inside, caller, b"hello");
    wire.inject(address("10.0.0.1:20002"), caller, b"to nobody");
    io.poll(Some(Duration::ZERO)).unwrap();
    let received = io.receive().unwrap();
    assert_eq!((received.port, received.source), (port, caller));
    assert_eq!(io.payload(&received.frame), b"hello");
    assert!(io.receive().is_none());
    io.send(received.frame, port, callee);
    assert_eq!(wire.transmitted(), None, "it leaves with the next poll");
    io.poll(Some(Duration::ZERO)).unwrap();
    let expected = Transmitted {
        from: inside,
        to: callee,
        payload: b"hello".to_vec(),
    };
    assert_eq!(wire.transmitted(), Some(expected));
    assert!(io.frames().is_full());
}

#[test]
fn a_datagram_injected_from_another_thread_ends_an_endless_wait() {
    let (mut io, wire) = back_end(64);
    let inside = address("10.0.0.1:20000");
    io.open(inside).unwrap();
    let thread = std::thread::spawn(move || wire.inject(inside, address("192.0.2.1:1"), b"x"));
    let received = loop {
        io.poll(None).unwrap();
        if let Some(received) = io.receive() {
            break received;
        }
    };
    io.release(received.frame);
    thread.join().unwrap();
}

#[test]
fn a_wake_up_ends_an_endless_wait() {
    let (mut io, _wire) = back_end(64);
    let waker = io.waker();
    let thread = std::thread::spawn(move || waker.wake());
    io.poll(None).unwrap();
    assert_eq!(io.counters().wake_ups, 1);
    thread.join().unwrap();
}

#[test]
fn refusals_are_told_as_a_kernel_would() {
    let (mut io, wire) = back_end(64);
    let (inside, outside) = (address("10.0.0.1:20000"), address("192.0.2.1:1"));
    wire.refuse_open(inside, Some(OpenError::InUse));
    assert_eq!(io.open(inside), Err(OpenError::InUse));
    wire.refuse_open(inside, None);
    let port = io.open(inside).unwrap();
    assert_eq!(io.open(inside), Err(OpenError::InUse));

    wire.refuse_send(outside, Some(SendError::TooBig));
    for to in [outside, address("[2001:db8::1]:1")] {
        wire.inject(inside, outside, b"x");
        io.poll(Some(Duration::ZERO)).unwrap();
        let received = io.receive().unwrap();
        io.send(received.frame, port, to);
    }
    io.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(io.counters().send_errors_of(SendError::TooBig), 1);
    assert_eq!(io.counters().send_errors_of(SendError::Unreachable), 1);
    assert_eq!(wire.transmitted(), None);
    assert!(io.frames().is_full());
}

#[test]
fn frames_run_out_and_come_back_and_large_datagrams_are_truncated() {
    let (mut io, wire) = back_end(64);
    let (inside, outside) = (address("10.0.0.1:20000"), address("192.0.2.1:1"));
    let port = io.open(inside).unwrap();
    wire.inject(inside, outside, &[0; PAYLOAD_MAX + 1]);
    for number in 0..70u8 {
        wire.inject(inside, outside, &[number]);
    }
    io.poll(Some(Duration::ZERO)).unwrap();
    let kept: Vec<_> = std::iter::from_fn(|| io.receive()).collect();
    assert_eq!(
        (kept.len(), io.counters().no_buffer, io.counters().truncated),
        (64, 1, 1)
    );
    assert_eq!(io.frames().held, 64);
    for received in kept {
        io.send(received.frame, port, outside);
    }
    io.poll(Some(Duration::ZERO)).unwrap();
    while let Some(received) = io.receive() {
        io.release(received.frame);
    }
    assert!(io.frames().is_full());
    assert_eq!((io.counters().received, io.counters().sent), (70, 64));
}

#[test]
fn closing_drops_what_waits_and_sends_what_is_queued() {
    let (mut io, wire) = back_end(64);
    let (inside, outside) = (address("10.0.0.1:20000"), address("192.0.2.1:1"));
    let port = io.open(inside).unwrap();
    for payload in [b"1", b"2"] {
        wire.inject(inside, outside, payload);
    }
    io.poll(Some(Duration::ZERO)).unwrap();
    let first = io.receive().unwrap();
    io.send(first.frame, port, outside);
    io.close(port);
    assert_eq!(
        wire.transmitted().map(|packet| packet.payload),
        Some(b"1".to_vec())
    );
    assert!(io.receive().is_none());
    assert_eq!(io.counters().port_closed, 1);
    assert!(io.frames().is_full());
}
