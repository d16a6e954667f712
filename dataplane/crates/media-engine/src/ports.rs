use std::net::SocketAddr;

/// An open local UDP port of one worker, as an index that stays small and is used again after the port has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// Why a local port did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Something else on this machine has the port: another one may do.
    InUse,
    /// The process, or the back-end, can hold no more ports: no other one will do.
    Exhausted,
    /// The address is not one of this machine's, or the kernel refuses for another reason.
    Refused,
}

/// What the engine needs of the packet I/O to have ports. With a socket a port this binds; with steering it is an
/// entry in a table. Calls come from the worker's thread, between batches.
pub trait Ports {
    /// Opens a port: packets that come to `local` carry the identity returned until it is closed.
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError>;

    /// Closes a port. Packets that were received and not yet handed over are dropped by the back-end and counted
    /// there; packets queued for sending still leave.
    fn close(&mut self, port: PortId);

    /// Whether packets may have come that were not handed over yet. No flow is installed meanwhile, lest what comes next
    /// overtake them.
    fn is_behind(&self) -> bool {
        false
    }
}
