use std::time::Instant;

use crate::Timestamp;

/// What [`Timestamp::ZERO`] is called in the standard library's time, for libraries without clock and sockets that take its
/// `Instant`. Which moment that is does not matter, as long as it is always the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(Instant);

impl Epoch {
    /// From any moment.
    pub const fn new(zero: Instant) -> Self {
        Self(zero)
    }

    /// The moment of a timestamp. Beyond what the type can hold, the epoch itself.
    pub fn instant(self, at: Timestamp) -> Instant {
        let since = at.saturating_since(Timestamp::ZERO);
        self.0.checked_add(since).unwrap_or(self.0)
    }

    /// The timestamp of a moment; zero for moments before the epoch.
    pub fn timestamp(self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment does")]
    fn there_and_back() {
        let epoch = Epoch::new(Instant::now());
        for at in [
            Timestamp::ZERO,
            Timestamp::from_millis(1),
            Timestamp::from_millis(1 << 40),
        ] {
            assert_eq!(epoch.timestamp(epoch.instant(at)), at);
        }
        assert!(epoch.instant(Timestamp::from_millis(2)) > epoch.instant(Timestamp::from_millis(1)));
    }
}
