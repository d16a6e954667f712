//! The frames that a back-end has itself: free ones, and received ones that wait for the caller.

use std::collections::VecDeque;
use std::net::SocketAddr;

use media_engine::PortId;

use crate::counters::IoCounters;
use crate::frame::{Extent, Frame, FrameAccount, FramePool, HEADROOM, PAYLOAD_MAX};
use crate::packet_io::Received;

/// The pool of a back-end with two of the places of its frames. Those with the kernel are the back-end's own business.
#[derive(Debug)]
pub(crate) struct FrameStore {
    pub(crate) pool: FramePool,
    /// Frames that nobody has; the last one freed is used first, while it is in the cache.
    pub(crate) free: Vec<u32>,
    received: VecDeque<Arrival>,
}

/// A datagram received and not yet handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) port: PortId,
    /// Of the port, when the datagram was received.
    pub(crate) generation: u32,
    pub(crate) source: SocketAddr,
    pub(crate) extent: Extent,
}

impl FrameStore {
    /// All frames free.
    pub(crate) fn new(frames: u32) -> Self {
        Self {
            pool: FramePool::new(frames),
            free: (0..frames).rev().collect(),
            received: VecDeque::with_capacity(frames as usize),
        }
    }

    /// Keeps a datagram for the caller. Does not allocate.
    ///
    /// # Safety
    ///
    /// The back-end owns the frame of the extent, which lies within it: the kernel is done with it, and it is in no other place
    /// (invariant 1 of the crate).
    pub(crate) unsafe fn keep(&mut self, arrival: Arrival) {
        self.received.push_back(arrival);
    }

    /// Datagrams that wait for the caller.
    pub(crate) fn received(&self) -> usize {
        self.received.len()
    }

    /// Hands over the next datagram whose port `is_current`; those before it are counted, and their frames free.
    pub(crate) fn hand_over(
        &mut self,
        counters: &mut IoCounters,
        is_current: impl Fn(PortId, u32) -> bool,
    ) -> Option<Received> {
        while let Some(arrival) = self.received.pop_front() {
            if is_current(arrival.port, arrival.generation) {
                counters.received += 1;
                counters.received_bytes += u64::from(arrival.extent.length);
                // SAFETY: the back-end owns the frame, as whoever called `keep` has promised, and it has just left the queue.
                let frame = unsafe { self.pool.take(arrival.extent) };
                return Some(Received {
                    port: arrival.port,
                    source: arrival.source,
                    frame,
                });
            }
            counters.port_closed += 1;
            self.free.push(arrival.extent.index);
        }
        None
    }

    /// A free frame with this payload for the caller.
    pub(crate) fn fresh(&mut self, payload: &[u8]) -> Option<Frame> {
        if payload.len() > PAYLOAD_MAX {
            return None;
        }
        let extent = Extent {
            index: self.free.pop()?,
            start: HEADROOM as u16,
            length: payload.len() as u16,
        };
        // SAFETY: the index was on the free list, so the back-end owns the frame, and no kernel has it; the extent ends at HEADROOM +
        // PAYLOAD_MAX at most.
        let mut frame = unsafe { self.pool.take(extent) };
        self.pool.payload_mut(&mut frame).copy_from_slice(payload);
        Some(frame)
    }

    /// Takes a frame back from the caller, who has no use for it.
    pub(crate) fn release(&mut self, frame: Frame) {
        let extent = self.pool.put(frame);
        self.free.push(extent.index);
    }

    /// Where all frames are, when the kernel has `receiving` to receive into, and `sending` are on their way out.
    pub(crate) fn account(&self, receiving: u32, sending: u32) -> FrameAccount {
        FrameAccount {
            total: self.pool.frames(),
            idle: self.free.len() as u32 + receiving,
            received: self.received.len() as u32,
            held: self.pool.held(),
            sending,
        }
    }
}
