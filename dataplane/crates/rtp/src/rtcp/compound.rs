use super::{App, Bye, Feedback, ReceiverReport, SenderReport, SourceDescription, packet_type, short::word};

/// Why bytes are not RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RtcpError {
    /// Less than a header, at the start or after a packet.
    #[error("a header is cut short")]
    Truncated,
    /// A packet whose version is not 2.
    #[error("the version is not 2")]
    Version,
    /// A packet type outside 192 to 223 (RFC 5761 §4).
    #[error("no RTCP packet type")]
    PacketType,
    /// A length field that points beyond the end of the datagram.
    #[error("a length runs beyond the end")]
    Length,
    /// A packet too short for the reports, sources or identifiers that its header promises.
    #[error("a packet is too short for its contents")]
    Contents,
    /// Padding in a packet that is not the last, or a padding count that does not fit (RFC 3550 §6.4.1).
    #[error("the padding does not fit")]
    Padding,
}

impl RtcpError {
    /// The label of the drop counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "rtcp_truncated",
            Self::Version => "rtcp_version",
            Self::PacketType => "rtcp_packet_type",
            Self::Length => "rtcp_length",
            Self::Contents => "rtcp_contents",
            Self::Padding => "rtcp_padding",
        }
    }
}

/// A checked compound packet: one datagram of RTCP.
///
/// The rule that it begin with a report and hold an SDES is not enforced: reduced-size RTCP (RFC 5506) breaks it on
/// purpose, and a relay has nothing to gain from refusing the rest.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a>(&'a [u8]);

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RtcpPacket<'a> {
    /// RFC 3550 §6.4.1.
    SenderReport(SenderReport<'a>),
    /// RFC 3550 §6.4.2.
    ReceiverReport(ReceiverReport<'a>),
    /// RFC 3550 §6.5.
    SourceDescription(SourceDescription<'a>),
    /// RFC 3550 §6.6.
    Bye(Bye<'a>),
    /// RFC 3550 §6.7.
    App(App<'a>),
    /// RFC 4585 §6.2.
    TransportFeedback(Feedback<'a>),
    /// RFC 4585 §6.3.
    PayloadFeedback(Feedback<'a>),
    /// An extended report (RFC 3611) or a type that is not known here, whole.
    Other {
        /// 192 to 223.
        packet_type: u8,
        /// The packet with its header.
        bytes: &'a [u8],
    },
}

impl<'a> Compound<'a> {
    /// Checks the lengths of every packet in `bytes` (RFC 3550 §A.2). Does not allocate.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtcpError> {
        let mut rest = bytes;
        loop {
            let (packet, after) = split(rest)?;
            if packet[0] & 0x20 != 0 {
                let padding = usize::from(packet[packet.len() - 1]);
                let fits = padding != 0 && padding.is_multiple_of(4) && padding <= packet.len() - 4;
                if !after.is_empty() || !fits {
                    return Err(RtcpError::Padding);
                }
            }
            if unpadded(packet).len() < contents_len_min(packet) {
                return Err(RtcpError::Contents);
            }
            if after.is_empty() {
                return Ok(Self(bytes));
            }
            rest = after;
        }
    }

    /// The packets in order.
    pub const fn packets(&self) -> Packets<'a> {
        Packets(self.0)
    }

    /// The SSRC of who sent it, as the first packet has it; `None` when that is of a type without one.
    pub fn sender(&self) -> Option<crate::Ssrc> {
        self.packets().next().and_then(|packet| packet.sender())
    }

    /// The whole datagram.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Iterator over the packets of a [`Compound`].
#[derive(Clone, Debug)]
pub struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        let (packet, after) = split(self.0).ok()?;
        self.0 = after;
        let bytes = unpadded(packet);
        Some(match packet[1] {
            packet_type::SR => RtcpPacket::SenderReport(SenderReport(bytes)),
            packet_type::RR => RtcpPacket::ReceiverReport(ReceiverReport(bytes)),
            packet_type::SDES => RtcpPacket::SourceDescription(SourceDescription(bytes)),
            packet_type::BYE => RtcpPacket::Bye(Bye(bytes)),
            packet_type::APP => RtcpPacket::App(App(bytes)),
            packet_type::RTPFB => RtcpPacket::TransportFeedback(Feedback(bytes)),
            packet_type::PSFB => RtcpPacket::PayloadFeedback(Feedback(bytes)),
            packet_type => RtcpPacket::Other { packet_type, bytes },
        })
    }
}

/// The first packet of `bytes` and what follows it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), RtcpError> {
    let Some(header) = bytes.first_chunk::<4>() else {
        return Err(RtcpError::Truncated);
    };
    if header[0] >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    if !(192..=223).contains(&header[1]) {
        return Err(RtcpError::PacketType);
    }
    // In 32-bit words less one, header and padding included (§6.4.1).
    let len = 4 * (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1);
    bytes.split_at_checked(len).ok_or(RtcpError::Length)
}

/// A packet without its padding, whose count was checked.
fn unpadded(packet: &[u8]) -> &[u8] {
    if packet[0] & 0x20 == 0 {
        return packet;
    }
    let padding = usize::from(packet[packet.len() - 1]);
    &packet[..packet.len().saturating_sub(padding).max(4)]
}

/// The least that the packet must hold by its type and its count field, so that the views can index without asking.
fn contents_len_min(packet: &[u8]) -> usize {
    let count = usize::from(packet[0] & 0x1f);
    match packet[1] {
        packet_type::SR => 28 + 24 * count,
        packet_type::RR => 8 + 24 * count,
        packet_type::BYE => 4 + 4 * count,
        packet_type::APP | packet_type::RTPFB | packet_type::PSFB => 12,
        packet_type::XR => 8,
        // An SDES chunk is at least its SSRC and one word with the end item; the iterator stops where they end.
        packet_type::SDES => 4 + 8 * count,
        _ => 4,
    }
}

impl RtcpPacket<'_> {
    /// The SSRC of who sent this packet, where the type has one.
    pub fn sender(&self) -> Option<crate::Ssrc> {
        let bytes = match self {
            Self::SenderReport(p) => p.0,
            Self::ReceiverReport(p) => p.0,
            Self::App(p) => p.0,
            Self::TransportFeedback(p) | Self::PayloadFeedback(p) => p.0,
            Self::Other {
                packet_type: packet_type::XR,
                bytes,
            } => bytes,
            _ => return None,
        };
        Some(crate::Ssrc(word(bytes, 4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ssrc;

    /// SR with one block, SDES with a CNAME, BYE with a reason: a compound as endpoints send it.
    fn compound() -> Vec<u8> {
        let mut bytes = vec![0x81, 200, 0, 12];
        for word in [0x1111_1111u32, 0xd000_0001, 0x8000_0000, 160_000, 1_000, 160_000] {
            bytes.extend(word.to_be_bytes());
        }
        for word in [
            0x2222_2222u32,
            0x4000_0005,
            0x0001_0010,
            33,
            0x0001_8000,
            0x0000_8000,
        ] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([
            0x81, 202, 0, 3, 0x11, 0x11, 0x11, 0x11, 1, 4, b'a', b'@', b'b', b'c', 0, 0,
        ]);
        bytes.extend([0x81, 203, 0, 2, 0x11, 0x11, 0x11, 0x11, 3, b'b', b'y', b'e']);
        bytes
    }

    #[test]
    fn the_packets_of_a_compound_come_in_order() {
        let bytes = compound();
        let compound = Compound::parse(&bytes).unwrap();
        let mut packets = compound.packets();
        let Some(RtcpPacket::SenderReport(report)) = packets.next() else {
            panic!("no SR")
        };
        assert_eq!(report.ssrc(), Ssrc(0x1111_1111));
        let info = report.info();
        assert_eq!((info.ntp, info.rtp.0), (0xd000_0001_8000_0000, 160_000));
        assert_eq!((info.packets, info.bytes), (1_000, 160_000));
        assert_eq!(info.ntp_middle(), 0x0001_8000);
        let blocks: Vec<_> = report.blocks().collect();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].ssrc, Ssrc(0x2222_2222));
        assert_eq!((blocks[0].fraction_lost, blocks[0].lost), (0x40, 5));
        assert_eq!(
            (blocks[0].highest_seq, blocks[0].jitter_rtp_units),
            (0x0001_0010, 33)
        );
        assert_eq!(
            (blocks[0].last_sr, blocks[0].delay_since_last_sr),
            (0x0001_8000, 0x8000)
        );
        let Some(RtcpPacket::SourceDescription(sdes)) = packets.next() else {
            panic!("no SDES")
        };
        let chunk = sdes.chunks().next().unwrap();
        assert_eq!(chunk.ssrc, Ssrc(0x1111_1111));
        let items: Vec<_> = chunk.items().collect();
        assert_eq!(
            (items[0].kind, items[0].text),
            (super::super::item::CNAME, &b"a@bc"[..])
        );
        assert_eq!((items.len(), sdes.chunks().count()), (1, 1));
        let Some(RtcpPacket::Bye(bye)) = packets.next() else {
            panic!("no BYE")
        };
        assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [Ssrc(0x1111_1111)]);
        assert_eq!(bye.reason(), Some(&b"bye"[..]));
        assert!(packets.next().is_none());
    }

    #[test]
    fn every_cut_of_a_compound_is_refused_unless_it_falls_between_packets() {
        let bytes = compound();
        let between = [52, 68, 80];
        for len in 0..=bytes.len() {
            assert_eq!(
                Compound::parse(&bytes[..len]).is_ok(),
                between.contains(&len),
                "length {len}"
            );
        }
    }

    #[test]
    fn a_count_that_the_length_cannot_hold_is_refused() {
        for (first, kind, words) in [
            (0x82, 200, 12),
            (0x81, 201, 1),
            (0x83, 203, 2),
            (0x80, 205, 1),
            (0x82, 202, 3),
        ] {
            let mut bytes = vec![0u8; 4 * (usize::from(words) + 1)];
            bytes[..4].copy_from_slice(&[first, kind, 0, words]);
            assert_eq!(
                Compound::parse(&bytes).unwrap_err(),
                RtcpError::Contents,
                "type {kind}"
            );
        }
    }

    #[test]
    fn padding_is_allowed_in_the_last_packet_only() {
        let padded = [0xa0, 201, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4];
        let Some(RtcpPacket::ReceiverReport(report)) = Compound::parse(&padded).unwrap().packets().next()
        else {
            panic!("no RR");
        };
        assert_eq!((report.ssrc(), report.blocks().count()), (Ssrc(9), 0));
        let twice = [padded, padded].concat();
        assert_eq!(Compound::parse(&twice).unwrap_err(), RtcpError::Padding);
        for count in [0, 3, 5, 12, 255] {
            let mut wrong = padded;
            wrong[11] = count;
            assert!(Compound::parse(&wrong).is_err(), "padding {count}");
        }
    }

    #[test]
    fn unknown_types_and_reduced_size_are_walked() {
        // A lone PLI (RFC 5506), then XR, then a type of the future.
        let bytes = [
            [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2].as_slice(),
            &[0x80, 207, 0, 1, 0, 0, 0, 3],
            &[0x80, 213, 0, 0],
        ]
        .concat();
        let kinds: Vec<_> = Compound::parse(&bytes)
            .unwrap()
            .packets()
            .map(|p| p.sender())
            .collect();
        assert_eq!(kinds, [Some(Ssrc(1)), Some(Ssrc(3)), None]);
    }
}
