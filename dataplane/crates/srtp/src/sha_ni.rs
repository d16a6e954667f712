//! SHA-1 of two messages side by side by the processor's own instructions: each of them waits for the one before it, and
//! another message's can go on meanwhile.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_extract_epi64, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_xor_si128,
};

/// Compresses a block into each state; nothing is done, and false given, without the instructions.
#[inline]
pub(crate) fn compress_two(states: [&mut [u32; 5]; 2], blocks: [&[u8; 64]; 2]) -> bool {
    let is_there = is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx");
    if is_there {
        // SAFETY: the processor has what `compress` is compiled for.
        unsafe { compress(states, blocks) };
    }
    is_there
}

/// One message on its way through its eighty rounds, four at a time (FIPS 180-4 §6.1.2).
struct Lane {
    abcd: __m128i,
    /// `abcd` before the last four rounds: its first word becomes the next `e`.
    before: __m128i,
    /// The schedule's last sixteen words, the oldest four at the number of their rounds modulo four.
    schedule: [__m128i; 4],
}

impl Lane {
    #[target_feature(enable = "sha,avx")]
    #[inline]
    fn new(state: &[u32; 5], block: &[u8; 64]) -> Self {
        let [a, b, c, d, _] = state.map(|word| word as i32);
        let (words, _) = block.as_chunks::<8>();
        let two = |at: usize| i64::from_be_bytes(words[at]);
        let abcd = _mm_set_epi32(a, b, c, d);
        Self {
            abcd,
            before: abcd,
            schedule: std::array::from_fn(|at| _mm_set_epi64x(two(2 * at), two(2 * at + 1))),
        }
    }

    /// The first four rounds.
    #[target_feature(enable = "sha,avx")]
    #[inline]
    fn begin(&mut self, e: u32) {
        let words = _mm_add_epi32(_mm_set_epi32(e as i32, 0, 0, 0), self.schedule[0]);
        self.abcd = _mm_sha1rnds4_epu32::<0>(self.abcd, words);
    }

    /// Rounds `4 * AT` and the three after it.
    #[target_feature(enable = "sha,avx")]
    #[inline]
    fn go_on<const AT: usize, const FUNCTION: i32>(&mut self) {
        let word = |back: usize| self.schedule[(AT + 4 - back) % 4];
        if AT >= 4 {
            let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(word(4), word(3)), word(2));
            self.schedule[AT % 4] = _mm_sha1msg2_epu32(mixed, word(1));
        }
        let words = _mm_sha1nexte_epu32(self.before, self.schedule[AT % 4]);
        self.before = self.abcd;
        self.abcd = _mm_sha1rnds4_epu32::<FUNCTION>(self.abcd, words);
    }

    #[target_feature(enable = "sha,avx")]
    #[inline]
    fn end(self, state: &mut [u32; 5]) {
        let [a, b, c, d, e] = *state;
        let e = _mm_set_epi32(e as i32, 0, 0, 0);
        let e = _mm_extract_epi32::<3>(_mm_sha1nexte_epu32(self.before, e)) as u32;
        let [low, high] = [
            _mm_extract_epi64::<0>(self.abcd),
            _mm_extract_epi64::<1>(self.abcd),
        ]
        .map(|half| half as u64);
        *state = [
            a.wrapping_add((high >> 32) as u32),
            b.wrapping_add(high as u32),
            c.wrapping_add((low >> 32) as u32),
            d.wrapping_add(low as u32),
            e,
        ];
    }
}

#[target_feature(enable = "sha,avx")]
fn compress(states: [&mut [u32; 5]; 2], blocks: [&[u8; 64]; 2]) {
    let [first_state, second_state] = states;
    let mut first = Lane::new(first_state, blocks[0]);
    let mut second = Lane::new(second_state, blocks[1]);
    first.begin(first_state[4]);
    second.begin(second_state[4]);
    macro_rules! rounds {
        ($function:literal: $($at:literal)*) => { $(
            first.go_on::<$at, $function>();
            second.go_on::<$at, $function>();
        )* };
    }
    rounds!(0: 1 2 3 4);
    rounds!(1: 5 6 7 8 9);
    rounds!(2: 10 11 12 13 14);
    rounds!(3: 15 16 17 18 19);
    first.end(first_state);
    second.end(second_state);
}

#[cfg(test)]
mod tests {
    use sans_io::Random;

    use super::*;

    #[test]
    fn two_blocks_are_compressed_as_each_by_itself() {
        let mut random = Random::from_number(1);
        for _ in 0..1_000 {
            let mut states = [(); 2].map(|()| [(); 5].map(|()| random.next_u64() as u32));
            let mut blocks = [[0; 64]; 2];
            blocks.iter_mut().for_each(|block| random.fill(block));
            let mut expected = states;
            for (state, block) in expected.iter_mut().zip(&blocks) {
                sha1::block_api::compress(state, &[*block]);
            }
            let [first, second] = &mut states;
            if !compress_two([first, second], [&blocks[0], &blocks[1]]) {
                assert!(!is_x86_feature_detected!("sha") || !is_x86_feature_detected!("avx"));
                println!(
                    "SKIP two_blocks_are_compressed_as_each_by_itself: the processor has no SHA instructions"
                );
                return;
            }
            assert_eq!(states, expected);
        }
    }
}
