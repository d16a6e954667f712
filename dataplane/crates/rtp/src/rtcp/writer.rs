use super::{ReportBlock, SenderInfo, item, packet_type};
use crate::Ssrc;

/// Builds a compound packet at the end of a buffer that is used again: what an endpoint or a test sends.
///
/// Every method adds one packet; none checks the order of RFC 3550 §6.1.
#[derive(Debug)]
pub struct CompoundWriter<'a>(&'a mut Vec<u8>);

/// The most report blocks or sources that the 5-bit count holds.
pub const COUNT_MAX: usize = 31;

impl<'a> CompoundWriter<'a> {
    /// Appends to `buffer`.
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    /// A sender report. Blocks beyond [`COUNT_MAX`] are left out.
    pub fn sender_report(&mut self, ssrc: Ssrc, info: &SenderInfo, blocks: &[ReportBlock]) -> &mut Self {
        let blocks = &blocks[..blocks.len().min(COUNT_MAX)];
        let start = self.begin(packet_type::SR, blocks.len());
        self.0.extend(ssrc.0.to_be_bytes());
        self.0.extend(info.ntp.to_be_bytes());
        for word in [info.rtp.0, info.packets, info.bytes] {
            self.0.extend(word.to_be_bytes());
        }
        self.0.extend(blocks.iter().flat_map(ReportBlock::write));
        self.end(start)
    }

    /// A receiver report. Blocks beyond [`COUNT_MAX`] are left out.
    pub fn receiver_report(&mut self, ssrc: Ssrc, blocks: &[ReportBlock]) -> &mut Self {
        let blocks = &blocks[..blocks.len().min(COUNT_MAX)];
        let start = self.begin(packet_type::RR, blocks.len());
        self.0.extend(ssrc.0.to_be_bytes());
        self.0.extend(blocks.iter().flat_map(ReportBlock::write));
        self.end(start)
    }

    /// A source description with a CNAME, cut to 255 bytes.
    pub fn canonical_name(&mut self, ssrc: Ssrc, name: &str) -> &mut Self {
        let name = &name.as_bytes()[..name.len().min(255)];
        let start = self.begin(packet_type::SDES, 1);
        self.0.extend(ssrc.0.to_be_bytes());
        self.0.extend([item::CNAME, name.len() as u8]);
        self.0.extend(name);
        self.0.push(0);
        self.end(start)
    }

    /// A goodbye of one stream.
    pub fn bye(&mut self, ssrc: Ssrc) -> &mut Self {
        let start = self.begin(packet_type::BYE, 1);
        self.0.extend(ssrc.0.to_be_bytes());
        self.end(start)
    }

    fn begin(&mut self, packet_type: u8, count: usize) -> usize {
        let start = self.0.len();
        self.0.extend([2 << 6 | count as u8, packet_type, 0, 0]);
        start
    }

    /// Fills up to a whole word and sets the length.
    fn end(&mut self, start: usize) -> &mut Self {
        while !(self.0.len() - start).is_multiple_of(4) {
            self.0.push(0);
        }
        let words = ((self.0.len() - start) / 4 - 1) as u16;
        self.0[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RtpTimestamp;
    use crate::rtcp::{Compound, RtcpPacket};

    #[test]
    fn a_compound_that_was_written_reads_the_same() {
        let block = |ssrc| ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: 1,
            lost: -2,
            highest_seq: 3,
            jitter_rtp_units: 4,
            last_sr: 5,
            delay_since_last_sr: 6,
        };
        let info = SenderInfo {
            ntp: 1 << 40,
            rtp: RtpTimestamp(2),
            packets: 3,
            bytes: 4,
        };
        for name in ["", "a", "ab", "abc", "abcd"] {
            let mut bytes = Vec::new();
            CompoundWriter::new(&mut bytes)
                .sender_report(Ssrc(1), &info, &[block(7), block(8)])
                .receiver_report(Ssrc(2), &vec![block(9); 40])
                .canonical_name(Ssrc(1), name)
                .bye(Ssrc(1));
            let mut packets = Compound::parse(&bytes).unwrap().packets();
            let Some(RtcpPacket::SenderReport(report)) = packets.next() else {
                panic!("no SR")
            };
            assert_eq!(
                (report.info(), report.blocks().collect::<Vec<_>>()),
                (info, vec![block(7), block(8)])
            );
            let Some(RtcpPacket::ReceiverReport(report)) = packets.next() else {
                panic!("no RR")
            };
            assert_eq!(report.blocks().count(), COUNT_MAX);
            let Some(RtcpPacket::SourceDescription(description)) = packets.next() else {
                panic!("no SDES")
            };
            let items: Vec<_> = description.chunks().flat_map(|chunk| chunk.items()).collect();
            assert_eq!((items[0].kind, items[0].text), (item::CNAME, name.as_bytes()));
            let Some(RtcpPacket::Bye(bye)) = packets.next() else {
                panic!("no BYE")
            };
            assert_eq!((bye.ssrcs().count(), bye.reason()), (1, None));
            assert!(packets.next().is_none());
        }
    }
}
