//! Steering: all ports of a worker on one UDP socket an IP version.
//!
//! With privilege, the kernel can be told to hand what comes to a worker's media ports to one socket (by a BPF program of
//! type `sk_lookup`, which whoever builds the back-end brings along as a [`Steer`]). The socket has each datagram's local address
//! told with it; packets leave through raw sockets with IP and UDP headers of ours. So a port is an entry in a table, a call costs
//! no file, and what comes to all calls is received in one batch.
//!
//! What is the same as with a socket a port, and what is not:
//!
//! * A port that another process has bound is [`OpenError::InUse`](crate::OpenError::InUse): each port is bound for a moment before
//!   it is taken. A process that binds a port *while* a call has it is not told, and gets nothing until the call ends.
//! * ICMP errors are heard by nobody, as with unconnected UDP sockets that do not ask for them: the kernel learns path MTUs from
//!   them, a silent party is found by its media timeout.
//! * Packets beyond the MTU are not fragmented: they are [`SendError::TooBig`](crate::SendError::TooBig).
//! * One receive buffer serves all ports, and is large ([`SharedSockets::RECEIVE_BUFFER`]).

mod back_end;
mod claim;
mod header;
mod ports;
mod shared;

pub use back_end::Steered;
pub use claim::{ClaimError, RangeClaim};
pub use shared::{Exit, SharedSockets};

pub(crate) use header::Exits;
pub(crate) use ports::SteeredPorts;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use crate::xsk::XdpPlan;

/// Tells the kernel which ports' datagrams go to a worker's shared sockets. Called on the worker's thread when a port
/// opens or closes, never for a packet.
pub trait Steer: Debug + Send {
    /// From now on datagrams to `local` go to the shared socket of its IP version.
    ///
    /// # Errors
    /// What the kernel refuses; the port then does not open.
    fn begin(&mut self, local: SocketAddr) -> io::Result<()>;

    /// Datagrams to `local` are looked up as ever again.
    fn end(&mut self, local: SocketAddr);
}

/// What a back-end with steering is built from.
#[derive(Debug)]
pub struct Steering {
    /// The worker's sockets.
    pub sockets: SharedSockets,
    /// Their ports.
    pub steer: Box<dyn Steer>,
    /// The AF_XDP sockets that take most of what would come and go through them ([`Steered`] only).
    pub xdp: Option<XdpPlan>,
}
