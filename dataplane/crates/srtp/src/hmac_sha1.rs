use sha1::block_api::compress;
use zeroize::Zeroize;

const BLOCK: usize = 64;
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// HMAC-SHA1 (RFC 2104) whose two padded keys are compressed once, when the key is set: each message saves two of six
/// compressions. Wiped when dropped.
pub(crate) struct HmacSha1 {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl HmacSha1 {
    /// `key` has at most 64 bytes; those of SRTP have 20 (RFC 3711 §5.2).
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut padded = [0; BLOCK];
        padded[..key.len()].copy_from_slice(key);
        let state = |pad: u8| {
            let mut state = INITIAL;
            let mut block = padded.map(|byte| byte ^ pad);
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        let (inner, outer) = (state(0x36), state(0x5c));
        padded.zeroize();
        Self { inner, outer }
    }

    /// The code of `message` followed by `suffix`, which has at most four bytes. Does not allocate.
    #[inline]
    pub(crate) fn code(&self, message: &[u8], suffix: &[u8]) -> [u8; 20] {
        let mut state = self.inner;
        let (blocks, rest) = message.as_chunks::<BLOCK>();
        compress(&mut state, blocks);
        let mut tail = [[0; BLOCK]; 2];
        let flat = tail.as_flattened_mut();
        let end = rest.len() + suffix.len();
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()..end].copy_from_slice(suffix);
        flat[end] = 0x80;
        // The length in bits takes the last eight bytes, and counts the block of the key.
        let count = if end + 9 <= BLOCK { 1 } else { 2 };
        let bits = 8 * (BLOCK + message.len() + suffix.len()) as u64;
        flat[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits.to_be_bytes());
        compress(&mut state, &tail[..count]);

        let mut last = [0; BLOCK];
        last[..20].copy_from_slice(&bytes(state));
        last[20] = 0x80;
        last[BLOCK - 8..].copy_from_slice(&(8 * (BLOCK as u64 + 20)).to_be_bytes());
        let mut state = self.outer;
        compress(&mut state, &[last]);
        bytes(state)
    }
}

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

fn bytes(state: [u32; 5]) -> [u8; 20] {
    let mut out = [0; 20];
    for (part, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *part = word.to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};

    use super::*;

    #[test]
    fn code_is_that_of_the_plain_construction_at_every_length() {
        let data: Vec<u8> = (0..400u32).map(|n| (n * 37) as u8).collect();
        for len in 0..data.len() {
            for suffix in [&[][..], &[1, 2, 3, 4]] {
                let mut oracle = Hmac::<sha1::Sha1>::new_from_slice(&data[..20]).expect("a key");
                oracle.update(&data[..len]);
                oracle.update(suffix);
                let code = HmacSha1::new(&data[..20]).code(&data[..len], suffix);
                assert_eq!(code[..], oracle.finalize().into_bytes()[..], "{len} bytes");
            }
        }
    }
}
