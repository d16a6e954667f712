//! AF_XDP sockets beneath [`steering`](crate::steering): what comes to steered ports is taken from the interface's queue, and
//! what leaves is given to its device, both past the rest of the kernel's network stack.
//!
//! * The frames of the worker are the sockets' packet memory (UMEM), 2,048 bytes a chunk: a packet is sent from the frame that
//!   it came in. The kernel copies in and out of it (`XDP_COPY`), which every driver allows.
//! * A worker has a socket for each queue that it serves. Free frames go to the *fill* ring and come back, with a packet, through
//!   the *receive* ring; sent ones go to the *transmit* ring and come back through the *completion* ring. A turn costs no system
//!   call to receive, and one to send for 32 packets.
//! * Whatever has no way through here has another: the XDP program leaves frames with tags, fragments, IP options and other
//!   workers' ports to the kernel, which hands them to the worker's shared UDP socket; packets to next hops that are not known, that
//!   leave by an interface without a socket, or that are long enough for a path to refuse them leave by the raw sockets.
//!
//! # Invariants, beyond those of the crate
//!
//! 5. **A frame is with the kernel or it is ours.** An index goes into the fill or the transmit ring once, and is not touched
//!    before it comes back; an index that comes back is checked to be one that is out. *Checked by:* `FrameAccount`, and the
//!    counts of each socket.
//! 6. **A place of a ring belongs to one side.** The producer writes places between its own and the consumer's number and then
//!    stores its number with release; the consumer reads that number with acquire before it reads the places, and gives them
//!    back with a release store that the producer acquires. *Checked by:* the ring's model test.
//! 7. **The kernel lets go of the memory before it is freed.** Closing the last descriptor of a socket ends its receiving before
//!    `close` returns; what it still transmits are copies or, with devices that take packets in pages, holds these pages by
//!    itself; the sockets are dropped before the frames. *Checked by:* construction
//!    ([`Steered`](crate::steering::Steered) has them first).

mod link_layer;
mod ring;
mod socket;
mod sockets;

use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

pub(crate) use sockets::XdpSockets;

/// A receive queue of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// The number of the interface.
    pub ifindex: u32,
    /// The number of the queue.
    pub number: u32,
}

/// Where packets to a destination leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The interface.
    pub ifindex: u32,
    /// The interface's own link-layer address.
    pub own: [u8; 6],
    /// That of the next hop.
    pub address: [u8; 6],
}

/// Ties a worker's sockets to their queues. Called on the worker's thread, never for a packet.
pub trait Tie: Debug + Send {
    /// From now on packets that come by the queue, to ports that the worker steers, go to this socket, which is bound to it.
    ///
    /// # Errors
    /// What the kernel refuses.
    fn tie(&mut self, queue: Queue, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// They go up again.
    ///
    /// # Errors
    /// What the kernel refuses.
    fn untie(&mut self, queue: Queue) -> io::Result<()>;
}

/// Knows next hops. Called on the worker's thread, once for each destination and version.
pub trait NextHops: Debug + Send {
    /// Another number than before when another answer is possible. Called each turn.
    fn version(&self) -> u64;

    /// The next hop of packets from one address to another; `None` while it is not known, which the caller's asking may change.
    fn find(&mut self, from: IpAddr, to: IpAddr) -> Option<NextHop>;
}

/// What a worker's AF_XDP sockets are made from.
#[derive(Debug)]
pub struct XdpPlan {
    /// The interfaces.
    pub interfaces: Vec<u32>,
    /// The first queue of each that is this worker's.
    pub first: u32,
    /// From one of its queues to the next: the number of workers.
    pub step: u32,
    /// Their ties.
    pub tie: Box<dyn Tie>,
    /// Where packets leave.
    pub hops: Box<dyn NextHops>,
}

impl XdpPlan {
    /// Sockets of a worker at most: queues beyond it go through the kernel.
    pub const SOCKETS_MAX: usize = 16;
}
