use rtp::rtcp::{Compound, RtcpPacket};

/// One compound: what was checked can be walked to the end, the walk covers it, and every part stays inside.
pub fn rtcp_compound(data: &[u8]) {
    let Ok(compound) = Compound::parse(data) else {
        return;
    };
    assert_eq!(compound.bytes(), data);
    let mut headers = 0;
    let mut at = 0;
    while at < data.len() {
        at += 4 * (usize::from(u16::from_be_bytes([data[at + 2], data[at + 3]])) + 1);
        headers += 1;
    }
    assert_eq!(at, data.len(), "the lengths add up");
    let mut packets = 0;
    for packet in compound.packets() {
        packets += 1;
        let _ = packet.sender();
        match packet {
            RtcpPacket::SenderReport(report) => {
                let _ = (report.ssrc(), report.info().ntp_middle());
                assert!(report.blocks().map(check_block).count() <= 31);
            }
            RtcpPacket::ReceiverReport(report) => {
                let _ = report.ssrc();
                assert!(report.blocks().map(check_block).count() <= 31);
            }
            RtcpPacket::SourceDescription(description) => {
                let mut chunks = 0;
                for chunk in description.chunks() {
                    chunks += 1;
                    let text: usize = chunk.items().map(|item| 2 + item.text.len()).sum();
                    assert!(text < data.len());
                    assert!(
                        chunk.items().all(|item| item.kind != 0),
                        "the end item is no item"
                    );
                }
                assert!(chunks <= 31);
            }
            RtcpPacket::Bye(bye) => {
                assert!(bye.ssrcs().count() <= 31);
                assert!(bye.reason().is_none_or(|reason| reason.len() < 256));
            }
            RtcpPacket::App(app) => {
                let _ = (app.ssrc(), app.name());
                assert!(app.data().len() < data.len());
            }
            RtcpPacket::TransportFeedback(feedback) | RtcpPacket::PayloadFeedback(feedback) => {
                let _ = (feedback.ssrc(), feedback.media_ssrc());
                assert!(feedback.format() < 32 && feedback.control_information().len() < data.len());
            }
            RtcpPacket::Other { packet_type, bytes } => {
                assert!((192..=223).contains(&packet_type) && bytes.len() >= 4);
            }
            _ => {}
        }
    }
    assert_eq!(packets, headers, "every packet was handed over");
}

fn check_block(block: rtp::rtcp::ReportBlock) {
    assert!((-0x80_0000..=0x7f_ffff).contains(&block.lost));
    let bytes = block.write();
    assert_eq!(bytes[4], block.fraction_lost);
}
