use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proto::media_v1 as wire;
use tokio::net::UdpSocket;

use crate::node::socket_address;
use crate::process::PATIENCE;

/// Time after which silence is silence: far above what loopback takes. Tests that wait for nothing to come first see
/// something else come, or a counter move, so that they do not pass by luck.
pub const SILENCE: Duration = Duration::from_millis(150);

/// A party of a call: an RTP and an RTCP socket on neighbouring ports.
pub struct Party {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub ssrc: u32,
    sequence: u16,
}

impl Party {
    pub async fn at(ip: impl Into<IpAddr>) -> Self {
        let ip = ip.into();
        for _ in 0..64 {
            let rtp = UdpSocket::bind((ip, 0)).await.expect("binds");
            let port = rtp.local_addr().expect("bound").port();
            let Some(next) = port.checked_add(1).filter(|next| next % 2 == 1) else {
                continue;
            };
            if let Ok(rtcp) = UdpSocket::bind((ip, next)).await {
                return Self::with(rtp, rtcp);
            }
        }
        panic!("no two neighbouring ports at {ip}");
    }

    /// With sockets of another network namespace.
    pub fn of(rtp: std::net::UdpSocket, rtcp: std::net::UdpSocket) -> Self {
        Self::with(tokio_socket(rtp), tokio_socket(rtcp))
    }

    fn with(rtp: UdpSocket, rtcp: UdpSocket) -> Self {
        let port = rtp.local_addr().expect("bound").port();
        Self {
            rtp,
            rtcp,
            ssrc: u32::from(port) << 8,
            sequence: 100,
        }
    }

    /// The sequence number that its next packet will have.
    pub fn next_sequence(&self) -> u16 {
        self.sequence.wrapping_add(1)
    }

    /// Leaves out sequence numbers.
    pub fn skip(&mut self, count: u16) {
        self.sequence = self.sequence.wrapping_add(count);
    }

    /// Throws away the RTP that has come; how many packets.
    pub fn drain(&self) -> usize {
        let mut bytes = [0; 2048];
        let mut count = 0;
        while self.rtp.try_recv(&mut bytes).is_ok() {
            count += 1;
        }
        count
    }

    pub fn address(&self) -> SocketAddr {
        self.rtp.local_addr().expect("bound")
    }

    /// The next RTP packet of PCMU, 20 ms.
    pub fn packet(&mut self) -> Vec<u8> {
        self.sequence += 1;
        rtp(self.ssrc, self.sequence, 0)
    }

    /// Sends `count` RTP packets.
    pub async fn send(&mut self, to: SocketAddr, count: usize) {
        for _ in 0..count {
            let packet = self.packet();
            self.rtp.send_to(&packet, to).await.expect("sent");
        }
    }

    /// Receives `count` RTP packets, in order and from one source, which it returns.
    pub async fn receive(&self, count: usize) -> SocketAddr {
        let mut from = None;
        let mut next = None;
        for n in 0..count {
            let (bytes, source) = self
                .packet_in()
                .await
                .unwrap_or_else(|| panic!("{n} of {count} packets came"));
            assert_eq!(*from.get_or_insert(source), source);
            let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
            assert_eq!(*next.get_or_insert(sequence), sequence, "packet {n}");
            next = Some(sequence.wrapping_add(1));
        }
        from.expect("one packet at least")
    }

    /// The next RTP packet and its source, within [`PATIENCE`].
    pub async fn packet_in(&self) -> Option<(Vec<u8>, SocketAddr)> {
        packet_in(&self.rtp, PATIENCE).await
    }

    /// The sequence number of the next RTP packet, within [`PATIENCE`].
    pub async fn sequence_in(&self) -> Option<u16> {
        let (bytes, _) = self.packet_in().await?;
        Some(u16::from_be_bytes([bytes[2], bytes[3]]))
    }

    /// Nothing comes.
    pub async fn hears_nothing(&self) {
        let packet = packet_in(&self.rtp, SILENCE).await;
        assert!(packet.is_none(), "heard {packet:?}");
    }
}

/// For the runtime of the calling thread.
pub fn tokio_socket(socket: std::net::UdpSocket) -> UdpSocket {
    socket.set_nonblocking(true).expect("set");
    UdpSocket::from_std(socket).expect("watched")
}

pub async fn packet_in(socket: &UdpSocket, patience: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let mut bytes = [0; 2048];
    let (length, source) = tokio::time::timeout(patience, socket.recv_from(&mut bytes))
        .await
        .ok()?
        .expect("received");
    Some((bytes[..length].to_vec(), source))
}

/// An RTP packet (RFC 3550 §5.1) with 160 bytes of payload.
pub fn rtp(ssrc: u32, sequence: u16, payload_type: u8) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

/// A compound of an empty receiver report and a CNAME (RFC 3550 §6.1).
pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x81, 202, 0, 3]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1, 4, b't', b'e', b's', b't', 0, 0]);
    packet
}

/// Where parties of a leg's first line send RTP.
pub fn local_rtp(call: &wire::Call, leg: usize) -> SocketAddr {
    socket_address(
        call.legs[leg].lines[0]
            .local_rtp
            .as_ref()
            .expect("an enabled line"),
    )
}

/// Where parties of a leg's first line send RTCP.
pub fn local_rtcp(call: &wire::Call, leg: usize) -> SocketAddr {
    socket_address(
        call.legs[leg].lines[0]
            .local_rtcp
            .as_ref()
            .expect("an enabled line"),
    )
}
