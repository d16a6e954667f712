//! Waiting, and being woken.

use std::time::Duration;

use net_io::{IoConfig, PacketIo};

use crate::back_end::*;

conformance! {
    everywhere {
        a_poll_without_a_wait_returns_at_once: IoConfig::default();
        a_wait_lasts_as_long_as_asked: IoConfig::default();
        a_datagram_ends_a_wait: IoConfig::default();
        a_wake_up_ends_an_endless_wait_from_another_thread: IoConfig::default();
        a_wake_up_before_the_poll_is_not_lost: IoConfig::default();
        every_one_of_many_wake_ups_is_seen: IoConfig::default();
        a_wake_up_while_a_port_opens_is_not_lost: IoConfig::default();
    }
    kernel {
        an_endless_wait_sleeps: IoConfig::default();
    }
}

/// How long something takes.
#[expect(
    clippy::disallowed_methods,
    reason = "these tests are about the duration of a real wait"
)]
pub fn time(action: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    action();
    start.elapsed()
}

fn a_poll_without_a_wait_returns_at_once(mut io: impl PacketIo, _world: &World) {
    let (_port, _) = open(&mut io, LOOPBACK_V4);
    io.poll(Some(Duration::ZERO)).unwrap();
    let spent = time(|| {
        for _ in 0..100 {
            io.poll(Some(Duration::ZERO)).unwrap();
        }
    });
    assert!(spent < Duration::from_secs(1), "{spent:?}");
    assert!(io.receive().is_none());
}

fn a_wait_lasts_as_long_as_asked(mut io: impl PacketIo, _world: &World) {
    let (_port, _) = open(&mut io, LOOPBACK_V4);
    io.poll(Some(Duration::ZERO)).unwrap();
    for wait in [Duration::from_micros(700), Duration::from_millis(30)] {
        let spent = time(|| io.poll(Some(wait)).unwrap());
        assert!(spent >= wait, "{spent:?} for {wait:?}");
        assert!(spent < PATIENCE, "{spent:?} for {wait:?}");
    }
}

fn a_datagram_ends_a_wait(mut io: impl PacketIo, world: &World) {
    let outside = world.peer(LOOPBACK_V4);
    let (port, local) = open(&mut io, LOOPBACK_V4);
    io.poll(Some(Duration::ZERO)).unwrap();
    outside.send_to(b"now", local);
    let spent = time(|| {
        let frame = expect(&mut io, port, outside.local_addr(), b"now");
        io.release(frame);
    });
    assert!(spent < PATIENCE, "{spent:?}");
    expect_all_frames_back(&mut io);
}

/// A worker without calls waits for ever, and must cost nothing.
fn an_endless_wait_sleeps(mut io: impl PacketIo, _world: &World) {
    let (_port, _) = open(&mut io, LOOPBACK_V4);
    io.poll(Some(Duration::ZERO)).unwrap();
    let waker = io.waker();
    let calls = io.counters().system_calls;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let waking = std::thread::spawn(move || {
        // Nobody sends: this is a wait of that length.
        assert!(stopped.recv_timeout(Duration::from_millis(200)).is_err());
        waker.wake();
    });
    while io.counters().wake_ups == 0 {
        io.poll(None).unwrap();
    }
    waking.join().unwrap();
    drop(stop);
    let calls = io.counters().system_calls - calls;
    assert!(calls < 20, "{calls} system calls while nothing happened");
}

fn a_wake_up_ends_an_endless_wait_from_another_thread(mut io: impl PacketIo, _world: &World) {
    let (_port, _) = open(&mut io, LOOPBACK_V4);
    let (started, starts) = std::sync::mpsc::channel();
    let waker = io.waker();
    let thread = std::thread::spawn(move || {
        starts.recv().unwrap();
        waker.wake();
    });
    started.send(()).unwrap();
    while io.counters().wake_ups == 0 {
        io.poll(None).unwrap();
    }
    thread.join().unwrap();
    assert!(io.receive().is_none());
}

fn a_wake_up_before_the_poll_is_not_lost(mut io: impl PacketIo, _world: &World) {
    for expected in 1..=3 {
        io.waker().wake();
        io.waker().clone().wake();
        while io.counters().wake_ups < expected {
            io.poll(None).unwrap();
        }
        // The two were one wake-up: there is nothing left to end this wait early.
        let spent = time(|| io.poll(Some(Duration::from_millis(20))).unwrap());
        assert!(spent >= Duration::from_millis(20), "{spent:?}");
        assert_eq!(io.counters().wake_ups, expected);
    }
}

fn a_wake_up_while_a_port_opens_is_not_lost(mut io: impl PacketIo, _world: &World) {
    for _ in 0..5 {
        let (port, local) = open(&mut io, quiet_address(5));
        io.poll(Some(Duration::ZERO)).unwrap();
        io.close(port);
        io.waker().wake();
        // The address is still on its way out, so this works off what the kernel has to tell, the wake-up too.
        let again = io.open(local).unwrap();
        let spent = time(|| io.poll(Some(PATIENCE)).unwrap());
        assert!(spent < PATIENCE, "{spent:?}");
        io.close(again);
    }
}

fn every_one_of_many_wake_ups_is_seen(mut io: impl PacketIo, _world: &World) {
    const MESSAGES: u32 = 20_000;
    let (sender, messages) = std::sync::mpsc::channel();
    let waker = io.waker();
    let thread = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            sender.send(number).unwrap();
            waker.wake();
            if number % 64 == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < MESSAGES {
        // An endless wait after a lost wake-up would hang here, so it ends after PATIENCE and fails.
        let before = io.counters().wake_ups;
        io.poll(Some(PATIENCE)).unwrap();
        assert!(
            io.counters().wake_ups > before,
            "a wake-up was lost after message {next}"
        );
        while let Ok(number) = messages.try_recv() {
            assert_eq!(number, next);
            next += 1;
        }
    }
    thread.join().unwrap();
}
