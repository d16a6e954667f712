//! Nothing is allocated for a packet.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use net_io::{IoConfig, PacketIo, PortId};

use crate::back_end::*;

conformance! {
    everywhere {
    }
    kernel {
        the_steady_state_of_a_relay_allocates_nothing: IoConfig::default();
        a_full_turn_of_the_submission_queue_allocates_nothing:
            IoConfig { submission_entries: 8, completion_entries: 16, batch: 4, ..IoConfig::default() };
    }
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread of what was asked of it.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: everything is passed to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and nobody asks for it.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

const PORTS: usize = 16;
const EACH: u32 = 8;

/// Sends a burst to every port, has it echoed, and reads the echoes.
fn echo_round(io: &mut impl PacketIo, outside: &[UdpSocket], ports: &[(PortId, SocketAddr)]) {
    for (peer, (_, local)) in outside.iter().zip(ports) {
        for _ in 0..EACH {
            peer.send_to(&[0; 172], local).unwrap();
        }
    }
    let mut echoed = 0;
    while echoed < EACH * PORTS as u32 {
        io.poll(Some(PATIENCE)).unwrap();
        while let Some(received) = io.receive() {
            io.send(received.frame, received.port, received.source);
            echoed += 1;
        }
    }
    io.poll(Some(Duration::ZERO)).unwrap();
    let mut buffer = [0; 256];
    for peer in outside {
        for _ in 0..EACH {
            assert_eq!(peer.recv(&mut buffer).unwrap(), 172);
        }
    }
}

fn relay_without_allocating(io: &mut impl PacketIo) {
    let outside: Vec<UdpSocket> = (0..PORTS).map(|_| peer(LOOPBACK_V4)).collect();
    let ports: Vec<(PortId, SocketAddr)> = (0..PORTS).map(|_| open(io, LOOPBACK_V4)).collect();
    echo_round(io, &outside, &ports);

    let before = allocations();
    for _ in 0..50 {
        echo_round(io, &outside, &ports);
    }
    let waker = io.waker();
    waker.wake();
    io.poll(Some(PATIENCE)).unwrap();
    assert_eq!(allocations() - before, 0);
    assert_eq!(io.counters().sent, 51 * u64::from(EACH) * PORTS as u64);
    assert!(allocations() > 0, "the counter counts");
}

fn the_steady_state_of_a_relay_allocates_nothing(mut io: impl PacketIo, _world: &World) {
    relay_without_allocating(&mut io);
    expect_all_frames_back(&mut io);
}

fn a_full_turn_of_the_submission_queue_allocates_nothing(mut io: impl PacketIo, _world: &World) {
    relay_without_allocating(&mut io);
    expect_all_frames_back(&mut io);
}
