//! One stream of the load: its packets as bytes, and back.
//!
//! A packet is RTP of 20 ms PCMA whose payload begins with what the receiver has to know: the run (4 bytes), the
//! packet's number (4) and the time that it was sent, nanoseconds since 1970 (8), big-endian. The SSRC is the stream's
//! place.

use crate::reception::Stream;
use crate::speech::{FRAME_BYTES, Law};

const HEADER: usize = 12;
/// Bytes of a packet.
pub const PACKET: usize = HEADER + FRAME_BYTES;

/// Numbers of a stream's packets in one run.
#[derive(Clone, Copy, Debug)]
pub struct LoadStream {
    stream: Stream,
    run: u32,
}

/// What a received packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which stream it belongs to.
    pub place: u32,
    /// In which run it was sent.
    pub run: u32,
    /// Its number in the run, from 0.
    pub number: u32,
    /// When it was sent.
    pub sent_ns: u64,
    /// Its RTP sequence number.
    pub seq: u16,
    /// Its RTP timestamp.
    pub timestamp: u32,
}

impl LoadStream {
    /// Stream `place` in run `run`, whose first packet is the stream's packet `first` since it began.
    pub fn new(place: u32, run: u32, first: u64) -> Self {
        Self {
            stream: Stream {
                ssrc: place,
                first_seq: first as u16,
                first_timestamp: (first as u32).wrapping_mul(FRAME_BYTES as u32),
            },
            run,
        }
    }

    /// What its receiver expects.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Writes packet `number` of the run. Does not allocate.
    pub fn write(&self, number: u32, sent_ns: u64, packet: &mut [u8; PACKET]) {
        packet[0] = 0x80;
        packet[1] = Law::A.payload_type();
        packet[2..4].copy_from_slice(&self.seq(number).to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp(number).to_be_bytes());
        packet[8..12].copy_from_slice(&self.stream.ssrc.to_be_bytes());
        packet[12..16].copy_from_slice(&self.run.to_be_bytes());
        packet[16..20].copy_from_slice(&number.to_be_bytes());
        packet[20..28].copy_from_slice(&sent_ns.to_be_bytes());
        // Silence of the A-law.
        packet[28..].fill(0xd5);
    }

    /// The place of the stream that a packet is of, SRTP or not; `None` if it is too short for RTP.
    pub fn place_of(packet: &[u8]) -> Option<u32> {
        packet
            .get(8..HEADER)
            .and_then(|ssrc| ssrc.try_into().ok())
            .map(u32::from_be_bytes)
    }

    /// Whether the header of a packet of this stream is as it was sent.
    pub fn is_whole(&self, arrived: &Arrived) -> bool {
        arrived.seq == self.seq(arrived.number) && arrived.timestamp == self.timestamp(arrived.number)
    }

    fn seq(&self, number: u32) -> u16 {
        self.stream.first_seq.wrapping_add(number as u16)
    }

    fn timestamp(&self, number: u32) -> u32 {
        self.stream
            .first_timestamp
            .wrapping_add(number.wrapping_mul(FRAME_BYTES as u32))
    }
}

impl Arrived {
    /// Reads a packet; `None` if it is none of the load's, or not as it was sent.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let packet: &[u8; PACKET] = packet.try_into().ok()?;
        if packet[0] != 0x80 || packet[1] != Law::A.payload_type() || packet[PACKET - 1] != 0xd5 {
            return None;
        }
        let word =
            |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        Some(Self {
            place: word(8),
            run: word(12),
            number: word(16),
            sent_ns: u64::from(word(20)) << 32 | u64::from(word(24)),
            seq: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: word(4),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stream = LoadStream::new(7, 3, 65_535);
        let mut packet = [0; PACKET];
        stream.write(2, 0x0123_4567_89ab_cdef, &mut packet);
        let arrived = Arrived::read(&packet).unwrap();
        assert_eq!((arrived.place, arrived.run, arrived.number), (7, 3, 2));
        assert_eq!(arrived.sent_ns, 0x0123_4567_89ab_cdef);
        assert_eq!(arrived.seq, 1, "sequence numbers wrap");
        assert!(stream.is_whole(&arrived));
        assert!(!stream.is_whole(&Arrived { seq: 2, ..arrived }));
    }

    #[test]
    fn other_packets_are_not_read() {
        let mut packet = [0; PACKET];
        LoadStream::new(0, 0, 0).write(0, 0, &mut packet);
        assert!(Arrived::read(&packet[..PACKET - 1]).is_none());
        packet[1] = 0;
        assert!(Arrived::read(&packet).is_none());
    }
}
