/// The sampling instant of a packet's first byte, in units of the payload format's clock; wraps (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// The timestamp `units` of the clock later.
    pub const fn wrapping_add(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }

    /// Clock units from `earlier` to `self` on the shorter way round; negative when `self` is older.
    pub const fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}
