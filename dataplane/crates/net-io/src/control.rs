//! Control messages that come with a datagram.

use std::net::SocketAddr;

use crate::address::RawAddress;

/// `struct cmsghdr`: length, level, type.
const HEADER: usize = 16;

// The offsets used below, and the alignment of data and of the next message.
const _: () = {
    assert!(size_of::<libc::cmsghdr>() == HEADER && align_of::<libc::cmsghdr>() == 8);
    assert!(std::mem::offset_of!(libc::cmsghdr, cmsg_level) == 8);
    assert!(std::mem::offset_of!(libc::cmsghdr, cmsg_type) == 12);
};

/// Room that a datagram needs for the number of drops: CMSG_SPACE of a 32-bit number.
pub(crate) const OVERFLOW_SPACE: usize = HEADER + 8;

/// Room for that and a local address: CMSG_SPACE of `sockaddr_in6`.
pub(crate) const STEERED_SPACE: usize = OVERFLOW_SPACE + HEADER + 32;

/// What the kernel tells beside a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// Datagrams that the socket has dropped in its whole life, modulo 2^32 (SO_RXQ_OVFL).
    pub(crate) overflow: Option<u32>,
    /// Where the datagram was sent to (IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR).
    pub(crate) local: Option<SocketAddr>,
}

impl Control {
    /// Reads control data as the kernel wrote it. What is not known, or cut off, is left out.
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut control = Self::default();
        while let Some((header, _)) = bytes.split_first_chunk::<HEADER>() {
            let number =
                |at: usize| i32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (length, level, kind) = (number(0) as usize, number(8), number(12));
            let Some(data) = bytes.get(HEADER..length) else {
                break;
            };
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    control.overflow = data.first_chunk().map(|drops| u32::from_ne_bytes(*drops));
                }
                (libc::SOL_IP, libc::IP_ORIGDSTADDR) | (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => {
                    control.local = RawAddress::parse(data);
                }
                _ => {}
            }
            let Some(rest) = bytes.get(length.next_multiple_of(8)..) else {
                break;
            };
            bytes = rest;
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn drops_and_the_local_address_are_read_in_any_order() {
        let v4: SocketAddr = "192.0.2.1:20000".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:20002".parse().unwrap();
        for (local, level, kind) in [
            (v4, libc::SOL_IP, libc::IP_ORIGDSTADDR),
            (v6, libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR),
        ] {
            let raw = RawAddress::new(local);
            let drops = message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &77u32.to_ne_bytes());
            let address = message(level, kind, &raw.bytes()[..raw.length() as usize]);
            let other = message(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[1; 16]);
            let expected = Control {
                overflow: Some(77),
                local: Some(local),
            };
            let all = [drops.as_slice(), &address, &other];
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                assert_eq!(Control::parse(&order.map(|at| all[at]).concat()), expected);
            }
            assert!(drops.len() == OVERFLOW_SPACE && drops.len() + address.len() <= STEERED_SPACE);
        }
    }

    #[test]
    fn drops_are_read_from_their_control_message_only() {
        let drops = message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &77u32.to_ne_bytes());
        assert_eq!(Control::parse(&drops).overflow, Some(77));
        assert_eq!(Control::parse(&drops[..19]), Control::default());
        let other = message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL + 1, &77u32.to_ne_bytes());
        assert_eq!(Control::parse(&other), Control::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_control_data_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            Control::parse(&bytes);
        }
    }
}
