/// Packets of a stream that came to user space while the table counted it, and that it therefore saw missing. Sums stop
/// at their highest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// RTP packets.
    pub packets: u32,
    /// Their bytes, RTP headers included.
    pub bytes: u32,
}

impl Aside {
    /// No packets.
    pub const NONE: Self = Self { packets: 0, bytes: 0 };

    /// Both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(more.packets),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    /// What is beyond `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}
