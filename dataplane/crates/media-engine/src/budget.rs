use sans_io::Timestamp;

/// Datagrams are counted for so long.
const SECOND_NS: u64 = 1_000_000_000;

/// How likely a datagram of a line's setting up is the party's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From where the party is known to be.
    Party,
    /// It knows what strangers cannot guess, or comes from where the party says that it may be. Unproven.
    Likely,
    /// Anybody's.
    Other,
}

/// What a line takes of datagrams of its setting up in a second: as many of each origin, so that strangers keep none of the
/// party's away, neither before it is found nor after.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    party: Counted,
    likely: Counted,
    other: Counted,
}

impl Budget {
    /// Counts a datagram; false when there were as many of its origin as a second may have. Does not allocate.
    pub(crate) fn admit(&mut self, now: Timestamp, origin: Origin, per_second_max: u32) -> bool {
        let counted = match origin {
            Origin::Party => &mut self.party,
            Origin::Likely => &mut self.likely,
            Origin::Other => &mut self.other,
        };
        counted.admit(now, per_second_max)
    }
}

/// The second that datagrams were counted in last, and how many.
#[derive(Debug, Default)]
struct Counted {
    second: u64,
    datagrams: u32,
}

impl Counted {
    fn admit(&mut self, now: Timestamp, per_second_max: u32) -> bool {
        let second = now.as_nanos() / SECOND_NS;
        if self.second != second {
            *self = Self { second, datagrams: 0 };
        }
        let fits = self.datagrams < per_second_max;
        self.datagrams += u32::from(fits);
        fits
    }
}
