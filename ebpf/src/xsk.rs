use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::object::{self, XskObject};
use crate::plain::bytes_of;
use crate::{Error, Program, layout};

/// Hands datagrams to steered ports to AF_XDP sockets, before the kernel's own receive path.
///
/// A datagram goes to the socket of the queue that it came by when that socket's worker owns the port; every other packet goes
/// up, where steering hands it to the owner's UDP socket. So whatever is without a socket, or was taken from it, loses nothing.
#[derive(Debug)]
pub struct Xsks {
    program: Program,
    queues: MapHandle,
    xsks: MapHandle,
}

/// A receive queue of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct XskQueue {
    /// The interface.
    pub ifindex: NonZeroU32,
    /// The queue, from 0 on.
    pub number: u32,
}

impl XskQueue {
    fn key(self) -> layout::Queue {
        layout::Queue {
            ifindex: self.ifindex.get(),
            number: self.number,
        }
    }
}

impl Xsks {
    pub(crate) fn load(owners: &MapHandle, addresses: &MapHandle) -> Result<Self, Error> {
        let XskObject {
            program,
            queues,
            xsks,
        } = object::load_xsk(owners, addresses)?;
        Ok(Self {
            program,
            queues,
            xsks,
        })
    }

    /// The program, to be attached to interfaces.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Gives a queue the socket of a worker, bound to it. `place` is the socket's own among all, below
    /// [`layout::XSKS_MAX`]. Closing the socket makes packets go up again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set(&self, queue: XskQueue, place: u32, worker: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let descriptor = socket.as_raw_fd();
        self.xsks
            .update(&place.to_ne_bytes(), &descriptor.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::libbpf("handing an AF_XDP socket to its program", &error))?;
        let xsk = layout::Xsk {
            place,
            owner: worker + 1,
        };
        self.queues
            .update(bytes_of(&queue.key()), bytes_of(&xsk), MapFlags::ANY)
            .map_err(|error| Error::libbpf("giving a queue its AF_XDP socket", &error))
    }

    /// Takes the socket from a queue: its packets go up. Those that a CPU handles at this moment may still come to the socket.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn clear(&self, queue: XskQueue) -> Result<(), Error> {
        match self.queues.delete(bytes_of(&queue.key())) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                Err(Error::libbpf("taking the AF_XDP socket from a queue", &error))
            }
            _ => Ok(()),
        }
    }
}
