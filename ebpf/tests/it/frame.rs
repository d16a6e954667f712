//! Frames built and taken apart by code that shares nothing with the programs.

use std::net::{IpAddr, SocketAddr};

/// What the UDP checksum of a built frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    /// Not there.
    Zero,
    /// Another value than it should be.
    Wrong,
}

/// A UDP datagram in its frame, whole or as it is to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub ethernet_to: [u8; 6],
    pub ethernet_from: [u8; 6],
    /// Protocol and control, outermost first.
    pub tags: Vec<(u16, u16)>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub traffic_class: u8,
    pub hop_limit: u8,
    /// IPv4's id, or the lower bits of IPv6's flow label.
    pub id: u16,
    pub checksum: Checksum,
    pub payload: Vec<u8>,
}

impl Datagram {
    pub fn new(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        Self {
            ethernet_to: [2, 0, 0, 0, 0, 1],
            ethernet_from: [2, 0, 0, 0, 0, 2],
            tags: Vec::new(),
            source,
            destination,
            traffic_class: 0xb9,
            hop_limit: 57,
            id: 0x1234,
            checksum: Checksum::Right,
            payload: payload.to_vec(),
        }
    }

    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = self.ethernet_to.to_vec();
        frame.extend(self.ethernet_from);
        for (protocol, control) in &self.tags {
            frame.extend(protocol.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        let udp_len = 8 + self.payload.len() as u16;
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                let mut ip = vec![0x45, self.traffic_class];
                ip.extend((20 + udp_len).to_be_bytes());
                ip.extend(self.id.to_be_bytes());
                ip.extend([0, 0, self.hop_limit, 17, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let check = !sum(&ip);
                ip[10..12].copy_from_slice(&check.to_be_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                let class = u32::from(self.traffic_class) << 20;
                frame.extend((6 << 28 | class | u32::from(self.id)).to_be_bytes());
                frame.extend(udp_len.to_be_bytes());
                frame.extend([17, self.hop_limit]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => panic!("addresses of two IP versions"),
        }
        let mut udp = self.source.port().to_be_bytes().to_vec();
        udp.extend(self.destination.port().to_be_bytes());
        udp.extend(udp_len.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let check = match udp_checksum(self.source.ip(), self.destination.ip(), &udp) {
            0 => 0xffff,
            check => check,
        };
        let check = match self.checksum {
            Checksum::Right => check,
            Checksum::Zero => 0,
            Checksum::Wrong => check.wrapping_add(1).max(1),
        };
        udp[6..8].copy_from_slice(&check.to_be_bytes());
        frame.extend(udp);
        frame
    }

    /// Takes a frame apart; panics where it contradicts itself. `checksum` says what the UDP checksum was.
    pub fn parse(frame: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let mut tags = Vec::new();
        let mut at = 12;
        while matches!(word(at), 0x8100 | 0x88a8) {
            tags.push((word(at), word(at + 2)));
            at += 4;
        }
        let ethertype = word(at);
        let ip = &frame[at + 2..];
        let (source, destination, traffic_class, hop_limit, id, udp): (IpAddr, IpAddr, _, _, _, _) =
            match ethertype {
                0x0800 => {
                    assert_eq!(ip[0], 0x45);
                    assert_eq!(sum(&ip[..20]), 0xffff, "IPv4 header checksum");
                    assert_eq!(ip[9], 17);
                    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                    (
                        <[u8; 4]>::try_from(&ip[12..16]).unwrap().into(),
                        <[u8; 4]>::try_from(&ip[16..20]).unwrap().into(),
                        ip[1],
                        ip[8],
                        u16::from_be_bytes([ip[4], ip[5]]),
                        &ip[20..total],
                    )
                }
                0x86dd => {
                    let first = u32::from_be_bytes([ip[0], ip[1], ip[2], ip[3]]);
                    assert_eq!(first >> 28, 6);
                    assert_eq!(ip[6], 17);
                    let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                    (
                        <[u8; 16]>::try_from(&ip[8..24]).unwrap().into(),
                        <[u8; 16]>::try_from(&ip[24..40]).unwrap().into(),
                        (first >> 20) as u8,
                        ip[7],
                        first as u16,
                        &ip[40..40 + length],
                    )
                }
                other => panic!("ethertype {other:#x}"),
            };
        assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let checksum = match (udp[6], udp[7]) {
            (0, 0) => Checksum::Zero,
            _ if udp_checksum(source, destination, udp) == 0 => Checksum::Right,
            _ => Checksum::Wrong,
        };
        Self {
            ethernet_to: frame[..6].try_into().unwrap(),
            ethernet_from: frame[6..12].try_into().unwrap(),
            tags,
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            traffic_class,
            hop_limit,
            id,
            checksum,
            payload: udp[8..].to_vec(),
        }
    }
}

/// The ones' complement sum of big-endian words (RFC 1071), one addition at a time.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (next, carry) = sum.overflowing_add(word);
        sum = next + u16::from(carry);
    }
    sum
}

/// The checksum over pseudo-header and datagram (RFC 768, RFC 8200 §8.1); 0 when the one within is right.
fn udp_checksum(source: IpAddr, destination: IpAddr, udp: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend([0, 17]);
            bytes.extend((udp.len() as u16).to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend((udp.len() as u32).to_be_bytes());
            bytes.extend([0, 0, 0, 17]);
        }
        _ => panic!("addresses of two IP versions"),
    }
    bytes.extend(udp);
    !sum(&bytes)
}

/// An RTP packet of this payload type, number, timestamp and SSRC.
pub fn rtp(payload_type: u8, seq: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A receiver report of `ssrc` without blocks.
pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}
