//! What the programs of the load share with user space, as `src/bpf/load.bpf.c` lays it out.

use std::mem::size_of;

use crate::plain::Plain;

pub(super) const HEADERS: usize = 42;
pub(super) const BUCKETS: usize = 2_048;

/// `load_control`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Control {
    pub(crate) total: u64,
    pub(crate) ptime_ns: u64,
    pub(crate) tick_ns: u64,
    pub(crate) streams: u32,
    pub(crate) burst: u32,
    pub(crate) run: u32,
    pub(crate) window: u32,
    pub(crate) udp_sum: u32,
    pub(crate) payload_sum: u32,
    pub(crate) pseudo_sum: u32,
    pub(crate) relay: u32,
    pub(crate) parties: [u16; 2],
    pub(crate) headers: [u8; HEADERS],
    pub(crate) zero: [u8; 2],
}

/// `load_stream`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Stream {
    pub(crate) face: u16,
    pub(crate) first_seq: u16,
    pub(crate) first_timestamp: u32,
}

/// `load_progress`: where the generator is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LoadProgress {
    /// When the first frame was looked at; the monotonic clock. 0 before that.
    pub start_ns: u64,
    /// When packets may leave again.
    pub tick_ns: u64,
    /// Packets that may have left.
    pub granted: u64,
    /// Packets that have left.
    pub sent: u64,
    /// When the last one left, the wait for the window not counted.
    pub last_ns: u64,
    /// When the packets that leave now were to leave.
    pub granted_ns: u64,
    /// Since when the window is full; 0 when it is not.
    pub held_ns: u64,
    /// Packets that the window no longer waits for.
    pub given_up: u64,
    /// Times that the window was full.
    pub holds: u64,
    /// Ticks at which more was due than may leave at once.
    pub late_ticks: u64,
    /// The stream whose turn it is.
    pub place: u32,
    /// The number of its packet.
    pub number: u32,
}

/// `load_counts`: what arrived, all streams together.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LoadCounts {
    /// Distinct packets, whole and at the right party.
    pub received: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Arrived after one with a higher number.
    pub reordered: u64,
    /// More than 63 packets behind the highest of their stream; counted nowhere else.
    pub ancient: u64,
    /// Not as they were sent; counted nowhere else.
    pub corrupt: u64,
    /// From another address or port than the other face of the call.
    pub asymmetric: u64,
    /// Of no stream, or at the wrong party; counted nowhere else.
    pub foreign: u64,
    /// Of another run; counted nowhere else.
    pub stale: u64,
    /// Their UDP checksum was left to a device that a veth does not have; the payload was as it was sent.
    pub unfinished: u64,
    /// Without a UDP checksum; the payload was as it was sent.
    pub unchecked: u64,
    /// When the last packet of the run arrived.
    pub last_ns: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Histogram {
    pub(super) buckets: [u64; BUCKETS],
}

// SAFETY: `repr(C)` of integers and arrays of them, without padding as the sizes below show.
unsafe impl Plain for Control {}
// SAFETY: as above.
unsafe impl Plain for Stream {}
// SAFETY: as above.
unsafe impl Plain for LoadProgress {}
// SAFETY: as above.
unsafe impl Plain for LoadCounts {}
// SAFETY: as above.
unsafe impl Plain for Histogram {}
const _: () = {
    assert!(size_of::<Control>() == 104);
    assert!(size_of::<Stream>() == 8);
    assert!(size_of::<LoadProgress>() == 88);
    assert!(size_of::<LoadCounts>() == 88);
    assert!(size_of::<Histogram>() == BUCKETS * 8);
};
