/// Packets received between two losses that make them two events (RFC 3611 §4.7.2, `Gmin`).
const GAP_MIN: u32 = 16;

/// The sums from which RFC 3611 §A.2 computes bursts and gaps of loss; its names. No method allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstSums {
    /// Received after received, within a gap.
    pub c11: u32,
    /// Gaps that a burst has ended, which is as many as bursts have ended.
    pub c13: u32,
    /// Single losses within gaps.
    pub c14: u32,
    /// Received after received, within a burst.
    pub c22: u32,
    /// A loss after received ones, within a burst.
    pub c23: u32,
    /// A loss after a loss, within a burst.
    pub c33: u32,
    /// Losses of the burst that is going on.
    pub burst_lost: u32,
    /// Packets received since the latest loss.
    pub since_loss: u32,
}

/// Bursts and gaps as a report has them (RFC 3611 §4.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Bursts {
    /// Share of the packets within bursts that were lost, 0 to 1.
    pub burst_density: f64,
    /// Share of the packets within gaps that were lost, 0 to 1.
    pub gap_density: f64,
    /// Mean length of a burst, in packets.
    pub burst_packets: f64,
    /// Mean length of a gap, in packets.
    pub gap_packets: f64,
    /// Bursts that have ended.
    pub bursts: u32,
}

impl BurstSums {
    /// Those of a stream whose first packet has come, as if a gap had gone before: a first loss is not within a burst.
    pub const NEW: Self = Self {
        c11: 0,
        c13: 0,
        c14: 0,
        c22: 0,
        c23: 0,
        c33: 0,
        burst_lost: 0,
        since_loss: GAP_MIN + 1,
    };

    /// A packet was received.
    pub(crate) const fn receive(&mut self) {
        self.since_loss = self.since_loss.wrapping_add(1);
    }

    /// `count` packets in a row are missing, one at least.
    pub(crate) const fn lose(&mut self, count: u32) {
        if self.since_loss >= GAP_MIN {
            // The first loss after a gap: it ends the burst before, or that was a single loss.
            if self.burst_lost == 1 {
                self.c14 = self.c14.wrapping_add(1);
            } else {
                self.c13 = self.c13.wrapping_add(1);
            }
            self.burst_lost = 1;
            self.c11 = self.c11.wrapping_add(self.since_loss);
        } else {
            self.burst_lost = self.burst_lost.wrapping_add(1);
            if self.since_loss == 0 {
                self.c33 = self.c33.wrapping_add(1);
            } else {
                self.c23 = self.c23.wrapping_add(1);
                self.c22 = self.c22.wrapping_add(self.since_loss - 1);
            }
        }
        self.burst_lost = self.burst_lost.wrapping_add(count - 1);
        self.c33 = self.c33.wrapping_add(count - 1);
        self.since_loss = 0;
    }

    /// The figures.
    pub fn figures(&self) -> Bursts {
        let [c11, c13, c14, c22, c23, c33] =
            [self.c11, self.c13, self.c14, self.c22, self.c23, self.c33].map(f64::from);
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        // Transitions back out of a burst and of a gap are as many as those into it.
        let (c31, c32) = (c13, c23);
        Bursts {
            burst_density: share(c23 + c33, c22 + c23 + c32 + c33),
            gap_density: share(c14, c11 + c14),
            burst_packets: share(c22 + c23 + c32 + c33 + c13, c13),
            gap_packets: share(c11 + c14 + c31, c13),
            bursts: self.c13,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds runs: so many received, then so many lost, …
    fn sums(runs: &[(u32, u32)]) -> BurstSums {
        let mut sums = BurstSums::NEW;
        for (received, lost) in runs {
            (0..*received).for_each(|_| sums.receive());
            if *lost > 0 {
                sums.lose(*lost);
            }
        }
        sums
    }

    #[test]
    fn single_losses_are_in_gaps_and_near_ones_make_bursts() {
        let gaps = sums(&[(100, 1), (50, 1), (50, 1), (50, 0)]).figures();
        assert_eq!((gaps.burst_density, gaps.bursts), (0.0, 1));
        assert!(gaps.gap_density > 0.005 && gaps.gap_density < 0.02, "{gaps:?}");
        let bursty = sums(&[(100, 3), (2, 2), (100, 1), (20, 0)]).figures();
        assert!((0.6..0.9).contains(&bursty.burst_density), "{bursty:?}");
        assert_eq!(bursty.bursts, 2);
    }

    #[test]
    fn nothing_lost_is_no_burst() {
        assert_eq!(sums(&[(1_000, 0)]).figures(), Bursts::default());
    }
}
