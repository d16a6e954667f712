//! The packet path does not allocate: an allocator that counts, a thread at a time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use media_engine::{EngineConfig, Verdict};
use media_types::{Latching, LineSpec};

use crate::bench::{Bench, at, call, config, line, rtcp, rtp};
use crate::relay::locals;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn count(allocations: u64, bytes: i64) {
    // A thread that is ending has no counter any more, and no test that reads it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every method hands its arguments to `System` unchanged, and `System` upholds the contract of `GlobalAlloc`.
// Counting touches a thread-local cell without destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller upholds the contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: `pointer` came from `System.alloc` with this `layout`, as the caller guarantees.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`, and the caller upholds the contract for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Every way through `handle_packet`: learning, locking, events, new and evicted streams, RTCP, noise, a full queue.
#[test]
fn handling_a_packet_does_not_allocate() {
    assert!(allocations(|| drop(Box::new(1))) > 0, "the counter counts");
    let mut config = EngineConfig {
        calls_max: 10,
        ..config()
    };
    config.limits.events_max = 2;
    let mut bench = Bench::new(config);
    let any = LineSpec {
        latching: Latching::AnyAddress,
        ..line("192.0.2.1:4000")
    };
    let (a, b) = locals(&bench.create(&call("c", any, line("192.0.2.2:5000"))));
    let port = |bench: &Bench, local| bench.ports.open[&local];
    let (a_rtp, a_rtcp) = (port(&bench, a.rtp), port(&bench, a.rtcp));
    let (b_rtp, b_rtcp) = (port(&bench, b.rtp), port(&bench, b.rtcp));
    let (nat, party) = (at("203.0.113.5:6000"), at("192.0.2.2:5000"));
    let mut datagrams = Vec::new();
    for n in 0..60u32 {
        let packet = rtp(8, n as u16, n * 160, n / 10);
        datagrams.push((a_rtp, nat, packet.clone()));
        datagrams.push((a_rtp, at("198.51.100.1:9"), packet.clone()));
        datagrams.push((b_rtp, party, packet.clone()));
        datagrams.push((b_rtp, party, packet[..n as usize % 20].to_vec()));
        datagrams.push((a_rtcp, at("203.0.113.5:6001"), rtcp(n / 10)));
        datagrams.push((b_rtcp, party, rtcp(n / 10)));
        datagrams.push((b_rtcp, at("192.0.2.2:5001"), packet));
        datagrams.push((b_rtp, party, vec![n as u8 * 4; 30]));
        datagrams.push((media_engine::PortId(1_000 + n), party, rtcp(n / 10)));
    }
    let mut forwarded = 0;
    let count = allocations(|| {
        for (port, source, datagram) in &mut datagrams {
            let len = datagram.len();
            match bench
                .engine
                .handle_packet(bench.now, *port, *source, datagram, len)
            {
                Verdict::Forward { .. } => forwarded += 1,
                Verdict::Drop(_) | Verdict::SetUp(_) => {}
            }
        }
    });
    assert_eq!(count, 0);
    assert!(forwarded > 150, "{forwarded} of {}", datagrams.len());
    assert!(bench.engine.counters().streams_evicted > 0);
    assert!(bench.engine.counters().events_missed > 0);
}

/// What may go to the kernel is noted for the next turn: no memory is asked for even when all lines are noted at once.
#[test]
fn noting_that_lines_may_go_to_the_kernel_does_not_allocate() {
    let mut bench = Bench::new(EngineConfig {
        kernel: true,
        ..config()
    });
    let mut datagrams = Vec::new();
    for n in 0..40 {
        let spec = call(&format!("c{n}"), line("192.0.2.1:4000"), line("192.0.2.2:5000"));
        let (a, b) = locals(&bench.create(&spec));
        for seq in 0..3u16 {
            datagrams.push((bench.ports.open[&a.rtp], at("192.0.2.1:4000"), rtp(8, seq, 0, 7)));
            datagrams.push((bench.ports.open[&b.rtp], at("192.0.2.2:5000"), rtp(8, seq, 0, 8)));
        }
        datagrams.push((bench.ports.open[&a.rtcp], at("192.0.2.1:4001"), rtcp(7)));
    }
    bench.events();
    let count = allocations(|| {
        for (port, source, datagram) in &mut datagrams {
            let len = datagram.len();
            let verdict = bench
                .engine
                .handle_packet(bench.now, *port, *source, datagram, len);
            assert!(matches!(verdict, Verdict::Forward { .. }));
        }
    });
    assert_eq!(count, 0);
    assert_eq!(
        bench.engine.poll_timeout(),
        Some(sans_io::Timestamp::ZERO),
        "there is work"
    );
}

/// What one call costs in the engine, everything on the heap counted, over many calls.
#[test]
fn a_call_takes_less_than_six_kilobytes() {
    let mut config = config();
    for interface in &mut config.interfaces {
        interface.ports = (10_000..30_000).step_by(2).collect();
    }
    let mut bench = Bench::new(config);
    let before = LIVE.get();
    for n in 0..1_000 {
        let spec = call(&format!("c{n}"), line("192.0.2.1:4000"), line("192.0.2.2:5000"));
        bench.create(&spec);
    }
    let per_call = (LIVE.get() - before) / 1_000;
    assert!(per_call < 6_144, "{per_call} bytes a call");
}
