use super::short::word;
use crate::{RtpTimestamp, Ssrc};

/// A sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a>(pub(super) &'a [u8]);

/// A receiver report (RFC 3550 §6.4.2).
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a>(pub(super) &'a [u8]);

/// What a sender says of its own sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock of the sender: NTP seconds and fraction.
    pub ntp: u64,
    /// The same instant on the stream's RTP clock.
    pub rtp: RtpTimestamp,
    /// Packets sent since the stream began.
    pub packets: u32,
    /// Payload bytes sent since the stream began.
    pub bytes: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP timestamp, which a receiver sends back as `last_sr`.
    pub const fn ntp_middle(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// What a receiver says of one stream that it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Loss since the report before, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; negative when duplicates outnumber losses. 24 bits on the wire.
    pub lost: i32,
    /// Cycles (high 16 bits) and highest sequence number received.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter_rtp_units: u32,
    /// Middle 32 bits of the NTP timestamp of the latest SR from the stream; 0 if there was none.
    pub last_sr: u32,
    /// Time between that SR and this report, in 65,536ths of a second.
    pub delay_since_last_sr: u32,
}

impl<'a> SenderReport<'a> {
    /// Who sent the report.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(word(self.0, 4))
    }

    /// What it sent.
    pub fn info(&self) -> SenderInfo {
        SenderInfo {
            ntp: u64::from(word(self.0, 8)) << 32 | u64::from(word(self.0, 12)),
            rtp: RtpTimestamp(word(self.0, 16)),
            packets: word(self.0, 20),
            bytes: word(self.0, 24),
        }
    }

    /// What it hears, at most 31 streams.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        blocks(self.0, 28)
    }
}

impl<'a> ReceiverReport<'a> {
    /// Who sent the report.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(word(self.0, 4))
    }

    /// What it hears, at most 31 streams.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        blocks(self.0, 8)
    }
}

fn blocks(packet: &[u8], from: usize) -> impl Iterator<Item = ReportBlock> + use<'_> {
    let count = usize::from(packet[0] & 0x1f);
    packet[from..]
        .chunks_exact(24)
        .take(count)
        .map(|block| ReportBlock {
            ssrc: Ssrc(word(block, 0)),
            fraction_lost: block[4],
            // Sign-extends the 24 bits.
            lost: (word(block, 4) << 8) as i32 >> 8,
            highest_seq: word(block, 8),
            jitter_rtp_units: word(block, 12),
            last_sr: word(block, 16),
            delay_since_last_sr: word(block, 20),
        })
}

impl ReportBlock {
    /// The block as 24 bytes of the wire; `lost` is clamped to 24 bits.
    pub fn write(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let words = [
            self.ssrc.0,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_seq,
            self.jitter_rtp_units,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Compound, RtcpPacket};

    #[test]
    fn a_block_that_was_written_reads_the_same() {
        for lost in [0, 5, -5, 0x7f_ffff, -0x80_0000] {
            let block = ReportBlock {
                ssrc: Ssrc(7),
                fraction_lost: 9,
                lost,
                highest_seq: 0x0002_0003,
                jitter_rtp_units: 80,
                last_sr: 0xaabb_ccdd,
                delay_since_last_sr: 65_536,
            };
            let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
            bytes.extend(block.write());
            let Some(RtcpPacket::ReceiverReport(report)) = Compound::parse(&bytes).unwrap().packets().next()
            else {
                panic!("no RR");
            };
            assert_eq!(report.blocks().collect::<Vec<_>>(), [block]);
        }
    }
}
