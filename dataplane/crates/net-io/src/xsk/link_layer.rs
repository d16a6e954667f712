//! Ethernet frames with an IP header and a UDP datagram: reading those that came, finishing those that leave.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::checksum::{fold, sum};

/// Bytes of an Ethernet header without tags.
pub(super) const ETHERNET_SIZE: usize = 14;
const IPV4_SIZE: usize = 20;
const IPV6_SIZE: usize = 40;
const UDP_SIZE: usize = 8;
const UDP: u8 = 17;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// A datagram within a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    pub(super) local: SocketAddr,
    /// Bytes of all headers.
    pub(super) headers: usize,
    /// Bytes of the payload, which lies within the frame.
    pub(super) payload: usize,
}

/// Why a frame has no datagram for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Not IP in an Ethernet frame without tags, not UDP, with options, or a part of a datagram: the XDP program hands none over.
    Headers,
    /// A length that the frame does not have.
    Length,
    /// The UDP checksum is wrong, or missing where IPv6 wants one (RFC 8200 §8.1).
    Checksum,
}

/// Reads the headers of a frame that came by interface `ifindex`. Does not allocate.
pub(super) fn read(frame: &[u8], ifindex: u32) -> Result<Datagram, Malformed> {
    let (ethernet, packet) = frame
        .split_first_chunk::<ETHERNET_SIZE>()
        .ok_or(Malformed::Length)?;
    match [ethernet[12], ethernet[13]] {
        ETHERTYPE_IPV4 => read_ipv4(packet),
        ETHERTYPE_IPV6 => read_ipv6(packet, ifindex),
        _ => Err(Malformed::Headers),
    }
}

fn read_ipv4(packet: &[u8]) -> Result<Datagram, Malformed> {
    let (header, _) = packet.split_first_chunk::<IPV4_SIZE>().ok_or(Malformed::Length)?;
    // Version and length; more fragments, or not the first.
    if header[0] != 0x45 || header[9] != UDP || (header[6] & 0x3f) != 0 || header[7] != 0 {
        return Err(Malformed::Headers);
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let datagram = packet.get(IPV4_SIZE..total).ok_or(Malformed::Length)?;
    let (udp, payload) = read_udp(datagram, &header[12..20], false)?;
    let ip = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    Ok(Datagram {
        source: SocketAddrV4::new(ip(12), udp.source).into(),
        local: SocketAddrV4::new(ip(16), udp.destination).into(),
        headers: ETHERNET_SIZE + IPV4_SIZE + UDP_SIZE,
        payload,
    })
}

fn read_ipv6(packet: &[u8], ifindex: u32) -> Result<Datagram, Malformed> {
    let (header, rest) = packet.split_first_chunk::<IPV6_SIZE>().ok_or(Malformed::Length)?;
    if header[0] >> 4 != 6 || header[6] != UDP {
        return Err(Malformed::Headers);
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let datagram = rest.get(..length).ok_or(Malformed::Length)?;
    let (udp, payload) = read_udp(datagram, &header[8..40], true)?;
    let ip = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().expect("sixteen bytes");
        Ipv6Addr::from(octets)
    };
    let (source, local) = (ip(8), ip(24));
    // As the kernel tells it: link-local addresses mean something on their link only.
    let scope = |ip: Ipv6Addr| if ip.is_unicast_link_local() { ifindex } else { 0 };
    Ok(Datagram {
        source: SocketAddrV6::new(source, udp.source, 0, scope(source)).into(),
        local: SocketAddrV6::new(local, udp.destination, 0, scope(local)).into(),
        headers: ETHERNET_SIZE + IPV6_SIZE + UDP_SIZE,
        payload,
    })
}

struct Udp {
    source: u16,
    destination: u16,
}

/// Reads a UDP header (RFC 768) and checks lengths and checksum; `addresses` are both of the IP header. The second result is the
/// length of the payload.
fn read_udp(datagram: &[u8], addresses: &[u8], is_ipv6: bool) -> Result<(Udp, usize), Malformed> {
    let (header, payload) = datagram
        .split_first_chunk::<UDP_SIZE>()
        .ok_or(Malformed::Length)?;
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let length = half(4);
    if usize::from(length) != datagram.len() {
        return Err(Malformed::Length);
    }
    let has_checksum = half(6) != 0;
    let pseudo = || sum(u32::from(UDP) + u32::from(length), addresses);
    if (!has_checksum && is_ipv6) || (has_checksum && fold(sum(pseudo(), datagram)) != 0xffff) {
        return Err(Malformed::Checksum);
    }
    let udp = Udp {
        source: half(0),
        destination: half(2),
    };
    Ok((udp, payload.len()))
}

/// Finishes a frame whose IP and UDP headers are in place behind room for the Ethernet header: the latter, and what the kernel
/// fills in where a raw socket sends.
pub(super) fn finish(frame: &mut [u8], local: IpAddr, own: [u8; 6], next_hop: [u8; 6]) {
    let (ethernet, packet) = frame.split_at_mut(ETHERNET_SIZE);
    ethernet[..6].copy_from_slice(&next_hop);
    ethernet[6..12].copy_from_slice(&own);
    match local {
        IpAddr::V4(_) => {
            ethernet[12..].copy_from_slice(&ETHERTYPE_IPV4);
            let total = packet.len() as u16;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            // "Don't fragment" is set, so no identification is needed (RFC 6864 §4.1).
            packet[4..6].fill(0);
            packet[10..12].fill(0);
            let checksum = !fold(sum(0, &packet[..IPV4_SIZE]));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        IpAddr::V6(_) => ethernet[12..].copy_from_slice(&ETHERTYPE_IPV6),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a peer would send it.
    fn frame(source: SocketAddr, local: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let datagram = (UDP_SIZE + payload.len()) as u16;
        let mut frame = vec![0; ETHERNET_SIZE];
        let addresses: Vec<u8> = match (source.ip(), local.ip()) {
            (IpAddr::V4(source), IpAddr::V4(local)) => [source.octets(), local.octets()].concat(),
            (IpAddr::V6(source), IpAddr::V6(local)) => [source.octets(), local.octets()].concat(),
            _ => unreachable!("of one version"),
        };
        if source.is_ipv4() {
            frame.extend([0x45, 0, 0, 0, 9, 9, 0x40, 0, 64, UDP, 9, 9]);
        } else {
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(datagram.to_be_bytes());
            frame.extend([UDP, 64]);
        }
        frame.extend(&addresses);
        let udp = frame.len();
        frame.extend(source.port().to_be_bytes());
        frame.extend(local.port().to_be_bytes());
        frame.extend(datagram.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        let pseudo = sum(u32::from(UDP) + u32::from(datagram), &addresses);
        let checksum = match !fold(sum(pseudo, &frame[udp..])) {
            0 => 0xffff,
            checksum => checksum,
        };
        frame[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
        finish(&mut frame, source.ip(), [2; 6], [4; 6]);
        frame
    }

    fn ends(v4: bool) -> (SocketAddr, SocketAddr) {
        let text = if v4 {
            ("192.0.2.2:4000", "192.0.2.1:20000")
        } else {
            ("[2001:db8::2]:4000", "[2001:db8::1]:20000")
        };
        (text.0.parse().unwrap(), text.1.parse().unwrap())
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(
            v4: bool, payload in proptest::collection::vec(any::<u8>(), 0..300), padding in 0..20usize,
        ) {
            let (source, local) = ends(v4);
            let mut frame = frame(source, local, &payload);
            let headers = frame.len() - payload.len();
            // Short frames are padded to the link's minimum.
            frame.resize(frame.len() + padding, 7);
            let expected = Datagram { source, local, headers, payload: payload.len() };
            prop_assert_eq!(read(&frame, 3), Ok(expected));
            prop_assert_eq!(&frame[..14], [&[4; 6][..], &[2; 6], if v4 { &[8, 0] } else { &[0x86, 0xdd] }].concat());
            if v4 {
                prop_assert_eq!(fold(sum(0, &frame[14..34])), 0xffff);
            }
        }

        #[test]
        fn a_changed_byte_of_a_datagram_is_noticed(v4: bool, at in 0..180usize, bit in 0..8u8) {
            let (source, local) = ends(v4);
            let mut frame = frame(source, local, &[5; 172]);
            let udp = frame.len() - 180;
            frame[udp + at] ^= 1 << bit;
            prop_assert!(read(&frame, 3).is_err());
        }

        #[test]
        fn any_bytes_are_a_datagram_within_the_frame_or_nothing(
            v4: bool, bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..120usize,
        ) {
            if let Ok(datagram) = read(&bytes, 3) {
                prop_assert!(datagram.headers + datagram.payload <= bytes.len());
            }
            let (source, local) = ends(v4);
            let whole = frame(source, local, &[5; 60]);
            prop_assert!(read(&whole[..whole.len() - 1 - cut.min(whole.len() - 1)], 3).is_err());
        }
    }

    #[test]
    fn without_a_checksum_a_datagram_is_taken_by_ipv4_alone() {
        for (v4, expected) in [(true, None), (false, Some(Malformed::Checksum))] {
            let (source, local) = ends(v4);
            let mut frame = frame(source, local, &[1, 2, 3]);
            let checksum = frame.len() - 5;
            frame[checksum..checksum + 2].fill(0);
            assert_eq!(read(&frame, 3).err(), expected);
        }
    }

    #[test]
    fn fragments_options_tags_and_other_protocols_are_refused() {
        let (source, local) = ends(true);
        for (at, value) in [(12, 0x81), (14, 0x46), (20, 0x20), (21, 1), (23, 6)] {
            let mut frame = frame(source, local, &[0; 20]);
            frame[at] = value;
            assert_eq!(read(&frame, 3), Err(Malformed::Headers), "byte {at}");
        }
    }

    #[test]
    fn a_link_local_source_has_its_link() {
        let source = "[fe80::2]:4000".parse().unwrap();
        let local = "[fe80::1]:20000".parse().unwrap();
        let read = read(&frame(source, local, &[]), 3).unwrap();
        assert_eq!(read.source.to_string(), "[fe80::2%3]:4000");
    }
}
