//! IP and UDP headers of packets that leave through a raw socket.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;

use super::shared::Exit;
use crate::address::RawAddress;
use crate::checksum::{fold, sum};
use crate::counters::SendError;
use crate::frame::{Frame, FramePool};

const IPV4_SIZE: usize = 20;
const IPV6_SIZE: usize = 40;
const UDP_SIZE: usize = 8;
/// Number of UDP in an IP header.
const UDP: u8 = 17;

/// The raw sockets of a worker, each with what its packets' headers have in common.
#[derive(Debug)]
pub(crate) struct Exits {
    exits: Vec<PreparedExit>,
}

#[derive(Debug)]
struct PreparedExit {
    address: IpAddr,
    socket: OwnedFd,
    /// Differentiated services code point and no ECN: the second byte of IPv4, eight bits of IPv6.
    class: u8,
    hop_limit: u8,
    /// The sum of what is the same in the pseudo header of all packets.
    sum: u32,
}

impl Exits {
    pub(crate) fn new(exits: Vec<Exit>, dscp: u8) -> std::io::Result<Self> {
        let prepare = |exit: Exit| {
            let hop_limit = match exit.address {
                IpAddr::V4(_) => sockopt::ip_ttl(&exit.socket)? as u8,
                IpAddr::V6(_) => sockopt::ipv6_unicast_hops(&exit.socket)?,
            };
            let sum = match exit.address {
                IpAddr::V4(ip) => sum(0, &ip.octets()),
                IpAddr::V6(ip) => sum(0, &ip.octets()),
            };
            Ok(PreparedExit {
                address: exit.address,
                socket: exit.socket,
                class: dscp << 2,
                hop_limit,
                sum: sum + u32::from(UDP),
            })
        };
        Ok(Self {
            exits: exits.into_iter().map(prepare).collect::<std::io::Result<_>>()?,
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.exits.len()
    }

    /// The place of an address.
    pub(crate) fn of(&self, address: IpAddr) -> Option<u16> {
        let at = self.exits.iter().position(|exit| exit.address == address)?;
        Some(at as u16)
    }

    /// The socket of an exit.
    pub(crate) fn address(&self, exit: u16) -> IpAddr {
        self.exits[usize::from(exit)].address
    }

    pub(crate) fn socket(&self, exit: u16) -> BorrowedFd<'_> {
        self.exits[usize::from(exit)].socket.as_fd()
    }

    /// Bytes of headers that an exit's packets have.
    pub(crate) fn header_size(&self, exit: u16) -> usize {
        header_size(self.exits[usize::from(exit)].address)
    }

    /// Puts the headers of a packet from `local` to `to` before its payload, into the frame's headroom. Returns where a raw socket
    /// is to send it.
    ///
    /// Does not allocate.
    pub(crate) fn prepend(
        &self,
        exit: u16,
        pool: &mut FramePool,
        frame: &mut Frame,
        local: SocketAddr,
        to: SocketAddr,
    ) -> Result<RawAddress, SendError> {
        // A UDP socket refuses to send to port 0; a raw one does not know of ports.
        if to.port() == 0 {
            return Err(SendError::Unreachable);
        }
        let exit = &self.exits[usize::from(exit)];
        let payload = frame.len();
        let datagram = (UDP_SIZE + payload) as u16;
        if exit.address.is_ipv4() != to.is_ipv4() {
            return Err(SendError::Unreachable);
        }
        if !frame.grow_front(header_size(exit.address)) {
            return Err(SendError::TooBig);
        }
        let destination = match (exit.address, to) {
            (IpAddr::V4(source), SocketAddr::V4(to)) => {
                let packet = pool.payload_mut(frame);
                // RFC 791 section 3.1. The kernel fills in the total length, the identification and the checksum; "don't
                // fragment" is what UDP sockets of Linux set, too.
                let header = [0x45, exit.class, 0, 0, 0, 0, 0x40, 0, exit.hop_limit, UDP, 0, 0];
                packet[..12].copy_from_slice(&header);
                packet[12..16].copy_from_slice(&source.octets());
                packet[16..20].copy_from_slice(&to.ip().octets());
                let pseudo = sum(exit.sum, &to.ip().octets());
                udp(
                    &mut packet[IPV4_SIZE..],
                    local.port(),
                    to.port(),
                    datagram,
                    pseudo,
                );
                let mut to = to;
                to.set_port(0);
                SocketAddr::V4(to)
            }
            (IpAddr::V6(source), SocketAddr::V6(to)) => {
                let packet = pool.payload_mut(frame);
                // RFC 8200 section 3; all of it is ours.
                packet[..4].copy_from_slice(&[0x60 | exit.class >> 4, exit.class << 4, 0, 0]);
                packet[4..6].copy_from_slice(&datagram.to_be_bytes());
                packet[6..8].copy_from_slice(&[UDP, exit.hop_limit]);
                packet[8..24].copy_from_slice(&source.octets());
                packet[24..40].copy_from_slice(&to.ip().octets());
                let pseudo = sum(exit.sum, &to.ip().octets());
                udp(
                    &mut packet[IPV6_SIZE..],
                    local.port(),
                    to.port(),
                    datagram,
                    pseudo,
                );
                // The kernel takes the port for a protocol number.
                let mut to = to;
                to.set_port(0);
                SocketAddr::V6(to)
            }
            _ => return Err(SendError::Unreachable),
        };
        Ok(RawAddress::new(destination))
    }
}

const fn header_size(source: IpAddr) -> usize {
    match source {
        IpAddr::V4(_) => IPV4_SIZE + UDP_SIZE,
        IpAddr::V6(_) => IPV6_SIZE + UDP_SIZE,
    }
}

/// Writes the UDP header of a datagram whose payload is in place (RFC 768).
fn udp(datagram: &mut [u8], source: u16, destination: u16, length: u16, pseudo: u32) {
    datagram[0..2].copy_from_slice(&source.to_be_bytes());
    datagram[2..4].copy_from_slice(&destination.to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram[6..8].copy_from_slice(&[0, 0]);
    let checksum = !fold(sum(pseudo + u32::from(length), datagram));
    // Zero means "no checksum"; ones' complement has a second zero for this.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_datagram_with_its_checksum_sums_up_to_ones(
            payload in proptest::collection::vec(any::<u8>(), 0..300), source: u16, destination: u16, address: u32,
        ) {
            let length = (8 + payload.len()) as u16;
            let mut pseudo = address.to_be_bytes().to_vec();
            pseudo.extend([0, UDP]);
            let mut datagram = vec![0xaa; 8];
            datagram.extend(&payload);
            udp(&mut datagram, source, destination, length, sum(0, &pseudo));
            pseudo.extend(length.to_be_bytes());
            pseudo.extend(&datagram);
            prop_assert_eq!(fold(sum(0, &pseudo)), 0xffff);
            prop_assert_ne!(&datagram[6..8], &[0, 0]);
        }
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_ones() {
        // RFC 768: all ones in the datagram sum up to a checksum of zero.
        let mut datagram = [0; 10];
        datagram[8..].copy_from_slice(&(0xffff_u16 - 10 - 3).to_be_bytes());
        udp(&mut datagram, 1, 2, 10, 0);
        // 1 + 2 + 10 (length) + 10 (pseudo header) + payload, once more by hand:
        let expected = !fold(1 + 2 + 10 + 10 + (0xffff - 13));
        assert_eq!(
            datagram[6..8],
            if expected == 0 {
                [0xff, 0xff]
            } else {
                expected.to_be_bytes()
            }
        );
    }
}
