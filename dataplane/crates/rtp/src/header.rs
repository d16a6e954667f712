use crate::{FIXED_HEADER_LEN, PayloadType, RtpTimestamp, Seq, Ssrc};

/// The fixed header of a packet to be sent, without CSRCs, extension and padding (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Its meaning is up to the payload format.
    pub marker: bool,
    /// The payload format.
    pub payload_type: PayloadType,
    /// The sequence number.
    pub seq: Seq,
    /// The sampling instant of the first byte of payload.
    pub timestamp: RtpTimestamp,
    /// The stream.
    pub ssrc: Ssrc,
}

impl Header {
    /// The header as it goes before the payload.
    pub fn to_bytes(&self) -> [u8; FIXED_HEADER_LEN] {
        let mut bytes = [0; FIXED_HEADER_LEN];
        bytes[0] = 2 << 6;
        bytes[1] = u8::from(self.marker) << 7 | self.payload_type.value();
        bytes[2..4].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.0.to_be_bytes());
        bytes
    }

    /// The header of the next packet of the stream: one number on, `units` of the RTP clock later, no marker.
    #[must_use]
    pub const fn next(&self, units: u32) -> Self {
        Self {
            marker: false,
            seq: self.seq.wrapping_add(1),
            timestamp: self.timestamp.wrapping_add(units),
            ..*self
        }
    }

    /// Writes header and payload to the start of `buffer`; how many bytes, or `None` when they do not fit.
    pub fn write(&self, payload: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let len = FIXED_HEADER_LEN + payload.len();
        let packet = buffer.get_mut(..len)?;
        packet[..FIXED_HEADER_LEN].copy_from_slice(&self.to_bytes());
        packet[FIXED_HEADER_LEN..].copy_from_slice(payload);
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Packet;

    #[test]
    fn the_next_header_wraps() {
        let last = Header {
            seq: Seq(65_535),
            timestamp: RtpTimestamp(u32::MAX),
            marker: true,
            ..Header::default()
        };
        let next = last.next(160);
        assert_eq!(
            (next.seq, next.timestamp, next.marker),
            (Seq(0), RtpTimestamp(159), false)
        );
    }

    #[test]
    fn a_buffer_too_small_is_left_alone() {
        let mut buffer = [9; 20];
        assert_eq!(Header::default().write(&[1; 9], &mut buffer), None);
        assert_eq!(buffer, [9; 20]);
        assert_eq!(Header::default().write(&[1; 8], &mut buffer), Some(20));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            marker: bool, payload_type in 0u8..128, seq: u16, timestamp: u32, ssrc: u32,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let header = Header {
                marker,
                payload_type: PayloadType::new(payload_type).unwrap(),
                seq: Seq(seq),
                timestamp: RtpTimestamp(timestamp),
                ssrc: Ssrc(ssrc),
            };
            let mut buffer = [0; 128];
            let len = header.write(&payload, &mut buffer).unwrap();
            let packet = Packet::parse(&buffer[..len]).unwrap();
            let read = Header {
                marker: packet.marker(),
                payload_type: packet.payload_type(),
                seq: packet.seq(),
                timestamp: packet.timestamp(),
                ssrc: packet.ssrc(),
            };
            prop_assert_eq!(read, header);
            prop_assert_eq!(packet.payload(), &payload[..]);
        }
    }
}
