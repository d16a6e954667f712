//! The trait that a worker's loop drives.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use media_engine::{PortId, Ports};

use crate::counters::IoCounters;
use crate::frame::{Frame, FrameAccount};
use crate::steering::SharedSockets;
use crate::waker::Waker;

/// A datagram that came in.
#[derive(Debug)]
pub struct Received {
    /// The port it came to; open at this moment.
    pub port: PortId,
    /// Who sent it, as the kernel saw it.
    pub source: SocketAddr,
    /// Its payload, in a frame that the caller now has to send, keep or release.
    pub frame: Frame,
}

/// Packet I/O of one worker.
///
/// The loop is: [`poll`](Self::poll); then [`receive`](Self::receive) until it returns `None`, giving each frame to
/// [`send`](Self::send) or [`release`](Self::release), or keeping it; then the commands that a [`Waker`] announced;
/// then `poll` again, which sends all that was queued in as few system calls as the back-end can.
///
/// Nothing here allocates once the back-end is built, except opening a port.
pub trait PacketIo: Ports {
    /// Sends what is queued, then waits for packets, a wake-up, or `wait` (`None`: for ever; zero: not at all).
    ///
    /// May return early with nothing to receive. Returns at once while datagrams of an earlier poll have not been
    /// taken. When all frames are held by the caller there is nothing to receive into: ports that have datagrams are
    /// counted in [`IoCounters::no_buffer`], and the call waits for a wake-up or `wait` only.
    ///
    /// # Errors
    ///
    /// Only what ends the back-end (its epoll or ring is broken): the worker can't go on. What happens to one
    /// packet or one port is counted instead.
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()>;

    /// The next datagram of the last poll, in order of arrival within each port.
    fn receive(&mut self) -> Option<Received>;

    /// The payload of a frame.
    fn payload(&self, frame: &Frame) -> &[u8];

    /// The payload of a frame, for rewriting in place. Its length changes through the methods of [`Frame`].
    fn payload_mut(&mut self, frame: &mut Frame) -> &mut [u8];

    /// A free frame with this payload, for a packet that is no answer to one that came in. `None` when none is free, or it is longer
    /// than [`PAYLOAD_MAX`](crate::PAYLOAD_MAX).
    fn fresh(&mut self, payload: &[u8]) -> Option<Frame>;

    /// Queues a frame's payload to leave from `port` to `to` with the next poll. The frame is free again when the
    /// kernel has taken the packet. A port that is not open, and whatever the kernel says, is counted in
    /// [`IoCounters::send_errors`].
    fn send(&mut self, frame: Frame, port: PortId, to: SocketAddr);

    /// Gives a frame back unsent. The caller has counted the reason.
    fn release(&mut self, frame: Frame);

    /// A handle that ends a [`poll`](Self::poll) from another thread. A wake-up before the poll ends the next one.
    fn waker(&self) -> Waker;

    /// What happened since the back-end was built. Totals only grow.
    fn counters(&self) -> &IoCounters;

    /// Where the frames of the pool are now.
    fn frames(&self) -> FrameAccount;

    /// The address that an open port is bound to: the one asked for, with the port number that the kernel chose if
    /// that was 0.
    fn local_address(&self, port: PortId) -> Option<SocketAddr>;

    // What follows is for a process that hands its sockets to another one. Not on the packet path.

    /// Receives nothing from now on: what comes waits in the sockets, for [`start_receiving`](Self::start_receiving) here or for
    /// whoever gets them. What was received before can still be taken, and sending goes on.
    ///
    /// # Errors
    ///
    /// The back-end is broken, or the kernel does not let go of the sockets in time.
    fn stop_receiving(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Receives again.
    fn start_receiving(&mut self) {}

    /// The open ports that have a socket of their own.
    fn socket_ports(&self) -> Vec<(SocketAddr, PortId)> {
        Vec::new()
    }

    /// Another descriptor of the socket of a port.
    ///
    /// # Errors
    ///
    /// It is not open, has no socket of its own, or there can be no more descriptors. [`io::ErrorKind::Unsupported`]: the kernel
    /// cannot give it (an io_uring before 6.8).
    fn share_socket(&mut self, port: PortId) -> io::Result<OwnedFd> {
        let _ = port;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Other descriptors of the sockets that all ports share; `None` where each has its own.
    ///
    /// # Errors
    ///
    /// There can be no more descriptors.
    fn share_sockets(&self) -> io::Result<Option<SharedSockets>> {
        Ok(None)
    }

    /// The next [`open`](media_engine::Ports::open) of one of these addresses takes the socket that is bound to it already. Those of
    /// an earlier call that were not taken are closed.
    fn adopt_sockets(&mut self, sockets: Vec<(SocketAddr, OwnedFd)>) {
        drop(sockets);
    }
}
