//! AES in counter mode by the processor's own instructions, ten blocks at once: a packet of 20 ms of G.711 takes ten.
//!
//! The crate `aes` takes 64 blocks at once on processors with VAES and AVX-512, and any fewer one by one; packets are shorter
//! than that. [`CounterMode`](crate::counter_mode::CounterMode) has that crate for all other processors and as the oracle of
//! the tests here.

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_extract_epi64,
    _mm_set_epi64x, _mm_shuffle_epi32, _mm_slli_si128, _mm_xor_si128,
};

use zeroize::Zeroize;

/// Rounds of AES-256; AES-128 has ten.
const ROUNDS_MAX: usize = 14;

/// The round keys of AES-128 or AES-256. Wiped when dropped.
pub(crate) struct AesNi {
    keys: [[u64; 2]; ROUNDS_MAX + 1],
    rounds: usize,
}

impl AesNi {
    /// `None` on a processor without the instructions. `key` has 16 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let is_there = is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx");
        // SAFETY: the processor has what `expand` is compiled for.
        is_there.then(|| unsafe { Self::expand(key) })
    }

    /// XORs `data` with the keystream that starts at the counter block `first`.
    #[inline]
    pub(crate) fn apply(&self, first: u128, data: &mut [u8]) {
        // SAFETY: there is an `AesNi` on processors alone that have what `mix` is compiled for.
        unsafe { self.mix(first, data) }
    }

    /// The key expansion of FIPS 197 §5.2.
    #[target_feature(enable = "aes,avx")]
    fn expand(key: &[u8]) -> Self {
        let mut keys = [[0; 2]; ROUNDS_MAX + 1];
        let (halves, _) = key.as_chunks::<16>();
        let mut low = load(&halves[0]);
        keys[0] = words(low);
        let Some(high) = halves.get(1) else {
            macro_rules! round {
                ($($at:literal, $constant:literal;)*) => { $(
                    let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(low));
                    low = _mm_xor_si128(running_xor(low), word);
                    keys[$at] = words(low);
                )* };
            }
            round!(1, 0x01; 2, 0x02; 3, 0x04; 4, 0x08; 5, 0x10; 6, 0x20; 7, 0x40; 8, 0x80; 9, 0x1b; 10, 0x36;);
            return Self { keys, rounds: 10 };
        };
        let mut high = load(high);
        keys[1] = words(high);
        macro_rules! round {
            ($($at:literal, $constant:literal;)*) => { $(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(high));
                low = _mm_xor_si128(running_xor(low), word);
                keys[$at] = words(low);
                if let Some(next) = keys.get_mut($at + 1) {
                    let word = _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(low));
                    high = _mm_xor_si128(running_xor(high), word);
                    *next = words(high);
                }
            )* };
        }
        round!(2, 0x01; 4, 0x02; 6, 0x04; 8, 0x08; 10, 0x10; 12, 0x20; 14, 0x40;);
        Self { keys, rounds: 14 }
    }

    #[target_feature(enable = "aes,avx")]
    fn mix(&self, first: u128, data: &mut [u8]) {
        let mut counter = first;
        let (tens, rest) = data.as_chunks_mut::<160>();
        for part in tens {
            self.mix_blocks::<10>(counter, part.as_chunks_mut().0);
            counter = counter.wrapping_add(10);
        }
        let (fives, rest) = rest.as_chunks_mut::<80>();
        for part in fives {
            self.mix_blocks::<5>(counter, part.as_chunks_mut().0);
            counter = counter.wrapping_add(5);
        }
        let (ones, rest) = rest.as_chunks_mut::<16>();
        for part in ones {
            self.mix_blocks::<1>(counter, std::slice::from_mut(part));
            counter = counter.wrapping_add(1);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            last[..rest.len()].copy_from_slice(rest);
            self.mix_blocks::<1>(counter, std::slice::from_mut(&mut last));
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// `N` whole blocks, each of which goes its rounds while the others go theirs.
    #[target_feature(enable = "aes,avx")]
    #[inline]
    fn mix_blocks<const N: usize>(&self, counter: u128, data: &mut [[u8; 16]]) {
        let key = |round: usize| {
            let [low, high] = self.keys[round];
            _mm_set_epi64x(high as i64, low as i64)
        };
        let whitening = key(0);
        let mut blocks: [__m128i; N] = std::array::from_fn(|at| {
            let counter = counter.wrapping_add(at as u128);
            let (high, low) = ((counter >> 64) as u64, counter as u64);
            let block = _mm_set_epi64x(low.swap_bytes() as i64, high.swap_bytes() as i64);
            _mm_xor_si128(block, whitening)
        });
        for round in 1..self.rounds {
            let key = key(round);
            for block in &mut blocks {
                *block = _mm_aesenc_si128(*block, key);
            }
        }
        let last = key(self.rounds);
        for (block, data) in blocks.into_iter().zip(data) {
            let mixed = _mm_xor_si128(_mm_aesenclast_si128(block, last), load(data));
            let [low, high] = words(mixed);
            let (first, second) = data.split_at_mut(8);
            first.copy_from_slice(&low.to_le_bytes());
            second.copy_from_slice(&high.to_le_bytes());
        }
    }
}

/// Each word XORed with all before it.
#[target_feature(enable = "avx")]
#[inline]
fn running_xor(words: __m128i) -> __m128i {
    let two = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    _mm_xor_si128(two, _mm_slli_si128::<8>(two))
}

#[target_feature(enable = "avx")]
#[inline]
fn load(block: &[u8; 16]) -> __m128i {
    let (halves, _) = block.as_chunks::<8>();
    let [low, high] = [halves[0], halves[1]].map(i64::from_le_bytes);
    _mm_set_epi64x(high, low)
}

#[target_feature(enable = "avx")]
#[inline]
fn words(block: __m128i) -> [u64; 2] {
    [_mm_extract_epi64::<0>(block), _mm_extract_epi64::<1>(block)].map(|word| word as u64)
}

impl Drop for AesNi {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use aes::{Aes128Enc, Aes256Enc, Block};

    use super::*;

    /// The crate `aes`, block by block.
    fn oracle(key: &[u8], first: u128, data: &mut [u8]) {
        for (at, part) in data.chunks_mut(16).enumerate() {
            let mut block = Block::from(first.wrapping_add(at as u128).to_be_bytes());
            match key.len() {
                16 => Aes128Enc::new_from_slice(key)
                    .expect("a key")
                    .encrypt_block(&mut block),
                _ => Aes256Enc::new_from_slice(key)
                    .expect("a key")
                    .encrypt_block(&mut block),
            }
            part.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
        }
    }

    #[test]
    fn keystream_is_that_of_the_crate_at_every_length() {
        for key_len in [16, 32] {
            let key: Vec<u8> = (0..key_len)
                .map(|n: u8| n.wrapping_mul(89).wrapping_add(3))
                .collect();
            let Some(ours) = AesNi::new(&key) else {
                assert!(!is_x86_feature_detected!("aes") || !is_x86_feature_detected!("avx"));
                println!(
                    "SKIP keystream_is_that_of_the_crate_at_every_length: the processor has no AES instructions"
                );
                return;
            };
            for len in 0..420 {
                let plain: Vec<u8> = (0..len).map(|n| (n * 11) as u8).collect();
                // Its low halves overflow on the way.
                let first = (u128::from(u64::MAX - 7) | 0x0123_u128 << 100) - len as u128 % 5;
                let (mut mixed, mut expected) = (plain.clone(), plain);
                ours.apply(first, &mut mixed);
                oracle(&key, first, &mut expected);
                assert_eq!(mixed, expected, "{key_len} bytes of key, {len} of data");
            }
        }
    }
}
