//! The structures of `src/bpf/ringpath.h`, byte for byte.
//!
//! Addresses are 16 bytes, IPv4 as `::ffff:a.b.c.d`; ports and VLAN tags are in network order, all else in the host's.
//! Sizes are asserted here and in the header. Where the programs were built, every member's offset is compared with
//! the type information of the objects when this crate is compiled.

use std::mem::size_of;

use crate::plain::Plain;

/// Raised with every change of these structures: pinned maps of another version are not adopted.
pub const VERSION: u32 = 4;
/// Streams (SSRCs) that a flow tells apart.
pub const STREAMS: usize = 4;
/// Clock rates of a flow.
pub const CLOCKS: usize = 7;
/// Payload types that are found without the flow's table.
pub const TYPES: usize = 8;
/// Places for counters of reasons.
pub const REASONS: usize = 40;
/// Of these, what a flow counts.
pub const FLOW_REASONS: usize = 28;
/// Places for local addresses.
pub const LOCALS: usize = 128;
/// Places at which a local address can lie.
pub const PROBES: usize = 8;
/// Ports of an address.
pub const PORTS: u32 = 65_536;
/// The lower half of a port's word when user space has the port.
pub const PORT_USER: u32 = u32::MAX;

/// Workers that steering tells apart.
pub const WORKERS_MAX: u32 = 128;
/// Addresses that steering serves.
pub const STEERED_ADDRESSES_MAX: usize = 64;
/// AF_XDP sockets of all workers together.
pub const XSKS_MAX: usize = 256;

/// `ringpath_flow_key`: where a packet came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Local address.
    pub address: [u8; 16],
    /// Local port.
    pub port: u16,
    /// Always zero.
    pub zero: [u8; 2],
}

/// `ringpath_tag`: a VLAN tag as it lies in the frame (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Tag {
    /// 0x8100 or 0x88a8.
    pub protocol: u16,
    /// Priority, drop eligibility, VLAN id.
    pub control: u16,
}

/// `ringpath_local`: an address of the relay, its media ports, and the packets to those that nobody owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Local {
    pub address: [u8; 16],
    pub base: u32,
    pub flags: u32,
    pub port_min: u16,
    pub port_max: u16,
    pub zero: [u32; 9],
    pub packets: u64,
    pub bytes: u64,
    pub zeros: [u64; 6],
}

/// `ringpath_flow`: what becomes of the packets that come to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Flow {
    pub source: [u8; 16],
    pub to: [u8; 16],
    pub from: [u8; 16],
    pub from_port: u16,
    pub to_port: u16,
    pub source_port: u16,
    pub checksum_delta: u16,
    pub flags: u32,
    pub ifindex: u32,
    pub link: [u8; 12],
    pub size_min: u16,
    pub size_max: u16,
    pub kind: u8,
    pub dscp: u8,
    pub hop_limit: u8,
    pub tag_count: u8,
    pub clock_of_types: u32,
    pub types: [u8; TYPES],
    pub clocks_hz: [u32; CLOCKS],
    pub epoch: u32,
    pub pass_up: u64,
    pub packet_cost_ns: u64,
    pub packet_burst_ns: u64,
    pub byte_cost_x256: u64,
    pub byte_burst_ns: u64,
    pub tags: [Tag; 2],
    pub state: u32,
    pub zero: [u32; 3],
    pub clock_of: [u8; 64],
}

/// `ringpath_stream`: what was counted of one SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Stream {
    pub packets: u64,
    pub bytes: u64,
    pub highest: u64,
    pub distinct: u64,
    pub window: [u64; 2],
    pub last_seen_ns: u64,
    pub last_arrival_ns: u64,
    pub jitter_x16: u64,
    pub jitter_max_ns: u64,
    pub base: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub ssrc: u32,
    pub last_timestamp: u32,
    pub clock_rate_hz: u32,
    pub since_loss: u32,
    pub after_stray: u16,
    pub has_after_stray: u8,
    pub probation: u8,
    pub payload_type: u8,
    pub used: u8,
    pub zero: [u8; 2],
    pub strays: u64,
    pub lost_before: u64,
    pub first_seen_ns: u64,
    pub c11: u32,
    pub c13: u32,
    pub c14: u32,
    pub c22: u32,
    pub c23: u32,
    pub c33: u32,
    pub burst_lost: u32,
    pub zeros: u32,
    pub aside_packets: u32,
    pub aside_bytes: u32,
}

/// `ringpath_streams`: the streams of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Streams {
    /// In no order.
    pub stream: [Stream; STREAMS],
}

/// `ringpath_state`: what was counted of a flow, its streams aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct State {
    pub version: u32,
    pub current: u32,
    pub hop_until_ns: u64,
    pub hop_ifindex: u32,
    pub hop_epoch: u32,
    pub hop_link: [u8; 12],
    pub hop_mtu: u16,
    pub zero: u16,
    pub packets_due_ns: u64,
    pub bytes_due_ns: u64,
    pub rtcp_seen_ns: u64,
    pub rtcp_packets: u64,
    pub rtcp_bytes: u64,
    pub copies_lost: u64,
    pub taps_lost: u64,
    pub evicted: u64,
    pub evicted_packets: u64,
    pub evicted_bytes: u64,
    pub evicted_lost: u64,
    pub given_packets: u64,
    pub given_bytes: u64,
    pub refused: [u64; FLOW_REASONS],
    pub zeros: [u64; 2],
}

/// `ringpath_settings`: what can be changed while packets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Settings {
    pub tap_length_max: u32,
    pub zero: u32,
}

/// `ringpath_tap`: the head of a record in the ring of taps; `captured` bytes of IP follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Tap {
    pub at_ns: u64,
    pub key: FlowKey,
    pub length: u16,
    pub captured: u16,
    pub direction: u8,
    pub zero: [u8; 7],
}

/// `ringpath_range_key`: an address that steering serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RangeKey {
    /// Local address.
    pub address: [u8; 16],
}

/// `ringpath_totals`: counters of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Totals {
    pub sent_back: u64,
    pub redirected: u64,
    pub bytes: u64,
    pub copies_lost: u64,
    pub taps_lost: u64,
    pub uncounted: u64,
    pub passed: [u64; REASONS],
    pub dropped: [u64; REASONS],
}

/// `ringpath_copy`: the head of a record in the ring of copies; `captured` bytes of RTCP follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Copy {
    pub arrival_ns: u64,
    pub key: FlowKey,
    pub slot: u32,
    pub length: u16,
    pub captured: u16,
    pub zero: u32,
}

/// `ringpath_steering_totals`: counters of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct SteeringTotals {
    pub assigned: u64,
    pub no_socket: u64,
    pub not_assigned: u64,
}

/// A receive queue of an interface (`struct ringpath_queue`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Queue {
    pub ifindex: u32,
    pub number: u32,
}

/// The AF_XDP socket of a queue (`struct ringpath_xsk`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the header has the words")]
pub struct Xsk {
    pub place: u32,
    pub owner: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 20);
const _: () = assert!(size_of::<Local>() == 128);
const _: () = assert!(size_of::<Tag>() == 4);
const _: () = assert!(size_of::<Flow>() == 256);
const _: () = assert!(size_of::<Stream>() == 192);
const _: () = assert!(size_of::<Streams>() == 768);
const _: () = assert!(size_of::<State>() == 384);
const _: () = assert!(size_of::<Settings>() == 8);
const _: () = assert!(size_of::<Totals>() == 688);
const _: () = assert!(size_of::<Copy>() == 40);
const _: () = assert!(size_of::<Tap>() == 40);
const _: () = assert!(size_of::<SteeringTotals>() == 24);
const _: () = assert!(size_of::<Queue>() == 8);
const _: () = assert!(size_of::<Xsk>() == 8);

// SAFETY: `repr(C)`, integers and arrays of them only, and the sum of the members is the size asserted above.
unsafe impl Plain for FlowKey {}
// SAFETY: as above; 128 bytes of members.
unsafe impl Plain for Local {}
// SAFETY: as above; 256 bytes of members.
unsafe impl Plain for Flow {}
// SAFETY: as above; 192 bytes of members.
unsafe impl Plain for Stream {}
// SAFETY: as above; one array of such.
unsafe impl Plain for Streams {}
// SAFETY: as above; 384 bytes of members.
unsafe impl Plain for State {}
// SAFETY: as above; two words.
unsafe impl Plain for Settings {}
// SAFETY: as above; one array.
unsafe impl Plain for RangeKey {}
// SAFETY: as above; 688 bytes of members.
unsafe impl Plain for Totals {}
// SAFETY: as above; 40 bytes of members.
unsafe impl Plain for Copy {}
// SAFETY: as above; 40 bytes of members.
unsafe impl Plain for Tap {}
// SAFETY: as above; three words.
unsafe impl Plain for SteeringTotals {}
// SAFETY: as above; two words.
unsafe impl Plain for Queue {}
// SAFETY: as above; two words.
unsafe impl Plain for Xsk {}

/// Compares every named member's offset, and the sizes, of a structure with those of the object's type information.
#[cfg(bpf_built)]
macro_rules! same_layout {
    ($($ours:ident = $theirs:path { $($member:ident),* $(,)? })*) => {$(
        const _: () = {
            assert!(size_of::<$ours>() == size_of::<$theirs>());
            $(assert!(std::mem::offset_of!($ours, $member) == std::mem::offset_of!($theirs, $member));)*
        };
    )*};
}

#[cfg(bpf_built)]
mod offsets {
    use super::*;
    use crate::object::{relay_types as c, steer_types, xsk_types};

    same_layout! {
        FlowKey = c::ringpath_flow_key { address, port, zero }
        Tag = c::ringpath_tag { protocol, control }
        Local = c::ringpath_local {
            address, base, flags, port_min, port_max, zero, packets, bytes, zeros,
        }
        Flow = c::ringpath_flow {
            source, to, from, from_port, to_port, source_port, checksum_delta, flags, ifindex, link, size_min,
            size_max, kind, dscp, hop_limit, tag_count, clock_of_types, types, clocks_hz, epoch, pass_up,
            packet_cost_ns, packet_burst_ns, byte_cost_x256, byte_burst_ns, tags, state, zero, clock_of,
        }
        Stream = c::ringpath_stream {
            packets, bytes, highest, distinct, window, last_seen_ns, last_arrival_ns, jitter_x16, jitter_max_ns,
            base, duplicates, reordered, ssrc, last_timestamp, clock_rate_hz, since_loss, after_stray,
            has_after_stray, probation, payload_type, used, zero, strays, lost_before, first_seen_ns, c11, c13, c14,
            c22, c23, c33, burst_lost, zeros, aside_packets, aside_bytes,
        }
        Streams = c::ringpath_streams { stream }
        State = c::ringpath_state {
            version, current, hop_until_ns, hop_ifindex, hop_epoch, hop_link, hop_mtu, zero, packets_due_ns,
            bytes_due_ns, rtcp_seen_ns, rtcp_packets, rtcp_bytes, copies_lost, taps_lost, evicted, evicted_packets,
            evicted_bytes, evicted_lost, given_packets, given_bytes, refused, zeros,
        }
        Settings = c::ringpath_settings { tap_length_max, zero }
        Tap = c::ringpath_tap { at_ns, key, length, captured, direction, zero }
        RangeKey = steer_types::ringpath_range_key { address }
        SteeringTotals = steer_types::ringpath_steering_totals { assigned, no_socket, not_assigned }
        Queue = xsk_types::ringpath_queue { ifindex, number }
        Xsk = xsk_types::ringpath_xsk { place, owner }
        Totals = c::ringpath_totals { sent_back, redirected, bytes, copies_lost, taps_lost, uncounted, passed, dropped }
    }
}
