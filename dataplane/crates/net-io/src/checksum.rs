//! The Internet checksum (RFC 1071).

/// Adds bytes, as big-endian 16-bit words, to a sum (RFC 1071). The sum of a frame's bytes and headers stays below 2^32.
pub(crate) fn sum(start: u32, bytes: &[u8]) -> u32 {
    // Words of 32 bits into 64: half of the additions, and the same after folding.
    let mut wide = u64::from(start);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        wide += u64::from(u32::from_be_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    wide += u64::from(u32::from_be_bytes(last));
    // 2^16 is 1 modulo 2^16 - 1, so halves may be added.
    let halves = (wide >> 32) + (wide & 0xffff_ffff);
    ((halves >> 16) + (halves & 0xffff)) as u32
}

/// Folds a sum to 16 bits.
pub(crate) fn fold(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + (once & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_rfc_1071(bytes in proptest::collection::vec(any::<u8>(), 0..2_100)) {
            prop_assert_eq!(fold(sum(0, &bytes)), plain(&bytes));
        }
    }
}
