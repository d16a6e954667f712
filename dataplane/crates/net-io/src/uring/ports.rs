//! Opening and closing: the ports of a ring, and the ring itself.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd};
use std::time::Duration;

use media_engine::{OpenError, PortId, Ports};

use super::buffer_ring::BufferRing;
use super::request::Control;
use super::ring::Waiting;
use super::{BUFFER_GROUP, Uring, message_shape};
use crate::frame_store::FrameStore;
use crate::udp_socket;

/// Turns without any progress after which a back-end that is dropped gives up on the kernel, and how long each waits.
const DRAIN_TURNS: u32 = 100;
const DRAIN_WAIT: Duration = Duration::from_millis(10);

/// Turns in which the shared sockets are read empty before a port opens.
const SHARED_TURNS: u32 = 64;

impl Uring {
    /// Lets the kernel work off what closing ports need, without waiting. Not on the packet path.
    fn finish_closing(&mut self) -> io::Result<()> {
        // One turn submits, and the second takes what the first has set off.
        for _ in 0..2 {
            if self.slots.closing() > 0 {
                self.turn(Waiting {
                    completions: 1,
                    timeout: Some(Duration::ZERO),
                    gather: Duration::ZERO,
                })?;
            }
        }
        Ok(())
    }

    /// Requests that the kernel has not completed, ports counted while any of theirs is.
    fn with_kernel(&self) -> u32 {
        self.slots.closing() + self.slots.armed() + self.sending + u32::from(self.waker_armed)
    }

    fn open_now(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        let place = self.slots.next().ok_or(OpenError::Exhausted)?;
        let adopted = udp_socket::take(&mut self.adopted, local);
        // Those that an adopted socket had dropped before are not this back-end's.
        let dropped = adopted
            .as_ref()
            .and_then(|socket| udp_socket::dropped(socket.as_fd()).ok());
        let (socket, local) = match adopted {
            Some(socket) => (socket, local),
            None => udp_socket::bind(local, &self.options)?,
        };
        self.ring
            .submitter()
            .register_files_update(place.0, &[socket.as_raw_fd()])
            .map_err(|error| udp_socket::open_error(&error))?;
        // The file table holds the socket now; its descriptor ends here.
        drop(socket);
        let (port, generation) = self.slots.open(local).ok_or(OpenError::Exhausted)?;
        if let (Some(dropped), Some(drops)) = (dropped, self.slots.drops(port)) {
            *drops = dropped;
        }
        // Room for one of each request for every slot, so that queueing one on the packet path does not allocate.
        self.control
            .reserve((3 * self.slots.len()).saturating_sub(self.control.len()));
        self.control.push_back(Control::Receive(port, generation));
        Ok(port)
    }
}

impl Uring {
    /// Opens a steered port.
    fn open_shared(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        let has_closed = |io: &Self| io.shared.as_ref().is_some_and(|shared| shared.ports.has_closed());
        if has_closed(self) {
            // What came for a port that has closed must not be taken for the next one's of the same number. The kernel gives
            // 32 datagrams a socket and turn; what comes without end is not about a port that has closed a while ago.
            for _ in 0..SHARED_TURNS {
                let before = self.frames.received() as u64 + self.counters.port_closed;
                self.turn(Waiting {
                    completions: 1,
                    timeout: Some(Duration::ZERO),
                    gather: Duration::ZERO,
                })
                .map_err(|_| OpenError::Refused)?;
                if self.frames.received() as u64 + self.counters.port_closed == before {
                    break;
                }
            }
        }
        let shared = self.shared.as_mut().ok_or(OpenError::Refused)?;
        shared.ports.forget_closed();
        shared.ports.open(local)
    }
}

impl Ports for Uring {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        if self.shared.is_some() {
            return self.open_shared(local);
        }
        match self.open_now(local) {
            // A port that was just closed may still be on its way out, in the kernel or in our queue.
            Err(OpenError::InUse | OpenError::Exhausted) if self.slots.closing() > 0 => {
                self.finish_closing().map_err(|_| OpenError::Refused)?;
                self.open_now(local)
            }
            outcome => outcome,
        }
    }

    fn close(&mut self, port: PortId) {
        match &mut self.shared {
            // What is queued leaves from the exit.
            Some(shared) => _ = shared.ports.close(port),
            None => self.close_slot(port),
        }
    }
}

impl Uring {
    fn close_slot(&mut self, port: PortId) {
        let Some(generation) = self.slots.close(port) else {
            return;
        };
        // Sends of this port are in the submission queue already, before these two.
        self.control.push_back(Control::Cancel(port, generation));
        self.control.push_back(Control::CloseFile(port, generation));
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // What is queued for sending leaves, as with any other back-end, and each port is closed by itself: cancelling
        // everything at once has the kernel look through all requests for each of them, which takes seconds for ten
        // thousand.
        for port in self.slots.open_ports() {
            self.close_slot(port);
        }
        self.ending = true;
        self.control.push_back(Control::StopWaker);
        let waiting = Waiting {
            completions: 1,
            timeout: Some(DRAIN_WAIT),
            gather: Duration::ZERO,
        };
        let mut left = u32::MAX;
        let mut turns = 0;
        while turns < DRAIN_TURNS && self.turn(waiting).is_ok() {
            let before = std::mem::replace(&mut left, self.with_kernel());
            if left == 0 {
                break;
            }
            turns = if left < before { 0 } else { turns + 1 };
        }
        // Fails only if the ring is broken, and closing it does the same, later.
        let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
        if self.with_kernel() > 0 {
            // The kernel may still write to frames and read addresses: they are never freed (invariant 6).
            std::mem::forget(std::mem::replace(&mut self.frames, FrameStore::new(1)));
            std::mem::forget(std::mem::replace(&mut self.buffers, BufferRing::new(1)));
            std::mem::forget(std::mem::take(&mut self.outgoing));
            std::mem::forget(std::mem::replace(&mut self.message, Box::new(message_shape(0))));
        }
    }
}
