/// Mean opinion scores, one for each second of each stream that had packets in it, in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScoreHistogram {
    /// Scores up to the bound of the same place and above the one before; the last has no bound.
    counts: [u64; Self::BOUNDS_X100.len() + 1],
    sum_x100: u64,
}

impl ScoreHistogram {
    /// Upper bounds of the buckets, × 100: finer where calls are good (ITU-T G.107 Annex B: 4.34 very satisfied, 4.03
    /// satisfied, 3.60 some dissatisfied, 3.10 many dissatisfied, 2.58 nearly all dissatisfied).
    pub const BOUNDS_X100: [u16; 10] = [150, 200, 258, 310, 340, 360, 380, 403, 420, 434];

    /// Scores in each bucket: up to the bound of the same place and above the one before; the last has no bound.
    pub const fn counts(&self) -> &[u64; Self::BOUNDS_X100.len() + 1] {
        &self.counts
    }

    /// The sum of all scores, × 100.
    pub const fn sum_x100(&self) -> u64 {
        self.sum_x100
    }

    pub(crate) fn add(&mut self, score_x100: u16) {
        let place = Self::BOUNDS_X100.partition_point(|bound| *bound < score_x100);
        self.counts[place] += 1;
        self.sum_x100 += u64::from(score_x100);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_in_the_first_bucket_that_holds_it() {
        let mut scores = ScoreHistogram::default();
        for score in [100, 150, 151, 434, 435, 441] {
            scores.add(score);
        }
        assert_eq!(scores.counts(), &[2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(scores.sum_x100(), 100 + 150 + 151 + 434 + 435 + 441);
    }
}
