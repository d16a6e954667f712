//! The ends of the ring: its queues full, its buffers gone, its life over.

use std::net::UdpSocket;
use std::time::Duration;

use net_io::uring::Uring;
use net_io::{IoConfig, PAYLOAD_MAX, PacketIo, Ports};

use crate::back_end::*;
use crate::waiting::time;

/// Makes a test of a function over the io_uring back-end alone.
macro_rules! ring_test {
    ($name:ident, $config:expr, |$io:ident| $body:block) => {
        #[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            let Some(mut $io) = uring(name, &$config) else {
                return;
            };
            $body
        }
    };
}

/// Fills the kernel with datagrams for each port, echoes them all and checks that none is lost.
fn echo_bursts(io: &mut Uring, ports: usize, each: usize) {
    let outside: Vec<UdpSocket> = (0..ports).map(|_| peer(LOOPBACK_V4)).collect();
    let open: Vec<_> = (0..ports).map(|_| open(io, LOOPBACK_V4)).collect();
    for number in 0..each {
        for (peer, (_, local)) in outside.iter().zip(&open) {
            peer.send_to(&(number as u32).to_be_bytes(), local).unwrap();
        }
    }
    let mut echoed = 0;
    poll_until(io, |io| {
        while let Some(received) = io.receive() {
            io.send(received.frame, received.port, received.source);
            echoed += 1;
        }
        (echoed == ports * each).then_some(())
    });
    expect_all_frames_back(io);
    for (peer, (port, local)) in outside.iter().zip(&open) {
        for number in 0..each {
            let mut buffer = [0; 16];
            assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, *local));
            assert_eq!(buffer[..4], (number as u32).to_be_bytes());
        }
        io.close(*port);
    }
}

ring_test! {
    a_full_completion_queue_loses_nothing,
    IoConfig { frames: 1024, frames_receiving: 1024, submission_entries: 8, completion_entries: 16, ..IoConfig::default() },
    |io| {
        echo_bursts(&mut io, 64, 16);
        assert!(io.counters().completion_overflows > 0, "{:?}", io.counters());
        assert!(io.counters().submissions_full > 0, "{:?}", io.counters());
        assert_eq!(io.counters().sent, 64 * 16);
    }
}

ring_test! {
    fewer_buffers_than_datagrams_lose_nothing,
    IoConfig { frames: 64, ..IoConfig::default() },
    |io| {
        echo_bursts(&mut io, 40, 40);
        assert!(io.counters().no_buffer > 0 && io.counters().receives_rearmed > 0, "{:?}", io.counters());
        assert_eq!(io.counters().sent, 40 * 40);
    }
}

ring_test! {
    a_burst_beyond_the_buffer_ring_waits_for_the_next_turn,
    IoConfig { frames_receiving: 8, ..IoConfig::default() },
    |io| {
        echo_bursts(&mut io, 20, 20);
        assert!(io.counters().receives_rearmed > 0, "{:?}", io.counters());
        assert_eq!((io.counters().sent, io.counters().no_buffer), (400, 0));
    }
}

ring_test! {
    an_empty_datagram_ends_a_multishot_receive_and_the_next_one_begins,
    IoConfig::default(),
    |io| {
        let outside = peer(LOOPBACK_V4);
        let (port, local) = open(&mut io, LOOPBACK_V4);
        for round in 1..=10 {
            outside.send_to(b"", local).unwrap();
            let frame = expect(&mut io, port, outside.local_addr().unwrap(), b"");
            io.release(frame);
            outside.send_to(b"more", local).unwrap();
            let frame = expect(&mut io, port, outside.local_addr().unwrap(), b"more");
            io.release(frame);
            assert!(io.counters().receives_rearmed <= round, "{:?}", io.counters());
        }
        expect_all_frames_back(&mut io);
    }
}

ring_test! {
    a_burst_costs_far_fewer_system_calls_than_packets,
    IoConfig::default(),
    |io| {
        echo_bursts(&mut io, 100, 20);
        let counters = io.counters();
        assert_eq!(counters.sent, 2000);
        // One call a turn would be 2 of them; other tests on the same cores may break the burst into more.
        assert!(counters.system_calls * 10 < counters.received, "{counters:?}");
    }
}

ring_test! {
    a_poll_without_a_wait_and_without_news_makes_no_system_call,
    IoConfig::default(),
    |io| {
        let (_port, _) = open(&mut io, LOOPBACK_V4);
        io.poll(Some(Duration::from_millis(1))).unwrap();
        let before = io.counters().system_calls;
        for _ in 0..1000 {
            io.poll(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(io.counters().system_calls, before);
    }
}

ring_test! {
    a_gathering_wait_is_ended_by_what_came_within_it,
    IoConfig { gather: Duration::from_millis(1), ..IoConfig::default() },
    |io| {
        let outside = peer(LOOPBACK_V4);
        let (port, local) = open(&mut io, LOOPBACK_V4);
        for _ in 0..20 {
            outside.send_to(b"x", local).unwrap();
            let frame = expect(&mut io, port, outside.local_addr().unwrap(), b"x");
            io.send(frame, port, outside.local_addr().unwrap());
        }
        expect_all_frames_back(&mut io);
        let waker = io.waker();
        waker.wake();
        io.poll(None).unwrap();
        assert_eq!(io.counters().wake_ups, 1);
        echo_bursts(&mut io, 10, 10);
    }
}

ring_test! {
    a_back_end_dropped_in_the_midst_of_traffic_frees_its_ports,
    IoConfig::default(),
    |io| {
        let outside = peer(LOOPBACK_V4);
        let opened: Vec<_> = (0..50).map(|_| open(&mut io, quiet_address(3))).collect();
        io.poll(Some(Duration::ZERO)).unwrap();
        for (_, local) in &opened {
            outside.send_to(&[1; PAYLOAD_MAX], local).unwrap();
            outside.send_to(&[2; 172], local).unwrap();
        }
        io.poll(Some(Duration::from_millis(100))).unwrap();
        let received = io.receive().expect("there is traffic");
        io.send(received.frame, received.port, received.source);
        drop(io);
        assert_eq!(outside.recv(&mut [0; 2048]).unwrap(), PAYLOAD_MAX, "what was queued has left");
        for (_, local) in &opened {
            UdpSocket::bind(local).expect("the port is free");
        }
    }
}

ring_test! {
    thousands_of_ports_go_quickly_open_or_closed,
    IoConfig::default(),
    |io| {
        let mut ports = Vec::new();
        while ports.len() < 3000
            && let Ok(port) = io.open((quiet_address(4), 0).into())
        {
            ports.push(port);
        }
        io.poll(Some(Duration::ZERO)).unwrap();
        for port in ports.drain(..ports.len() / 2) {
            io.close(port);
        }
        // Ending all receives at once would take the kernel seconds: it compares each with all others.
        let spent = time(|| drop(io));
        assert!(spent < Duration::from_secs(2), "{spent:?}");
    }
}
