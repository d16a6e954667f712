use rtp::{Class, Header, Packet, StreamStatistics, classify};

/// One datagram: its parts cover it without gaps, its header says the same when it is written again, and it can be
/// counted twice in a row by statistics that stay sound.
pub fn rtp_packet(data: &[u8]) {
    let class = classify(data);
    let Ok(packet) = Packet::parse(data) else {
        return;
    };
    // Version 2 is the first byte 128 to 191.
    assert!(matches!(class, Class::Rtp | Class::Rtcp), "{class:?}");
    let (header, payload, padding) = (packet.header_len(), packet.payload().len(), packet.padding_len());
    assert_eq!(header + payload + padding, data.len());
    let csrcs = packet.csrcs().count();
    let extension = packet.extension().map_or(0, |extension| 4 + extension.data.len());
    assert_eq!(header, rtp::FIXED_HEADER_LEN + 4 * csrcs + extension);
    let written = Header {
        marker: packet.marker(),
        payload_type: packet.payload_type(),
        seq: packet.seq(),
        timestamp: packet.timestamp(),
        ssrc: packet.ssrc(),
    }
    .to_bytes();
    assert_eq!(written[1..], data[1..rtp::FIXED_HEADER_LEN]);
    // A sequence of numbers drawn from the payload, through the statistics.
    let mut statistics = StreamStatistics::new(&packet, 8_000, 0);
    let mut bytes = written;
    let mut now_ns = 0u64;
    for step in payload_steps(packet.payload()) {
        bytes[2..4].copy_from_slice(&step[..2]);
        bytes[4..8].copy_from_slice(&[0, step[2], step[1], step[3]]);
        now_ns = now_ns.wrapping_add(u64::from(step[3]) << (step[2] % 48));
        let next = Packet::parse(&bytes).expect("a bare header is a packet");
        statistics.observe(
            &next,
            [0, 8_000, 90_000, u32::MAX][usize::from(step[2] % 4)],
            now_ns,
        );
    }
    let received = 1 + payload_steps(packet.payload()).count() as u64;
    assert_eq!(statistics.packets(), received);
    assert!(statistics.duplicates() + statistics.reordered() + statistics.strays() < received);
    assert!((0.0..=1.0).contains(&statistics.loss_ratio()));
    assert!(statistics.jitter_ns() <= statistics.jitter_max_ns());
}

fn payload_steps(payload: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    payload
        .chunks_exact(4)
        .map(|step| [step[0], step[1], step[2], step[3]])
}
