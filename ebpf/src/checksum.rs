use std::net::{IpAddr, SocketAddr};

/// The ones' complement sum (RFC 1071) of an address and port, words as they lie in memory.
fn sum(address: SocketAddr) -> u64 {
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks_exact(2)
            .map(|word| u64::from(u16::from_ne_bytes([word[0], word[1]])))
            .sum()
    };
    let port = words(&address.port().to_be_bytes());
    port + match address.ip() {
        IpAddr::V4(ip) => words(&ip.octets()),
        IpAddr::V6(ip) => words(&ip.octets()),
    }
}

const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What to add to the complement of a UDP checksum when `before` (source, destination) becomes `after` (RFC 1624).
///
/// The pseudo-headers of both IP versions sum the protocol and the length to the same, so that only addresses and
/// ports differ.
pub(crate) fn delta(before: [SocketAddr; 2], after: [SocketAddr; 2]) -> u16 {
    let old = fold(before.into_iter().map(sum).sum());
    fold(after.into_iter().map(sum).sum::<u64>() + u64::from(!old))
}
