use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use media_engine::DropReason;
use sans_io::Timestamp;

/// Addresses that are counted at once. Beyond them a new one is not held to its own limit, but to that of all.
const SOURCES_MAX: usize = 65_536;
/// What handshakes of an address are counted over.
const WINDOW: Duration = Duration::from_secs(1);

/// Who may begin a handshake.
#[derive(Debug)]
pub(crate) struct Admission {
    handshakes_max: usize,
    per_source_max: u32,
    under_way: usize,
    sources: HashMap<IpAddr, Window>,
}

#[derive(Debug)]
struct Window {
    since: Timestamp,
    handshakes: u32,
}

/// Why a handshake may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many are under way as may be.
    Limit,
    /// Its address has begun as many as it may in a second.
    SourceRate,
}

impl Refused {
    /// The counter of the datagram that would have begun it.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::Limit => DropReason::DtlsLimit,
            Self::SourceRate => DropReason::DtlsSourceRate,
        }
    }
}

impl Admission {
    pub(crate) fn new(handshakes_max: usize, per_source_max: u32) -> Self {
        Self {
            handshakes_max,
            per_source_max,
            under_way: 0,
            sources: HashMap::new(),
        }
    }

    /// Lets a handshake with `source` begin, which has to [`end`](Self::end).
    pub(crate) fn begin(&mut self, now: Timestamp, source: IpAddr) -> Result<(), Refused> {
        if self.under_way >= self.handshakes_max {
            return Err(Refused::Limit);
        }
        if self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, window| window.is_open(now));
        }
        let has_room = self.sources.len() < SOURCES_MAX;
        if has_room || self.sources.contains_key(&source) {
            let window = self.sources.entry(source).or_insert(Window {
                since: now,
                handshakes: 0,
            });
            if !window.is_open(now) {
                *window = Window {
                    since: now,
                    handshakes: 0,
                };
            }
            if window.handshakes >= self.per_source_max {
                return Err(Refused::SourceRate);
            }
            window.handshakes += 1;
        }
        self.under_way += 1;
        Ok(())
    }

    /// A handshake is done, or has failed.
    pub(crate) fn end(&mut self) {
        debug_assert!(self.under_way > 0, "each handshake ends once");
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub(crate) const fn under_way(&self) -> usize {
        self.under_way
    }
}

impl Window {
    fn is_open(&self, now: Timestamp) -> bool {
        now.saturating_since(self.since) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn one_address_has_its_share_of_a_second_and_all_have_a_limit() {
        let mut admission = Admission::new(4, 2);
        let now = Timestamp::from_millis(5_000);
        assert_eq!(admission.begin(now, address(1)), Ok(()));
        assert_eq!(admission.begin(now, address(1)), Ok(()));
        assert_eq!(admission.begin(now, address(1)), Err(Refused::SourceRate));
        assert_eq!(admission.begin(now, address(2)), Ok(()));
        let later = now + WINDOW;
        assert_eq!(admission.begin(later, address(1)), Ok(()), "a second later");
        assert_eq!(admission.begin(later, address(3)), Err(Refused::Limit));
        admission.end();
        assert_eq!(admission.begin(later, address(3)), Ok(()));
        assert_eq!(admission.under_way(), 4);
    }

    #[test]
    fn no_more_addresses_are_kept_than_there_is_room_for() {
        let mut admission = Admission::new(usize::MAX, 1);
        let now = Timestamp::from_millis(5_000);
        for number in 0..SOURCES_MAX as u32 + 10 {
            assert_eq!(admission.begin(now, address(number)), Ok(()));
        }
        assert_eq!(admission.sources.len(), SOURCES_MAX);
        assert_eq!(admission.begin(now, address(0)), Err(Refused::SourceRate));
        assert_eq!(admission.begin(now + WINDOW, address(0)), Ok(()));
        assert_eq!(admission.sources.len(), 1);
    }
}
