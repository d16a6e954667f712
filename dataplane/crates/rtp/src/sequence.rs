/// An RTP sequence number: 16 bits that wrap (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u16);

impl Seq {
    /// The number `by` packets later.
    pub const fn wrapping_add(self, by: u16) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// How far `self` is ahead of `earlier` on the shorter way round: positive when it is newer, negative when it is
    /// older, -32,768 when the two are half a cycle apart.
    pub const fn distance_from(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0) as i16
    }
}

/// A sequence number extended by the number of times that it has wrapped (RFC 3550 §A.1), so that it only grows.
///
/// It starts one cycle up, so that packets from before the first one received still have a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtSeq(pub u64);

impl ExtSeq {
    /// The extended number of the first packet of a stream.
    pub const fn first(seq: Seq) -> Self {
        Self((1 << 16) | seq.0 as u64)
    }

    /// The 16 bits that were on the wire.
    pub const fn seq(self) -> Seq {
        Seq(self.0 as u16)
    }

    /// The extended number nearest to `self` whose low 16 bits are `seq`.
    pub const fn nearest(self, seq: Seq) -> Self {
        Self(self.0.saturating_add_signed(seq.distance_from(self.seq()) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_takes_the_shorter_way_round() {
        assert_eq!(Seq(5).distance_from(Seq(3)), 2);
        assert_eq!(Seq(3).distance_from(Seq(5)), -2);
        assert_eq!(Seq(1).distance_from(Seq(65_535)), 2);
        assert_eq!(Seq(65_535).distance_from(Seq(1)), -2);
        assert_eq!(Seq(32_768).distance_from(Seq(0)), i16::MIN);
    }

    #[test]
    fn the_extended_number_follows_wraps_both_ways() {
        let start = ExtSeq::first(Seq(65_534));
        let wrapped = start.nearest(Seq(2));
        assert_eq!(wrapped.0, start.0 + 4);
        assert_eq!(wrapped.nearest(Seq(65_534)), start);
        assert_eq!(wrapped.seq(), Seq(2));
        assert_eq!(ExtSeq::first(Seq(0)).nearest(Seq(65_535)).0, 65_535);
    }
}
