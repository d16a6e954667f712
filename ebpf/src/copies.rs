use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use libbpf_rs::MapHandle;

use crate::plain::from_bytes;
use crate::ring::Ring;
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
#[derive(Debug)]
pub struct RtcpCopies {
    ring: Ring<RtcpCopy>,
}

impl RtcpCopies {
    pub(crate) fn new(map: MapHandle) -> Result<Self, Error> {
        Ok(Self {
            ring: Ring::new(map, decode)?,
        })
    }

    /// The next copy, oldest first; `None` when all are read. Does not wait.
    pub fn next_copy(&mut self) -> Result<Option<RtcpCopy>, Error> {
        self.ring.next()
    }
}

/// Readable when there are copies.
impl AsFd for RtcpCopies {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for RtcpCopies {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_fd().as_raw_fd()
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
