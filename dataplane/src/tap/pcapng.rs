//! Writes pcapng (draft-ietf-opsawg-pcapng), which Wireshark, tshark and capinfos read: one section in little-endian order, times in
//! nanoseconds, packets from their IP header on.

use std::io::{self, Write};

// Block types (§4).
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Written in the order of the writer's bytes, by which a reader knows it (§4.1).
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_RAW`: IPv4 or IPv6 by the first four bits.
const RAW_IP: u16 = 101;
/// Times are in units of 10⁻⁹ s.
const NANOSECONDS: u8 = 9;

/// Options of any block, and of these (§3.5, §4).
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const SECTION_OS: u16 = 3;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_DESCRIPTION: u16 = 3;
const INTERFACE_TIME_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const STATISTICS_START: u16 = 2;
const STATISTICS_END: u16 = 3;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_DROPPED: u16 = 5;
const STATISTICS_DELIVERED: u16 = 8;

/// Which way a packet went, seen from the node (§4.3.1, `epb_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the node.
    Inbound,
    /// From it.
    Outbound,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What [`Writer::interface`] answered.
    pub interface: u32,
    /// Since 1970.
    pub unix_ns: u64,
    /// From the IP header on, maybe cut off.
    pub bytes: &'a [u8],
    /// Bytes of the whole packet.
    pub length: u32,
    /// Which way it went.
    pub way: Way,
    /// A word about it; none when empty.
    pub comment: &'a str,
}

/// What was captured on an interface, and what was not.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// What [`Writer::interface`] answered.
    pub interface: u32,
    /// The capture's time, since 1970.
    pub from_unix_ns: u64,
    /// Its end.
    pub until_unix_ns: u64,
    /// Packets in the file.
    pub captured: u64,
    /// Packets for which there was no room.
    pub left_out: u64,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    interfaces: u32,
    /// One block at a time is put together here.
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins with the section header.
    ///
    /// # Errors
    /// As `out`.
    pub fn new(out: W, application: &str) -> io::Result<Self> {
        let mut writer = Self {
            out,
            interfaces: 0,
            block: Vec::new(),
        };
        writer.begin(SECTION);
        writer.put(&BYTE_ORDER.to_le_bytes());
        // Version 1.0, and a section of unknown length.
        writer.put(&1_u16.to_le_bytes());
        writer.put(&0_u16.to_le_bytes());
        writer.put(&(-1_i64).to_le_bytes());
        writer.option(SECTION_OS, std::env::consts::OS.as_bytes());
        writer.option(SECTION_APPLICATION, application.as_bytes());
        writer.end()?;
        Ok(writer)
    }

    /// Describes an interface; its packets carry the number that is returned.
    ///
    /// # Errors
    /// As `out`.
    pub fn interface(&mut self, name: &str, description: &str) -> io::Result<u32> {
        self.begin(INTERFACE);
        self.put(&RAW_IP.to_le_bytes());
        self.put(&[0; 2]);
        // No limit of a packet's length.
        self.put(&[0; 4]);
        self.option(INTERFACE_NAME, name.as_bytes());
        self.option(INTERFACE_DESCRIPTION, description.as_bytes());
        self.option(INTERFACE_TIME_RESOLUTION, &[NANOSECONDS]);
        self.end()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// As `out`.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.begin(PACKET);
        self.put(&packet.interface.to_le_bytes());
        self.put(&time(packet.unix_ns));
        self.put(&(packet.bytes.len() as u32).to_le_bytes());
        self.put(&packet.length.to_le_bytes());
        self.put(packet.bytes);
        self.pad();
        if !packet.comment.is_empty() {
            self.option(COMMENT, packet.comment.as_bytes());
        }
        let flags: u32 = match packet.way {
            Way::Inbound => 1,
            Way::Outbound => 2,
        };
        self.option(PACKET_FLAGS, &flags.to_le_bytes());
        self.end()
    }

    /// Says what an interface's packets are, at the end.
    ///
    /// # Errors
    /// As `out`.
    pub fn statistics(&mut self, statistics: &Statistics, comment: &str) -> io::Result<()> {
        let Statistics {
            interface,
            from_unix_ns,
            until_unix_ns,
            captured,
            left_out,
        } = statistics;
        self.begin(STATISTICS);
        self.put(&interface.to_le_bytes());
        self.put(&time(*until_unix_ns));
        if !comment.is_empty() {
            self.option(COMMENT, comment.as_bytes());
        }
        self.option(STATISTICS_START, &time(*from_unix_ns));
        self.option(STATISTICS_END, &time(*until_unix_ns));
        self.option(STATISTICS_RECEIVED, &(captured + left_out).to_le_bytes());
        self.option(STATISTICS_DROPPED, &left_out.to_le_bytes());
        self.option(STATISTICS_DELIVERED, &captured.to_le_bytes());
        self.end()
    }

    /// Hands everything on to the file below.
    ///
    /// # Errors
    /// As `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.put(&kind.to_le_bytes());
        // The length, known at the end.
        self.put(&[0; 4]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    /// Everything begins at a multiple of four.
    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // A longer text than an option can hold is cut; nothing here writes one.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.put(&code.to_le_bytes());
        self.put(&(value.len() as u16).to_le_bytes());
        self.put(value);
        self.pad();
    }

    fn end(&mut self) -> io::Result<()> {
        self.option(END_OF_OPTIONS, &[]);
        let length = (self.block.len() as u32 + 4).to_le_bytes();
        self.block[4..8].copy_from_slice(&length);
        self.put(&length);
        self.out.write_all(&self.block)
    }
}

/// The high half of a time comes first, in either byte order (§4.3).
fn time(unix_ns: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&((unix_ns >> 32) as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(unix_ns as u32).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_lengths_at_both_ends_and_lie_at_multiples_of_four() {
        let mut writer = Writer::new(Vec::new(), "ringpath").expect("memory");
        let interface = writer.interface("a", "leg a").expect("memory");
        for length in 0..9 {
            let packet = Packet {
                interface,
                unix_ns: 0x1122_3344_5566_7788,
                bytes: &[0x45; 9][..length],
                length: 100,
                way: Way::Inbound,
                comment: &"comment"[..length.min(7)],
            };
            writer.packet(&packet).expect("memory");
        }
        let statistics = Statistics {
            interface,
            from_unix_ns: 1,
            until_unix_ns: 2,
            captured: 9,
            left_out: 3,
        };
        writer.statistics(&statistics, "").expect("memory");
        let (mut rest, mut kinds) = (&writer.out[..], Vec::new());
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four"));
            let length = word(4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(length - 4) as usize, length);
            kinds.push(word(0));
            rest = &rest[length..];
        }
        assert_eq!(kinds[..2], [SECTION, INTERFACE]);
        assert_eq!(kinds[2..11], [PACKET; 9]);
        assert_eq!(kinds[11..], [STATISTICS]);
        assert_eq!(
            time(0x1122_3344_5566_7788),
            [0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55]
        );
    }
}
