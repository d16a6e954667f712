//! The arrays of one `recvmmsg`.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::{ADDRESS_SIZE, RawAddress};
use crate::control::{Control, STEERED_SPACE};
use crate::frame::{Extent, FramePool, HEADROOM, PAYLOAD_MAX};

/// Message headers, each with a frame to receive into and a place for the source address. Owns the frames that are
/// attached to it.
pub(crate) struct ReceiveBatch {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    sources: Box<[[u8; ADDRESS_SIZE]]>,
    controls: Box<[ControlSpace]>,
    /// By message: the frame attached to it; valid from `drained` to `end`.
    frames: Box<[u32]>,
    /// Messages at the front whose frames were taken out after the last call.
    drained: usize,
    end: usize,
}

/// Room for control messages, where the kernel wants it.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct ControlSpace([u8; STEERED_SPACE]);

/// One message of a batch. Its frame is the caller's to free or queue.
pub(crate) struct Datagram {
    /// `None` if the kernel gave an address of a family that no port has.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) truncated: bool,
    /// What the kernel told beside it.
    pub(crate) control: Control,
    pub(crate) extent: Extent,
}

impl ReceiveBatch {
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            headers: vec![EMPTY_HEADER; messages].into(),
            vectors: vec![
                libc::iovec {
                    iov_base: ptr::null_mut(),
                    iov_len: 0
                };
                messages
            ]
            .into(),
            sources: vec![[0; ADDRESS_SIZE]; messages].into(),
            controls: vec![ControlSpace([0; STEERED_SPACE]); messages].into(),
            frames: vec![0; messages].into(),
            drained: 0,
            end: 0,
        }
    }

    /// Frames attached.
    pub(crate) fn frames(&self) -> u32 {
        (self.end - self.drained) as u32
    }

    /// Attaches free frames to the messages that have none. False if there is still not one message to receive.
    pub(crate) fn fill(&mut self, free: &mut Vec<u32>) -> bool {
        for message in 0..self.drained {
            if let Some(index) = free.pop() {
                self.frames[message] = index;
            } else if self.end > self.drained {
                self.end -= 1;
                self.frames[message] = self.frames[self.end];
            } else {
                self.end = message;
                break;
            }
        }
        self.drained = 0;
        while self.end < self.frames.len() {
            let Some(index) = free.pop() else { break };
            self.frames[self.end] = index;
            self.end += 1;
        }
        self.end > 0
    }

    /// Receives into the attached frames without blocking and returns how many were filled. The error is an errno.
    /// Comes after [`Self::fill`].
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, pool: &FramePool) -> Result<usize, i32> {
        debug_assert_eq!(self.drained, 0);
        for message in 0..self.end {
            let frame = pool.address(self.frames[message], HEADROOM);
            self.vectors[message] = libc::iovec {
                iov_base: frame.cast(),
                iov_len: PAYLOAD_MAX,
            };
            self.headers[message].msg_hdr = libc::msghdr {
                msg_name: (&raw mut self.sources[message]).cast(),
                msg_namelen: ADDRESS_SIZE as libc::socklen_t,
                msg_iov: &raw mut self.vectors[message],
                msg_iovlen: 1,
                msg_control: (&raw mut self.controls[message]).cast(),
                msg_controllen: STEERED_SPACE,
                ..EMPTY_HEADER.msg_hdr
            };
        }
        // SAFETY: validity and bounds: the first `end` headers point at their own address and control buffers, of the
        // sizes said, and at one iovec each, which covers PAYLOAD_MAX bytes after the headroom of a frame; all of it
        // lives in boxed slices and the pool, beyond this call. Aliasing: `&mut self` for the arrays; the frames came
        // off the free list and are named here only (invariant 1). Initialisation and alignment: by their types.
        // Thread: this one. The timeout may be null.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.end as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Whether a call that received `count` left none of the attached frames, so that there may be more to receive.
    pub(crate) fn is_full(&self, count: usize) -> bool {
        count == self.end
    }

    /// Takes out the first `count` messages, in order: those that the last call received.
    pub(crate) fn drain(&mut self, count: usize) -> impl Iterator<Item = Datagram> {
        self.drained = count.min(self.end);
        (0..self.drained).map(|message| {
            let header = &self.headers[message];
            let source = self.sources[message].get(..header.msg_hdr.msg_namelen as usize);
            let control = self.controls[message].0.get(..header.msg_hdr.msg_controllen);
            Datagram {
                source: source.and_then(RawAddress::parse),
                control: control.map(Control::parse).unwrap_or_default(),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                extent: Extent {
                    index: self.frames[message],
                    start: HEADROOM as u16,
                    length: header.msg_len.min(PAYLOAD_MAX as u32) as u16,
                },
            }
        })
    }
}

pub(crate) const EMPTY_HEADER: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_frame_is_lost_or_doubled_between_the_batch_and_the_free_list(
            counts in proptest::collection::vec((0usize..9, 0usize..20), 1..60)
        ) {
            let mut batch = ReceiveBatch::new(8);
            let mut free: Vec<u32> = (0..20).collect();
            let mut held: Vec<u32> = Vec::new();
            for (received, released) in counts {
                let any = batch.fill(&mut free);
                prop_assert_eq!(any, batch.frames() > 0);
                prop_assert!(batch.frames() == 8 || free.is_empty());
                let received = received.min(batch.frames() as usize);
                held.extend(batch.drain(received).map(|datagram| datagram.extent.index));
                free.extend(held.drain(..released.min(held.len())));

                let (from, to) = (batch.drained, batch.end);
                let mut all: Vec<u32> = batch.frames[from..to].to_vec();
                all.extend(free.iter().chain(&held));
                all.sort_unstable();
                prop_assert_eq!(all, (0..20).collect::<Vec<u32>>());
            }
        }
    }
}
