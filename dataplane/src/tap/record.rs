use std::net::{IpAddr, SocketAddr};

use media_engine::DropReason;
use rtrb::{Consumer, Producer};
use sans_io::Timestamp;

/// Bytes of a record's head in the ring.
pub const HEAD_BYTES: usize = 64;

/// One packet that a worker copied, at one side of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the worker took it up: packets of one turn have one time.
    pub at: Timestamp,
    /// Where it was.
    pub place: Place,
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Bytes of its UDP payload.
    pub length: u16,
    /// Bytes of it that were kept.
    pub kept: u16,
    /// The internet checksum's sum over all of the payload, not complemented (RFC 1071).
    pub sum: u16,
    /// Why it was not forwarded.
    pub dropped: Option<DropReason>,
}

/// A side of a line, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// 0 or 1.
    pub leg: u8,
    /// The media line.
    pub line: u16,
    /// To the party; else from it.
    pub sent: bool,
}

impl Record {
    /// Puts it into the ring with the first `kept` bytes of `payload`; false when the ring has no room, and then nothing is.
    ///
    /// Does not allocate or lock.
    pub fn push(&self, ring: &mut Producer<u8>, payload: &[u8]) -> bool {
        let kept = &payload[..usize::from(self.kept)];
        // One writer: what is free stays free.
        ring.slots() >= HEAD_BYTES + kept.len()
            && ring.push_entire_slice(&self.encode()).is_ok()
            && ring.push_entire_slice(kept).is_ok()
    }

    /// The next record, with its payload in `payload`; `None` when there is none that is whole.
    pub fn pop(ring: &mut Consumer<u8>, payload: &mut Vec<u8>) -> Option<Self> {
        let mut head = [0; HEAD_BYTES];
        let chunk = ring.read_chunk(HEAD_BYTES).ok()?;
        let (first, second) = chunk.as_slices();
        head[..first.len()].copy_from_slice(first);
        head[first.len()..].copy_from_slice(second);
        let record = Self::decode(&head)?;
        let bytes = HEAD_BYTES + usize::from(record.kept);
        // The head is there, the payload is not yet.
        let chunk = ring.read_chunk(bytes).ok()?;
        let (first, second) = chunk.as_slices();
        payload.clear();
        payload.extend(first.iter().chain(second).skip(HEAD_BYTES));
        chunk.commit_all();
        Some(record)
    }

    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.at.as_nanos().to_ne_bytes());
        head[8..10].copy_from_slice(&self.length.to_ne_bytes());
        head[10..12].copy_from_slice(&self.kept.to_ne_bytes());
        head[12..14].copy_from_slice(&self.sum.to_ne_bytes());
        head[14..16].copy_from_slice(&self.place.line.to_ne_bytes());
        head[16] = self.place.leg;
        head[17] = u8::from(self.place.sent);
        head[18] = self.dropped.map_or(0, |reason| reason as u8 + 1);
        encode_address(self.source, &mut head[20..40]);
        encode_address(self.destination, &mut head[40..60]);
        head
    }

    fn decode(head: &[u8; HEAD_BYTES]) -> Option<Self> {
        let two = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let at = u64::from_ne_bytes(head[..8].try_into().ok()?);
        let dropped = match head[18] {
            0 => None,
            number => Some(*DropReason::ALL.get(usize::from(number) - 1)?),
        };
        Some(Self {
            at: Timestamp::from_nanos(at),
            length: two(8),
            kept: two(10),
            sum: two(12),
            place: Place {
                line: two(14),
                leg: head[16],
                sent: head[17] == 1,
            },
            dropped,
            source: decode_address(&head[20..40]),
            destination: decode_address(&head[40..60]),
        })
    }
}

/// Port, version, address: 20 bytes.
fn encode_address(address: SocketAddr, field: &mut [u8]) {
    field[..2].copy_from_slice(&address.port().to_ne_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            field[2] = 4;
            field[4..8].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            field[2] = 6;
            field[4..20].copy_from_slice(&ip.octets());
        }
    }
}

fn decode_address(field: &[u8]) -> SocketAddr {
    let port = u16::from_ne_bytes([field[0], field[1]]);
    let mut octets = [0; 16];
    octets.copy_from_slice(&field[4..20]);
    let ip = match field[2] {
        4 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        _ => IpAddr::from(octets),
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use rtrb::RingBuffer;

    use super::*;

    fn record(kept: u16, n: u64) -> Record {
        Record {
            at: Timestamp::from_nanos(n),
            place: Place {
                leg: 1,
                line: 300,
                sent: n.is_multiple_of(2),
            },
            source: "192.0.2.1:4000".parse().expect("an address"),
            destination: "[2001:db8::1]:20000".parse().expect("an address"),
            length: 500,
            kept,
            sum: 0xbeef,
            dropped: (n % 3 == 1).then_some(DropReason::ALL[n as usize % DropReason::COUNT]),
        }
    }

    #[test]
    fn records_come_out_as_they_went_in_also_over_the_rings_end() {
        let (mut writer, mut reader) = RingBuffer::new(1_000);
        let mut payload = Vec::new();
        for n in 0..5_000_u64 {
            let bytes: Vec<u8> = (0..n % 173).map(|byte| (byte + n) as u8).collect();
            let written = record(bytes.len() as u16, n);
            assert!(written.push(&mut writer, &bytes), "{n}");
            assert_eq!(Record::pop(&mut reader, &mut payload), Some(written));
            assert_eq!(payload, bytes);
        }
        assert_eq!(Record::pop(&mut reader, &mut payload), None);
    }

    #[test]
    fn a_full_ring_takes_no_part_of_a_record() {
        let (mut writer, mut reader) = RingBuffer::new(3 * HEAD_BYTES + 20);
        let mut payload = Vec::new();
        for n in 0..3 {
            assert_eq!(record(10, n).push(&mut writer, &[7; 10]), n < 2);
        }
        for n in 0..2 {
            assert_eq!(Record::pop(&mut reader, &mut payload), Some(record(10, n)));
        }
        assert_eq!(Record::pop(&mut reader, &mut payload), None);
        assert!(record(10, 3).push(&mut writer, &[7; 10]));
        // A head without its payload is not a record yet.
        let (mut writer, mut reader) = RingBuffer::new(200);
        writer.push_entire_slice(&record(10, 4).encode()).expect("room");
        assert_eq!(Record::pop(&mut reader, &mut payload), None);
        writer.push_entire_slice(&[1; 10]).expect("room");
        assert_eq!(Record::pop(&mut reader, &mut payload), Some(record(10, 4)));
    }
}
