use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by a key that we number ourselves, such as a call's or a transaction's: nobody outside can choose keys that crowd a
/// bucket, so no secret is needed and one multiplication a word does. Keys from the wire are not for it.
pub(super) type ByKey<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// Multiplies by the golden ratio of 2⁶⁴, which spreads neighbouring numbers over the upper bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHasher(u64);

impl KeyHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        // The table takes its bucket from the lower bits.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.add(u64::from(byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.add(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.add(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.add(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;

    #[test]
    fn neighbouring_keys_take_different_buckets() {
        let hasher = BuildHasherDefault::<KeyHasher>::default();
        let buckets =
            |hash: &dyn Fn(u64) -> u64| (0..4_096).map(|n| hash(n) & 4_095).collect::<BTreeSet<_>>().len();
        // Of random ones 63 in a hundred buckets would be taken.
        assert!(buckets(&|n| hasher.hash_one(n)) > 2_300);
        assert!(buckets(&|n| hasher.hash_one((n as u32, 0u32))) > 2_300);
        assert!(buckets(&|n| hasher.hash_one((n / 8, (n % 8) as isize))) > 2_300);
        let upper = (0..4_096u64)
            .map(|n| hasher.hash_one(n) >> 57)
            .collect::<BTreeSet<_>>();
        assert_eq!(
            upper.len(),
            128,
            "by these the table tells those of one bucket apart"
        );
    }
}
