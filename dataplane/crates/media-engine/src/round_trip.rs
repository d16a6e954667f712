use std::time::Duration;

use rtp::rtcp::{Compound, ReportBlock, RtcpPacket};
use sans_io::Timestamp;

/// The latest sender report that came in on a line, as far as the other party will answer it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PassedReport {
    /// The middle 32 bits of its NTP timestamp; 0 when there was none.
    ntp_middle: u32,
    /// When it passed.
    at: Timestamp,
}

impl PassedReport {
    /// Takes note of the sender reports in `compound`.
    pub(crate) fn note(&mut self, now: Timestamp, compound: &Compound<'_>) {
        for packet in compound.packets() {
            if let RtcpPacket::SenderReport(report) = packet {
                *self = Self {
                    ntp_middle: report.info().ntp_middle(),
                    at: now,
                };
            }
        }
    }

    /// The time from here to the party that sent `compound` and back, when it answers this report: arrival less
    /// passing less the delay that the party says it took (RFC 3550 §6.4.1, seen from the middle of the path).
    pub(crate) fn round_trip(&self, now: Timestamp, compound: &Compound<'_>) -> Option<Duration> {
        let round_trip = |block: ReportBlock| {
            let answers = block.last_sr != 0 && block.last_sr == self.ntp_middle;
            let held = Duration::from_nanos(u64::from(block.delay_since_last_sr) * 1_000_000_000 / 65_536);
            answers.then(|| now.saturating_since(self.at).saturating_sub(held))
        };
        compound.packets().find_map(|packet| match packet {
            RtcpPacket::SenderReport(report) => report.blocks().find_map(round_trip),
            RtcpPacket::ReceiverReport(report) => report.blocks().find_map(round_trip),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use rtp::rtcp::{CompoundWriter, SenderInfo};
    use rtp::{RtpTimestamp, Ssrc};

    use super::*;

    fn block(last_sr: u32, delay_since_last_sr: u32) -> ReportBlock {
        ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 0,
            lost: 0,
            highest_seq: 0,
            jitter_rtp_units: 0,
            last_sr,
            delay_since_last_sr,
        }
    }

    #[test]
    fn an_answered_report_gives_the_time_to_the_party_and_back() {
        let info = SenderInfo {
            ntp: 0x0000_1234_5678_0000,
            rtp: RtpTimestamp(0),
            packets: 0,
            bytes: 0,
        };
        let (mut sent, mut answer) = (Vec::new(), Vec::new());
        CompoundWriter::new(&mut sent).sender_report(Ssrc(1), &info, &[]);
        CompoundWriter::new(&mut answer).receiver_report(
            Ssrc(2),
            &[block(0, 0), block(7, 0), block(0x1234_5678, 65_536 / 2)],
        );
        let mut passed = PassedReport::default();
        let answer = Compound::parse(&answer).unwrap();
        let start = Timestamp::from_millis(1_000);
        assert_eq!(passed.round_trip(start, &answer), None);
        passed.note(start, &Compound::parse(&sent).unwrap());
        let trip = passed.round_trip(start + Duration::from_millis(580), &answer);
        assert_eq!(trip, Some(Duration::from_millis(80)));
        let too_soon = passed.round_trip(start + Duration::from_millis(400), &answer);
        assert_eq!(too_soon, Some(Duration::ZERO), "a wrong delay is not negative");
    }
}
