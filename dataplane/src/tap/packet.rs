//! IP and UDP headers for packets of which the node has addresses and payload only (RFC 791, RFC 768, RFC 8200).

use std::net::{IpAddr, SocketAddr};

const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
/// What hosts send with; the real one of a packet in user space is not known.
const HOP_LIMIT: u8 = 64;

/// The internet checksum's sum of `bytes`, not complemented (RFC 1071). Does not allocate.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut sum: u64 = words
        .by_ref()
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    fold(sum)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Bytes of the IP and UDP headers of a packet without extension headers. Does not allocate.
pub fn header_bytes(packet: &[u8]) -> usize {
    let ip = match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 15) * 4,
        _ => 40,
    };
    ip + UDP_HEADER_BYTES
}

/// An IP packet with a UDP datagram whose payload has `length` bytes, of which the first are in `kept`, and the sum
/// `payload_sum`. Its checksums are right even when not all of the payload is there. Also the whole packet's length.
pub fn build(
    source: SocketAddr,
    destination: SocketAddr,
    length: u16,
    kept: &[u8],
    payload_sum: u16,
) -> (Vec<u8>, u32) {
    let udp_length = (UDP_HEADER_BYTES + usize::from(length)).min(usize::from(u16::MAX)) as u16;
    let mut packet = Vec::with_capacity(48 + kept.len());
    let addresses = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = udp_length.saturating_add(20);
            packet.extend([0x45, 0]);
            packet.extend(total.to_be_bytes());
            // No identification; don't fragment.
            packet.extend([0, 0, 0x40, 0, HOP_LIMIT, UDP, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let checksum = !sum(&packet);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            sum(&packet[12..20])
        }
        (source, destination) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(udp_length.to_be_bytes());
            packet.extend([UDP, HOP_LIMIT]);
            packet.extend(octets(source));
            packet.extend(octets(destination));
            sum(&packet[8..40])
        }
    };
    let header = packet.len();
    let total = [u64::from(addresses), u64::from(UDP), u64::from(udp_length)]
        .iter()
        .sum::<u64>()
        + [source.port(), destination.port(), udp_length, payload_sum]
            .map(u64::from)
            .iter()
            .sum::<u64>();
    // A sum of zero is sent as its other form: zero means that there is none.
    let checksum = match !fold(total) {
        0 => 0xffff,
        checksum => checksum,
    };
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    packet.extend(checksum.to_be_bytes());
    packet.extend(kept);
    let whole = header + usize::from(udp_length);
    (packet, whole as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the checksums of a whole packet are right, as a receiver sees it.
    fn verifies(packet: &[u8]) -> bool {
        let (header, pseudo) = match packet[0] >> 4 {
            4 => {
                assert_eq!(sum(&packet[..20]), 0xffff, "IPv4 header");
                (20, &packet[12..20])
            }
            _ => (40, &packet[8..40]),
        };
        let udp = &packet[header..];
        assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
        let mut all = pseudo.to_vec();
        all.extend([0, UDP]);
        all.extend((udp.len() as u16).to_be_bytes());
        all.extend(udp);
        sum(&all) == 0xffff
    }

    #[test]
    fn checksums_are_right_for_every_length_and_version() {
        for (source, destination) in [
            ("192.0.2.1:4000", "198.51.100.7:20000"),
            ("[2001:db8::1]:4000", "[2001:db8::2]:65535"),
        ] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            for length in 0..=300_u16 {
                let payload: Vec<u8> = (0..length).map(|n| (n * 7 + length) as u8).collect();
                let (packet, whole) = build(source, destination, length, &payload, sum(&payload));
                assert_eq!(packet.len(), whole as usize);
                assert!(verifies(&packet), "{source} {length}");
                let (cut, whole) = build(
                    source,
                    destination,
                    length,
                    &payload[..length.min(12).into()],
                    sum(&payload),
                );
                assert_eq!(cut, packet[..cut.len()]);
                assert_eq!(whole as usize, packet.len());
            }
        }
    }

    #[test]
    fn a_known_packet_is_as_known() {
        // RFC 1071 §3.
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0xff]), 0xff00);
        let (packet, _) = build(
            "1.2.3.4:1".parse().unwrap(),
            "5.6.7.8:2".parse().unwrap(),
            1,
            b"x",
            sum(b"x"),
        );
        assert_eq!(packet[..4], [0x45, 0, 0, 29]);
        assert_eq!(packet[20..26], [0, 1, 0, 2, 0, 9]);
    }
}
