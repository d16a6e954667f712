use crate::Error;

/// Packets that the replay window reaches back, the newest included (RFC 3711 §3.3.2 asks for at least 64).
pub const REPLAY_WINDOW: u64 = 128;

/// Which of the last [`REPLAY_WINDOW`] indexes came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The highest index so far; none before the first packet.
    pub highest: Option<u64>,
    /// Bit *n*: the index `highest - n` came.
    pub seen: u128,
}

impl Window {
    /// Whether a packet of this index may come.
    #[inline]
    pub(crate) fn check(&self, index: u64) -> Result<(), Error> {
        let Some(highest) = self.highest else {
            return Ok(());
        };
        if index > highest {
            return Ok(());
        }
        let behind = highest - index;
        if behind >= REPLAY_WINDOW {
            return Err(Error::TooOld);
        }
        if self.seen >> behind & 1 == 1 {
            return Err(Error::Replayed);
        }
        Ok(())
    }

    /// Takes note of a packet that [`check`](Self::check) let pass and that was authentic.
    #[inline]
    pub(crate) fn accept(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => self.seen |= 1 << (highest - index),
            Some(highest) => {
                let ahead = index - highest;
                self.seen = if ahead < REPLAY_WINDOW {
                    self.seen << ahead
                } else {
                    0
                } | 1;
                self.highest = Some(index);
            }
            None => {
                self.seen = 1;
                self.highest = Some(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sans_io::Random;

    use super::*;

    #[test]
    fn window_agrees_with_a_set() {
        let seed = std::env::var("SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(7);
        println!("SEED={seed}");
        let mut random = Random::from_number(seed);
        let mut window = Window::default();
        let mut set = BTreeSet::new();
        let mut base = 1000;
        for _ in 0..50_000 {
            base += random.below(3);
            let index = (base + random.below(40)).saturating_sub(random.below(200));
            let highest = set.last().copied().unwrap_or(0);
            let expected = if set.contains(&index) && highest - index < REPLAY_WINDOW {
                Err(Error::Replayed)
            } else if !set.is_empty() && index + REPLAY_WINDOW <= highest {
                Err(Error::TooOld)
            } else {
                Ok(())
            };
            assert_eq!(window.check(index), expected, "SEED={seed} index {index}");
            if expected.is_ok() {
                window.accept(index);
                set.insert(index);
            }
        }
    }
}
