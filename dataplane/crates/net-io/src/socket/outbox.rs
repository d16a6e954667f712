//! Packets on their way out through `sendmmsg`.

use std::os::fd::BorrowedFd;

use media_engine::PortId;

use super::egress::Egress;
use super::send_batch::SendBatch;
use crate::address::RawAddress;
use crate::counters::{IoCounters, SendError};
use crate::frame::Extent;
use crate::frame_store::FrameStore;

/// A queue for each socket, and the arrays to send one with.
pub(crate) struct Outbox {
    egress: Egress,
    batch: SendBatch,
}

impl Outbox {
    pub(crate) fn new(frames: u32, batch: u32) -> Self {
        Self {
            egress: Egress::new(frames),
            batch: SendBatch::new(batch as usize),
        }
    }

    /// Makes room for a queue, so that queueing does not allocate.
    pub(crate) fn add(&mut self, queue: PortId) {
        self.egress.add_port(queue);
    }

    /// Puts a packet at the end of a queue, which was added.
    pub(crate) fn push(&mut self, queue: PortId, extent: Extent, to: RawAddress) {
        self.egress.push(queue, extent, to);
    }

    /// A queue that has something, which has to be sent next.
    pub(crate) fn next(&mut self) -> Option<PortId> {
        self.egress.next_port()
    }

    /// The queue is about to be sent out of its turn.
    pub(crate) fn forget(&mut self, queue: PortId) {
        self.egress.forget_order(queue);
    }

    /// Packets in all queues.
    pub(crate) fn len(&self) -> u32 {
        self.egress.len()
    }

    /// Sends all of a queue from `socket`, whose packets have `header` bytes of headers of ours. Their frames are free then.
    pub(crate) fn send(
        &mut self,
        queue: PortId,
        socket: BorrowedFd<'_>,
        header: usize,
        frames: &mut FrameStore,
        counters: &mut IoCounters,
    ) {
        loop {
            self.batch.clear();
            while !self.batch.is_full() {
                let Some((extent, to)) = self.egress.pop(queue) else {
                    break;
                };
                self.batch.push(extent, to);
            }
            if self.batch.is_empty() {
                return;
            }
            let outcome = self.batch.send(socket, &frames.pool, |outcome| match outcome {
                Ok(bytes) => {
                    counters.sent += 1;
                    counters.sent_bytes += u64::from(bytes) - header as u64;
                }
                Err(kind) => counters.count_send_error(kind),
            });
            counters.system_calls += outcome.system_calls;
            frames.free.extend(self.batch.frames());
            if outcome.blocked {
                // The rest would only be refused one by one.
                while let Some((extent, _)) = self.egress.pop(queue) {
                    counters.count_send_error(SendError::WouldBlock);
                    frames.free.push(extent.index);
                }
                return;
            }
        }
    }
}
