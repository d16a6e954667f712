//! What the packets of the [generator](super::generator) travel by: [`socket_wire`](super::socket_wire) or
//! [`frame_wire`](super::frame_wire).

use std::fmt::Debug;
use std::net::SocketAddrV4;

use crate::endpoint::Faults;

/// The place of the callers among the sides.
pub const CALLERS: usize = 0;
/// The place of the callees.
pub const CALLEES: usize = 1;

/// One end of the load for all callers, and one for all callees. Used by one thread.
pub trait Wire: Debug {
    /// Where the sides receive, each at an even port (RFC 3550 §11).
    fn parties(&self) -> [SocketAddrV4; 2];

    /// Queues a packet of a side. What finds no room counts in `faults` and is not sent.
    fn queue(&mut self, side: usize, packet: &[u8], to: SocketAddrV4, faults: &mut Faults);

    /// Whether what is queued should leave before more is.
    fn is_full(&self) -> bool;

    /// Sends what is queued, and says how many packets the kernel took. Those that it refused count in `faults`.
    ///
    /// # Errors
    /// The wire is broken.
    fn flush(&mut self, faults: &mut Faults) -> anyhow::Result<u64>;

    /// Hands over everything that has arrived.
    ///
    /// # Errors
    /// The wire is broken.
    fn receive(&mut self, take: &mut dyn FnMut(Arrival<'_>)) -> anyhow::Result<()>;

    /// Packets so far that arrived and found no room, as far as the kernel's counters of UDP do not have them.
    fn no_room(&self) -> u64;
}

/// A packet that arrived.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The side that it came to.
    pub side: usize,
    /// In its whole length, or longer than any of ours.
    pub packet: &'a mut [u8],
    /// Where it came from.
    pub source: SocketAddrV4,
    /// When it arrived, nanoseconds since 1970.
    pub at_ns: u64,
}
