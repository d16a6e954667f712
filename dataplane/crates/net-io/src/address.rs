//! Socket addresses in the kernel's own layout.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Size of the larger of the two: `sockaddr_in6`.
pub(crate) const ADDRESS_SIZE: usize = 28;

const V4_SIZE: u32 = 16;
const V6_SIZE: u32 = 28;

/// A `sockaddr_in` or `sockaddr_in6` as bytes, at an address and with a length that the kernel takes. Built and read
/// by byte offsets, so that there is no cast between structures to argue about.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; ADDRESS_SIZE],
    length: u32,
}

// The offsets used below are those of the C structures, and the bytes come first.
const _: () = {
    assert!(size_of::<libc::sockaddr_in>() == V4_SIZE as usize);
    assert!(size_of::<libc::sockaddr_in6>() == V6_SIZE as usize);
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_port) == 2);
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_addr) == 4);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_port) == 2);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_flowinfo) == 4);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);
    assert!(std::mem::offset_of!(RawAddress, bytes) == 0);
};

impl RawAddress {
    /// All zero: no address yet.
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; ADDRESS_SIZE],
        length: 0,
    };

    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                raw.bytes[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.length = V4_SIZE;
            }
            SocketAddr::V6(v6) => {
                raw.bytes[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.length = V6_SIZE;
            }
        }
        raw
    }

    /// The address in `bytes` as the kernel wrote it; `None` for another family or too few bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        match i32::from(family) {
            libc::AF_INET => {
                let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
                Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
            }
            libc::AF_INET6 => {
                let flowinfo = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
                let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
                let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flowinfo, scope).into())
            }
            _ => None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8; ADDRESS_SIZE] {
        &self.bytes
    }

    pub(crate) fn length(&self) -> u32 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_survives_the_way_through_the_kernel_layout(
            v4: bool, low: u32, high: u128, port: u16, scope: u32,
        ) {
            let address: SocketAddr = if v4 {
                SocketAddrV4::new(Ipv4Addr::from(low), port).into()
            } else {
                SocketAddrV6::new(Ipv6Addr::from(high), port, low, scope).into()
            };
            let raw = RawAddress::new(address);
            prop_assert_eq!(RawAddress::parse(&raw.bytes()[..raw.length() as usize]), Some(address));
        }

        #[test]
        fn any_bytes_are_an_address_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = RawAddress::parse(&bytes);
        }
    }
}
