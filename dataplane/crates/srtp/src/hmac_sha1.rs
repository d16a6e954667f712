use sha1::block_api::compress;
use zeroize::Zeroize;

const BLOCK: usize = 64;
/// Bytes that are authenticated after the packet: the rollover counter, or the index of SRTCP.
const SUFFIX: usize = 4;
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// What HMAC-SHA1 gives; SRTP takes the first ten bytes of it, or four.
pub(crate) type Code = [u8; 20];

/// HMAC-SHA1 (RFC 2104) whose two padded keys are compressed once, when the key is set: each message saves two of six
/// compressions. Wiped when dropped.
#[derive(Clone)]
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

    /// The code of `message` followed by `suffix`. Does not allocate.
    #[inline]
    pub(crate) fn code(&self, message: &[u8], suffix: [u8; SUFFIX]) -> Code {
        let (blocks, rest) = message.as_chunks();
        let tail = Tail::new(message.len(), rest, suffix);
        let mut state = self.inner;
        compress(&mut state, blocks);
        compress(&mut state, tail.blocks());
        let last = outer_block(state);
        let mut state = self.outer;
        compress(&mut state, &[last]);
        bytes(state)
    }

    /// The codes of two messages, each with its own key, side by side: they take little longer than one, where the processor
    /// has instructions for SHA-1. Does not allocate.
    #[inline]
    pub(crate) fn two(keys: [&Self; 2], messages: [&[u8]; 2], suffixes: [[u8; SUFFIX]; 2]) -> [Code; 2] {
        let [(blocks, rest), (other_blocks, other_rest)] = messages.map(<[u8]>::as_chunks);
        let tail = Tail::new(messages[0].len(), rest, suffixes[0]);
        let other_tail = Tail::new(messages[1].len(), other_rest, suffixes[1]);
        let mut first = blocks.iter().chain(tail.blocks());
        let mut second = other_blocks.iter().chain(other_tail.blocks());
        let mut states = keys.map(|key| key.inner);
        loop {
            match (first.next(), second.next()) {
                (Some(first), Some(second)) => compress_two(&mut states, [first, second]),
                (Some(first), None) => compress(&mut states[0], std::slice::from_ref(first)),
                (None, Some(second)) => compress(&mut states[1], std::slice::from_ref(second)),
                (None, None) => break,
            }
        }
        let last = states.map(outer_block);
        let mut states = keys.map(|key| key.outer);
        compress_two(&mut states, [&last[0], &last[1]]);
        states.map(bytes)
    }
}

/// The end of a message: its last bytes, what follows it, and its length.
struct Tail {
    blocks: [[u8; BLOCK]; 2],
    count: usize,
}

impl Tail {
    #[inline]
    fn new(len: usize, rest: &[u8], suffix: [u8; SUFFIX]) -> Self {
        let mut blocks = [[0; BLOCK]; 2];
        let flat = blocks.as_flattened_mut();
        let end = rest.len() + SUFFIX;
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()..end].copy_from_slice(&suffix);
        flat[end] = 0x80;
        // The length in bits takes the last eight bytes, and counts the block of the key.
        let count = if end + 9 <= BLOCK { 1 } else { 2 };
        let bits = 8 * (BLOCK + len + SUFFIX) as u64;
        flat[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits.to_be_bytes());
        Self { blocks, count }
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        &self.blocks[..self.count]
    }
}

/// The one block that the outer hash has after that of its key.
#[inline]
fn outer_block(inner: [u32; 5]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..20].copy_from_slice(&bytes(inner));
    block[20] = 0x80;
    block[BLOCK - 8..].copy_from_slice(&(8 * (BLOCK as u64 + 20)).to_be_bytes());
    block
}

#[inline]
fn compress_two(states: &mut [[u32; 5]; 2], blocks: [&[u8; BLOCK]; 2]) {
    let [first, second] = states;
    #[cfg(target_arch = "x86_64")]
    if crate::sha_ni::compress_two([first, second], blocks) {
        return;
    }
    compress(first, std::slice::from_ref(blocks[0]));
    compress(second, std::slice::from_ref(blocks[1]));
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

    fn oracle(key: &[u8], message: &[u8], suffix: [u8; 4]) -> Code {
        let mut oracle = Hmac::<sha1::Sha1>::new_from_slice(key).expect("a key");
        oracle.update(message);
        oracle.update(&suffix);
        oracle.finalize().into_bytes().into()
    }

    #[test]
    fn codes_are_those_of_the_plain_construction_at_every_length() {
        let data: Vec<u8> = (0..400u32).map(|n| (n * 37) as u8).collect();
        let keys = [&data[..20], &data[100..120]];
        let [first, second] = keys.map(HmacSha1::new);
        for len in 0..data.len() {
            let suffix = (len as u32).to_be_bytes();
            let expected = oracle(keys[0], &data[..len], suffix);
            assert_eq!(first.code(&data[..len], suffix), expected, "{len} bytes");
            for other in [len, 0, 172, len / 2, 399 - len] {
                let both = HmacSha1::two(
                    [&first, &second],
                    [&data[..len], &data[..other]],
                    [suffix, [9; 4]],
                );
                assert_eq!(
                    both,
                    [expected, oracle(keys[1], &data[..other], [9; 4])],
                    "{len} and {other} bytes"
                );
            }
        }
    }
}
