//! One RTP endpoint: a socket pair, a stream that it sends and an account of the stream that it receives.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, bail};
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags, SockaddrStorage, sockopt};
use nix::sys::time::TimeSpec;

use crate::host::Host;
use crate::reception::{Reception, Stream};
use crate::speech::{FRAME_BYTES, Law, Speech};

const RTP_HEADER: usize = 12;
const PACKET: usize = RTP_HEADER + FRAME_BYTES;
/// Larger than any packet of ours, so that a longer one is seen to be longer.
const RECEIVE_BUFFER: usize = 2_048;

/// The sockets that a session description can point to before a call exists.
#[derive(Debug)]
pub struct EndpointSockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    local: SocketAddr,
}

impl EndpointSockets {
    /// An even port for RTP and the next for RTCP (RFC 3550 §11) on the address of `host`.
    pub fn bind(host: &mut Host) -> anyhow::Result<Self> {
        for _ in 0..1_000 {
            let port = host.port()?;
            if port % 2 != 0 {
                continue;
            }
            let (Ok(rtp), Ok(rtcp)) = (
                UdpSocket::bind((host.ip(), port)),
                UdpSocket::bind((host.ip(), port + 1)),
            ) else {
                continue;
            };
            rtp.set_nonblocking(true)?;
            rtcp.set_nonblocking(true)?;
            // The kernel's time of arrival, so that delay and jitter are not those of this program's scheduling.
            socket::setsockopt(&rtp, sockopt::ReceiveTimestampns, &true)?;
            let local = rtp.local_addr()?;
            return Ok(Self { rtp, rtcp, local });
        }
        bail!("no free pair of ports on {}", host.ip())
    }

    /// Where RTP is received.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

/// What goes wrong between two endpoints apart from loss. All zero in a good run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Faults {
    /// Packets of a stream that was not meant for this endpoint, or no RTP of ours at all.
    pub foreign: u64,
    /// Packets of the right stream whose payload or payload type is not what was sent.
    pub corrupt: u64,
    /// Packets that came from another address than the one that this endpoint sends to.
    pub asymmetric: u64,
    /// Errors of the send call.
    pub send_errors: u64,
}

impl Faults {
    /// Adds those of another endpoint.
    pub fn add(&mut self, other: Self) {
        self.foreign += other.foreign;
        self.corrupt += other.corrupt;
        self.asymmetric += other.asymmetric;
        self.send_errors += other.send_errors;
    }
}

/// An endpoint in a talk. Its peer is known beforehand, so that what arrives can be compared with what was sent.
#[derive(Debug)]
pub struct Endpoint {
    sockets: EndpointSockets,
    law: Law,
    stream: Stream,
    to: Option<SocketAddr>,
    sent_at_ns: Vec<u64>,
    packets: u64,
    reception: Reception,
    faults: Faults,
    rtcp_sent: u64,
    rtcp_received: u64,
}

impl Endpoint {
    /// An endpoint that will send `packets` packets of `stream` once it knows where to, and expects `from_peer`.
    pub fn new(
        sockets: EndpointSockets,
        law: Law,
        stream: Stream,
        from_peer: Stream,
        packets: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            sockets,
            law,
            stream,
            to: None,
            sent_at_ns: Vec::with_capacity(packets as usize),
            packets,
            reception: Reception::new(from_peer, packets)?,
            faults: Faults::default(),
            rtcp_sent: 0,
            rtcp_received: 0,
        })
    }

    /// The RTP socket, to wait on.
    pub fn socket(&self) -> &UdpSocket {
        &self.sockets.rtp
    }

    /// Where it sends, once known.
    pub fn to(&self) -> Option<SocketAddr> {
        self.to
    }

    /// Sends to this address from now on.
    pub fn direct(&mut self, to: SocketAddr) {
        self.to = Some(to);
    }

    /// Packets that are still to be sent.
    pub fn left(&self) -> u64 {
        self.packets - self.sent()
    }

    /// Packets sent.
    pub fn sent(&self) -> u64 {
        self.sent_at_ns.len() as u64
    }

    /// When packet `number` was sent.
    pub fn sent_at_ns(&self, number: u64) -> Option<u64> {
        self.sent_at_ns.get(number as usize).copied()
    }

    /// What was received.
    pub fn reception(&self) -> &Reception {
        &self.reception
    }

    /// What went wrong.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// RTCP packets sent and received.
    pub fn rtcp(&self) -> (u64, u64) {
        (self.rtcp_sent, self.rtcp_received)
    }

    /// Sends the next packet; `now_ns` is the wall clock. Does not allocate.
    pub fn send(&mut self, speech: &Speech, now_ns: u64) {
        let Some(to) = self.to else { return };
        let number = self.sent();
        let mut packet = [0u8; PACKET];
        packet[0] = 0x80;
        // The marker bit opens a talk spurt (RFC 3551 §4.1).
        packet[1] = self.law.payload_type() | if number == 0 { 0x80 } else { 0 };
        packet[2..4].copy_from_slice(&self.stream.first_seq.wrapping_add(number as u16).to_be_bytes());
        let media_time = (number as u32).wrapping_mul(FRAME_BYTES as u32);
        packet[4..8].copy_from_slice(&self.stream.first_timestamp.wrapping_add(media_time).to_be_bytes());
        packet[8..12].copy_from_slice(&self.stream.ssrc.to_be_bytes());
        packet[RTP_HEADER..].copy_from_slice(frame_of(speech, self.law, self.stream, number));
        // A packet that could not be handed over counts as sent, and so as lost: nobody hears it.
        if self.sockets.rtp.send_to(&packet, to).is_err() {
            self.faults.send_errors += 1;
        }
        self.sent_at_ns.push(now_ns);
    }

    /// Sends a sender report with a CNAME (RFC 3550 §6.4.1 and §6.5.1) to the port after the peer's RTP port.
    pub fn send_rtcp(&mut self) {
        let Some(to) = self.to else { return };
        let mut packet = [0u8; 28 + 16];
        packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
        packet[4..8].copy_from_slice(&self.stream.ssrc.to_be_bytes());
        packet[20..24].copy_from_slice(&(self.sent() as u32).to_be_bytes());
        packet[24..28].copy_from_slice(&((self.sent() * FRAME_BYTES as u64) as u32).to_be_bytes());
        packet[28..32].copy_from_slice(&[0x81, 202, 0, 3]);
        packet[32..36].copy_from_slice(&self.stream.ssrc.to_be_bytes());
        packet[36..43].copy_from_slice(&[1, 4, b's', b'i', b'p', b'p', 0]);
        let to = SocketAddr::new(to.ip(), to.port().saturating_add(1));
        if self.sockets.rtcp.send_to(&packet, to).is_ok() {
            self.rtcp_sent += 1;
        }
    }

    /// Takes everything that has arrived. `sent_at_ns` says when the peer sent a packet.
    pub fn receive(
        &mut self,
        speech: &Speech,
        sent_at_ns: impl Fn(u64) -> Option<u64>,
    ) -> anyhow::Result<()> {
        let mut buffer = [0u8; RECEIVE_BUFFER];
        while let Some((length, source, arrival_ns)) = receive_one(&self.sockets.rtp, &mut buffer)? {
            // Before it is told where to send it cannot know where packets should come from.
            if self.to.is_some_and(|to| to != source) {
                self.faults.asymmetric += 1;
            }
            self.take(&buffer[..length], arrival_ns, speech, &sent_at_ns);
        }
        Ok(())
    }

    /// Counts the RTCP that has arrived.
    pub fn receive_rtcp(&mut self) {
        let mut buffer = [0u8; RECEIVE_BUFFER];
        while let Ok((length, _)) = self.sockets.rtcp.recv_from(&mut buffer) {
            if length >= 8 && buffer[1] == 200 && buffer[4..8] == self.reception.stream().ssrc.to_be_bytes() {
                self.rtcp_received += 1;
            } else {
                self.faults.foreign += 1;
            }
        }
    }

    fn take(
        &mut self,
        packet: &[u8],
        arrival_ns: u64,
        speech: &Speech,
        sent_at_ns: impl Fn(u64) -> Option<u64>,
    ) {
        let expected = self.reception.stream();
        let ours =
            packet.len() >= RTP_HEADER && packet[0] == 0x80 && packet[8..12] == expected.ssrc.to_be_bytes();
        let number = if ours {
            self.reception.number(u16::from_be_bytes([packet[2], packet[3]]))
        } else {
            None
        };
        let Some((number, sent_at_ns)) = number.and_then(|n| Some((n, sent_at_ns(n)?))) else {
            self.faults.foreign += 1;
            return;
        };
        if packet[1] & 0x7f != self.law.payload_type()
            || packet[RTP_HEADER..] != *frame_of(speech, self.law, expected, number)
        {
            self.faults.corrupt += 1;
            return;
        }
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        if !self.reception.count(number, timestamp, sent_at_ns, arrival_ns) {
            self.faults.foreign += 1;
        }
    }
}

/// The payload of a stream's packet. Every stream starts at another place of the recording.
fn frame_of(speech: &Speech, law: Law, stream: Stream, number: u64) -> &[u8] {
    speech.frame(law, (number + u64::from(stream.first_seq)) as usize)
}

/// One datagram with its source and the kernel's time of arrival, or `None` when there is none.
fn receive_one(
    socket: &UdpSocket,
    buffer: &mut [u8; RECEIVE_BUFFER],
) -> anyhow::Result<Option<(usize, SocketAddr, u64)>> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = match socket::recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    ) {
        Ok(message) => message,
        Err(nix::Error::EAGAIN | nix::Error::ECONNREFUSED) => return Ok(None),
        Err(error) => return Err(error).context("receiving RTP"),
    };
    let arrival = message
        .cmsgs()?
        .find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(at),
            _ => None,
        })
        .context("the kernel gave no time of arrival")?;
    let arrival_ns = arrival.tv_sec() as u64 * 1_000_000_000 + arrival.tv_nsec() as u64;
    let source = message.address.context("the kernel gave no source address")?;
    let source = if let Some(v4) = source.as_sockaddr_in() {
        SocketAddr::new(IpAddr::V4(v4.ip()), v4.port())
    } else if let Some(v6) = source.as_sockaddr_in6() {
        SocketAddr::new(IpAddr::V6(v6.ip()), v6.port())
    } else {
        bail!("the source is no IP address");
    };
    Ok(Some((message.bytes, source, arrival_ns)))
}
