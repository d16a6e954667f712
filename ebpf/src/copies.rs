use std::collections::VecDeque;
use std::fmt;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use crate::plain::from_bytes;
use crate::{Error, FlowKey, layout};

/// The copy of an RTCP datagram that was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtcpCopy {
    /// Where it came to.
    pub key: FlowKey,
    /// When it came, in ns of CLOCK_MONOTONIC.
    pub arrival_ns: u64,
    /// Bytes of RTCP that it had. More than `payload` has when it was longer than 1,456.
    pub length: u16,
    /// The RTCP, unchecked but for the length of its first packet.
    pub payload: Vec<u8>,
}

/// The reader of a relay's RTCP copies. One a relay.
pub struct RtcpCopies {
    ring: RingBuffer<'static>,
    /// What libbpf has handed over; taken by the same thread, so that nobody ever waits for it.
    read: Arc<Mutex<VecDeque<RtcpCopy>>>,
    map: MapHandle,
}

impl RtcpCopies {
    pub(crate) fn new(map: MapHandle) -> Result<Self, Error> {
        let failed = |error: libbpf_rs::Error| Error::libbpf("mapping the ring of copies", &error);
        let read = Arc::new(Mutex::new(VecDeque::new()));
        let queue = Arc::clone(&read);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&map, move |record| {
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.extend(decode(record));
                0
            })
            .map_err(failed)?;
        let ring = builder.build().map_err(failed)?;
        Ok(Self { ring, read, map })
    }

    /// The next copy, oldest first; `None` when all are read. Does not wait.
    pub fn next_copy(&mut self) -> Result<Option<RtcpCopy>, Error> {
        let next = self.pop();
        if next.is_some() {
            return Ok(next);
        }
        self.ring
            .consume()
            .map_err(|error| Error::libbpf("reading the ring of copies", &error))?;
        Ok(self.pop())
    }

    fn pop(&self) -> Option<RtcpCopy> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.pop_front()
    }
}

/// Readable when there are copies.
impl AsFd for RtcpCopies {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl AsRawFd for RtcpCopies {
    fn as_raw_fd(&self) -> RawFd {
        self.map.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for RtcpCopies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcpCopies").finish_non_exhaustive()
    }
}

fn decode(record: &[u8]) -> Option<RtcpCopy> {
    let (head, rest) = record.split_at_checked(size_of::<layout::Copy>())?;
    let head: layout::Copy = from_bytes(head)?;
    Some(RtcpCopy {
        key: FlowKey::decode(&head.key),
        arrival_ns: head.arrival_ns,
        length: head.length,
        payload: rest.get(..usize::from(head.captured))?.to_vec(),
    })
}
