use crate::{PayloadType, RtpTimestamp, Seq, Ssrc};

/// Length of the fixed header, without CSRCs and extension.
pub const FIXED_HEADER_LEN: usize = 12;

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than the fixed header and its CSRC list take.
    #[error("the header is cut short")]
    Truncated,
    /// The version is not 2.
    #[error("the version is not 2")]
    Version,
    /// The header extension runs beyond the end.
    #[error("the header extension is cut short")]
    Extension,
    /// The padding count is zero or larger than what follows the header.
    #[error("the padding does not fit")]
    Padding,
}

impl PacketError {
    /// The label of the drop counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "rtp_truncated",
            Self::Version => "rtp_version",
            Self::Extension => "rtp_extension",
            Self::Padding => "rtp_padding",
        }
    }
}

/// A header extension as RFC 3550 §5.3.1 has it, its content not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The 16 bits defined by the profile, such as 0xBEDE of RFC 8285.
    pub profile: u16,
    /// Whole 32-bit words.
    pub data: &'a [u8],
}

/// A view of an RTP packet (RFC 3550 §5.1): borrows the datagram, copies nothing, is checked once by [`Self::parse`].
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    header_len: usize,
    payload_end: usize,
}

impl<'a> Packet<'a> {
    /// Checks everything that the header claims about lengths (RFC 3550 §A.1: version, CSRC count, extension,
    /// padding). Does not allocate.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let Some(fixed) = bytes.first_chunk::<FIXED_HEADER_LEN>() else {
            return Err(PacketError::Truncated);
        };
        let first = fixed[0];
        if first >> 6 != 2 {
            return Err(PacketError::Version);
        }
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(first & 0x0f);
        if bytes.len() < header_len {
            return Err(PacketError::Truncated);
        }
        if first & 0x10 != 0 {
            let Some(extension) = bytes[header_len..].first_chunk::<4>() else {
                return Err(PacketError::Extension);
            };
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            header_len += 4 + 4 * usize::from(words);
            if bytes.len() < header_len {
                return Err(PacketError::Extension);
            }
        }
        let mut payload_end = bytes.len();
        if first & 0x20 != 0 {
            // The last byte counts itself (§5.1), so zero is a contradiction.
            let padding = usize::from(bytes[bytes.len() - 1]);
            if padding == 0 || padding > bytes.len() - header_len {
                return Err(PacketError::Padding);
            }
            payload_end -= padding;
        }
        Ok(Self {
            bytes,
            header_len,
            payload_end,
        })
    }

    /// The whole datagram.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the marker bit means is up to the payload format: the first packet after silence for speech, the last
    /// of a frame for video.
    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// The payload format.
    pub fn payload_type(&self) -> PayloadType {
        PayloadType::from_low_bits(self.bytes[1])
    }

    /// The sequence number.
    pub fn seq(&self) -> Seq {
        Seq(u16::from_be_bytes([self.bytes[2], self.bytes[3]]))
    }

    /// The sampling instant.
    pub fn timestamp(&self) -> RtpTimestamp {
        RtpTimestamp(self.word(4))
    }

    /// The stream.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.word(8))
    }

    /// The streams that a mixer mixed into this one, at most 15.
    pub fn csrcs(&self) -> impl ExactSizeIterator<Item = Ssrc> + use<'a> {
        let count = usize::from(self.bytes[0] & 0x0f);
        let words = self.bytes[FIXED_HEADER_LEN..FIXED_HEADER_LEN + 4 * count].chunks_exact(4);
        words.map(|w| Ssrc(u32::from_be_bytes([w[0], w[1], w[2], w[3]])))
    }

    /// The header extension, if there is one.
    pub fn extension(&self) -> Option<Extension<'a>> {
        if self.bytes[0] & 0x10 == 0 {
            return None;
        }
        let start = FIXED_HEADER_LEN + 4 * usize::from(self.bytes[0] & 0x0f);
        let profile = u16::from_be_bytes([self.bytes[start], self.bytes[start + 1]]);
        Some(Extension {
            profile,
            data: &self.bytes[start + 4..self.header_len],
        })
    }

    /// Header, CSRCs and extension, in bytes.
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len..self.payload_end]
    }

    /// Padding at the end, its count byte included; 0 without padding.
    pub const fn padding_len(&self) -> usize {
        self.bytes.len() - self.payload_end
    }

    /// The big-endian 32 bits at `at`, which is inside the fixed header.
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([
            self.bytes[at],
            self.bytes[at + 1],
            self.bytes[at + 2],
            self.bytes[at + 3],
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two CSRCs, an extension of one word, three bytes of payload and two of padding.
    const FULL: [u8; 33] = [
        0xb2,
        0x80 | 8,
        0x12,
        0x34,
        0x00,
        0x01,
        0x02,
        0x03,
        0xde,
        0xad,
        0xbe,
        0xef, // fixed header
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2, // CSRCs
        0xbe,
        0xde,
        0,
        1,
        0x10,
        0xaa,
        0,
        0, // extension
        7,
        8,
        9,
        0,
        2, // payload and padding
    ];

    #[test]
    fn every_field_of_a_full_packet_is_read() {
        let packet = Packet::parse(&FULL).unwrap();
        assert!(packet.marker());
        assert_eq!(packet.payload_type(), PayloadType::PCMA);
        assert_eq!(packet.seq(), Seq(0x1234));
        assert_eq!(packet.timestamp(), RtpTimestamp(0x0001_0203));
        assert_eq!(packet.ssrc(), Ssrc(0xdead_beef));
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        let extension = packet.extension().unwrap();
        assert_eq!(
            (extension.profile, extension.data),
            (0xbede, &[0x10, 0xaa, 0, 0][..])
        );
        assert_eq!(packet.header_len(), 28);
        assert_eq!(packet.payload(), [7, 8, 9]);
        assert_eq!(packet.padding_len(), 2);
        assert_eq!(packet.bytes(), FULL);
    }

    #[test]
    fn every_shorter_length_is_refused_with_the_part_that_is_missing() {
        for len in 0..FULL.len() {
            let mut bytes = FULL[..len].to_vec();
            let expected = match len {
                0..20 => PacketError::Truncated,
                20..28 => PacketError::Extension,
                // Cut within payload and padding, the last byte is read as padding count.
                28..33 => match bytes.last_mut() {
                    Some(last) => {
                        *last = 200;
                        PacketError::Padding
                    }
                    None => unreachable!("28 bytes are not none"),
                },
                _ => unreachable!("shorter than the packet"),
            };
            assert_eq!(Packet::parse(&bytes).unwrap_err(), expected, "length {len}");
        }
    }

    #[test]
    fn padding_may_take_all_of_the_payload_and_no_more() {
        let mut bytes = [0u8; 16];
        bytes[0] = 0xa0;
        for (count, ok) in [(0, false), (1, true), (4, true), (5, false), (255, false)] {
            bytes[15] = count;
            assert_eq!(Packet::parse(&bytes).is_ok(), ok, "padding {count}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [0u8, 1, 3] {
            let mut bytes = [0u8; 12];
            bytes[0] = version << 6;
            assert_eq!(Packet::parse(&bytes).unwrap_err(), PacketError::Version);
        }
    }
}
