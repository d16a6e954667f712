use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use libbpf_rs::MapHandle;

use crate::plain::from_bytes;
use crate::ring::Ring;
use crate::{Error, FlowKey, layout};

/// Bytes of a packet, from its IP header on, that a record has at most.
pub const TAP_LENGTH_MAX: u16 = 2_048;
/// And at least: the headers of IPv6 and UDP, which a record's key is read from.
pub const TAP_LENGTH_MIN: u16 = 48;

const RECEIVED: u8 = 0;

/// Which side of the relay a tapped packet was seen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As it came, before any check but that of its port: what is refused is among them, and is not sent.
    Received,
    /// As it left.
    Sent,
}

/// A packet of a tapped flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapRecord {
    /// When, in ns of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Where it came to, for packets of both directions.
    pub key: FlowKey,
    /// The side.
    pub direction: Direction,
    /// Bytes that the packet had, from its IP header on.
    pub length: u16,
    /// The packet from its IP header on, cut at the tap's length.
    pub packet: Vec<u8>,
}

/// The reader of what a relay's taps copy ([`crate::FlowTable::set_tap`]). One a relay. Ends nothing when it is dropped.
#[derive(Debug)]
pub struct Taps {
    ring: Ring<TapRecord>,
}

impl Taps {
    pub(crate) fn new(map: MapHandle) -> Result<Self, Error> {
        Ok(Self {
            ring: Ring::new(map, decode)?,
        })
    }

    /// The next record, oldest first; `None` when all are read. Does not wait.
    pub fn next_record(&mut self) -> Result<Option<TapRecord>, Error> {
        self.ring.next()
    }
}

/// Readable when there are records.
impl AsFd for Taps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Taps {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_fd().as_raw_fd()
    }
}

fn decode(record: &[u8]) -> Option<TapRecord> {
    let (head, rest) = record.split_at_checked(size_of::<layout::Tap>())?;
    let head: layout::Tap = from_bytes(head)?;
    Some(TapRecord {
        at_ns: head.at_ns,
        key: FlowKey::decode(&head.key),
        direction: match head.direction {
            RECEIVED => Direction::Received,
            _ => Direction::Sent,
        },
        length: head.length,
        packet: rest.get(..usize::from(head.captured))?.to_vec(),
    })
}
