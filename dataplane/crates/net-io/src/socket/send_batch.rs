//! The arrays of one `sendmmsg`.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::RawAddress;
use crate::counters::SendError;
use crate::frame::{Extent, FramePool};

/// Message headers, each with a frame to send and its destination. All leave from one socket. Owns the frames that
/// were pushed until they are read back with [`Self::frames`] and cleared.
pub(crate) struct SendBatch {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    packets: Vec<(Extent, RawAddress)>,
}

/// What sending a batch came to, besides the outcome of each packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sending {
    pub(crate) system_calls: u64,
    /// The socket takes no more for now.
    pub(crate) blocked: bool,
}

impl SendBatch {
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            headers: vec![super::receive_batch::EMPTY_HEADER; messages].into(),
            vectors: vec![
                libc::iovec {
                    iov_base: ptr::null_mut(),
                    iov_len: 0
                };
                messages
            ]
            .into(),
            packets: Vec::with_capacity(messages),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.packets.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.packets.len() == self.headers.len()
    }

    /// Adds a packet; the batch is not full.
    pub(crate) fn push(&mut self, extent: Extent, to: RawAddress) {
        debug_assert!(!self.is_full());
        self.packets.push((extent, to));
    }

    /// The frames of all packets, sent or not: the kernel is done with them.
    pub(crate) fn frames(&self) -> impl Iterator<Item = u32> {
        self.packets.iter().map(|(extent, _)| extent.index)
    }

    /// Sends the batch without blocking, and reports each packet once and in order: its payload's bytes, or why not.
    ///
    /// `sendmmsg` stops at the first packet that fails and says so only if it was the first of the call; so the call
    /// is repeated from where it stopped, until each packet has an outcome of its own.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        pool: &FramePool,
        mut report: impl FnMut(Result<u32, SendError>),
    ) -> Sending {
        let mut sending = Sending::default();
        let mut next = 0;
        let mut retried = None;
        while next < self.packets.len() {
            sending.system_calls += 1;
            match self.send_from(next, socket, pool) {
                Ok(count) => {
                    // Zero is not documented to happen; moving on keeps this bounded if it does.
                    for (extent, _) in &self.packets[next..next + count] {
                        report(Ok(extent.length.into()));
                    }
                    if count == 0 {
                        report(Err(SendError::Other));
                    }
                    next += count.max(1);
                }
                Err(libc::EINTR) => {}
                // An ICMP answer to an earlier packet, pending on the socket and cleared by being told. This packet
                // was not looked at yet: it gets its own attempt, once.
                Err(libc::ECONNREFUSED) if retried != Some(next) => retried = Some(next),
                Err(errno) => {
                    let kind = SendError::from_errno(errno);
                    // A full socket takes none of the others either; a device's queue may have dropped just this one.
                    if errno == libc::EAGAIN {
                        self.packets[next..].iter().for_each(|_| report(Err(kind)));
                        sending.blocked = true;
                        break;
                    }
                    report(Err(kind));
                    next += 1;
                }
            }
        }
        sending
    }

    fn send_from(&mut self, first: usize, socket: BorrowedFd<'_>, pool: &FramePool) -> Result<usize, i32> {
        for (message, (extent, to)) in self.packets.iter().enumerate().skip(first) {
            let payload = pool.address(extent.index, 0).wrapping_add(extent.start.into());
            self.vectors[message] = libc::iovec {
                iov_base: payload.cast(),
                iov_len: extent.length.into(),
            };
            self.headers[message].msg_hdr = libc::msghdr {
                // The kernel only reads the name of a message that it sends.
                msg_name: to.bytes().as_ptr().cast_mut().cast(),
                msg_namelen: to.length(),
                msg_iov: &raw mut self.vectors[message],
                msg_iovlen: 1,
                ..super::receive_batch::EMPTY_HEADER.msg_hdr
            };
        }
        let headers = &mut self.headers[first..self.packets.len()];
        // SAFETY: validity and bounds: each of the headers points at the address in its packet, of the length said,
        // and at one iovec, which covers an extent that `FramePool` keeps within its frame; all of it lives in boxed
        // slices, a vector that nothing pushes to meanwhile, and the pool, beyond this call. Aliasing: `&mut self`;
        // the frames are queued for sending and nobody writes to them (invariant 1), the kernel only reads.
        // Initialisation and alignment: by their types. Thread: this one.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(count).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}
