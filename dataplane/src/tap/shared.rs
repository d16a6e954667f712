use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use media_engine::CallPorts;
use sans_io::Timestamp;

use super::record::Place;

/// Why a worker takes no more packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ended {
    /// It has as many as were asked for.
    Packets = 1,
    /// The call has ended.
    Gone = 2,
    /// The node stops.
    Stopping = 3,
}

/// What a worker tells the control thread of a tap besides its packets.
#[derive(Debug)]
pub struct Shared {
    /// By [`Self::index`].
    left_out: Box<[AtomicU64]>,
    /// An [`Ended`]; 0 while it is at work.
    ended: AtomicU8,
    ended_at: AtomicU64,
    /// Taken with commands only, never for a packet.
    ports: Mutex<Option<CallPorts>>,
    ports_version: AtomicU32,
}

impl Shared {
    /// For a call of at most `lines_max` lines a leg.
    pub fn new(lines_max: usize) -> Self {
        Self {
            left_out: (0..lines_max * 4).map(|_| AtomicU64::new(0)).collect(),
            ended: AtomicU8::new(0),
            ended_at: AtomicU64::new(0),
            ports: Mutex::new(None),
            ports_version: AtomicU32::new(0),
        }
    }

    fn index(place: Place) -> usize {
        usize::from(place.line) * 4 + usize::from(place.leg) * 2 + usize::from(place.sent)
    }

    /// A packet found no room in the ring. One writer; does not lock.
    pub fn count_left_out(&self, place: Place) {
        if let Some(count) = self.left_out.get(Self::index(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Packets that found no room.
    pub fn left_out(&self, place: Place) -> u64 {
        self.left_out
            .get(Self::index(place))
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The places that left packets out.
    pub fn places_left_out(&self) -> Vec<Place> {
        (0..self.left_out.len())
            .map(|index| Place {
                line: (index / 4) as u16,
                leg: (index / 2 % 2) as u8,
                sent: index % 2 == 1,
            })
            .filter(|place| self.left_out(*place) > 0)
            .collect()
    }

    /// The worker takes no more, and what comes from now on is no longer the call's.
    pub fn end(&self, now: Timestamp, cause: Ended) {
        self.ended_at.store(now.as_nanos(), Ordering::Relaxed);
        self.ended.store(cause as u8, Ordering::Release);
    }

    /// Why and when it ended.
    pub fn ended(&self) -> Option<(Ended, Timestamp)> {
        let cause = match self.ended.load(Ordering::Acquire) {
            1 => Ended::Packets,
            2 => Ended::Gone,
            3 => Ended::Stopping,
            _ => return None,
        };
        Some((
            cause,
            Timestamp::from_nanos(self.ended_at.load(Ordering::Relaxed)),
        ))
    }

    /// The call's ports are these now.
    pub fn set_ports(&self, ports: CallPorts) {
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = Some(ports);
        self.ports_version.fetch_add(1, Ordering::Release);
    }

    /// The call's ports, when they are others than at `version`, which becomes today's.
    pub fn new_ports(&self, version: &mut u32) -> Option<CallPorts> {
        let today = self.ports_version.load(Ordering::Acquire);
        if today == *version {
            return None;
        }
        *version = today;
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
