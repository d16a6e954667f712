use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The randomness a machine is given: a cryptographic generator (ChaCha12), so that what it makes can serve as a
/// SIP tag or branch (RFC 3261 §19.3 wants these unguessable), and seeded, so that a simulation repeats.
///
/// The shells seed it from the operating system; simulations seed it from a printed number.
#[derive(Clone, Debug)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// A generator for production: 32 bytes from the operating system's source.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// A generator for simulations: the same number gives the same sequence on every machine.
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number in `0..end`, with a bias below 2⁻⁶⁴ × `end`. An `end` of zero gives zero.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// True in `permille` of a thousand cases.
    pub fn chance_permille(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// A generator of its own for a part of the machine, so that parts do not disturb each other's sequences.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_gives_the_same_sequence() {
        let mut a = Random::from_number(7);
        let mut b = Random::from_number(7);
        let mut c = Random::from_number(8);
        let first: Vec<u64> = (0..32).map(|_| a.next_u64()).collect();
        assert_eq!(first, (0..32).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(first, (0..32).map(|_| c.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = Random::from_number(1);
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            seen[random.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
