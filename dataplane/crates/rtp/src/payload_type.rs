/// An RTP payload type: 7 bits that name a payload format within a session (RFC 3550 §5.1, RFC 3551 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PayloadType(u8);

impl PayloadType {
    /// G.711 µ-law (RFC 3551 §6).
    pub const PCMU: Self = Self(0);
    /// G.711 A-law (RFC 3551 §6).
    pub const PCMA: Self = Self(8);
    /// G.722; its clock says 8,000 Hz though it samples at 16,000 (RFC 3551 §4.5.2).
    pub const G722: Self = Self(9);
    /// Comfort noise (RFC 3389 §4), which many send without having named it.
    pub const COMFORT_NOISE: Self = Self(13);
    /// G.729 (RFC 3551 §6).
    pub const G729: Self = Self(18);

    /// `None` above 127.
    pub const fn new(value: u8) -> Option<Self> {
        if value < 128 { Some(Self(value)) } else { None }
    }

    /// The low seven bits of `byte`, as in the second byte of a packet.
    pub const fn from_low_bits(byte: u8) -> Self {
        Self(byte & 0x7f)
    }

    /// 0 to 127.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// A set of payload types; a lookup is one shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PayloadTypeSet(u128);

impl PayloadTypeSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Adds one.
    pub const fn insert(&mut self, payload_type: PayloadType) {
        self.0 |= 1 << payload_type.0;
    }

    /// Whether it is in the set.
    pub const fn contains(self, payload_type: PayloadType) -> bool {
        self.0 >> payload_type.0 & 1 == 1
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let mut set = PayloadTypeSet::EMPTY;
        assert!(set.is_empty());
        for value in [0, 8, 101, 127] {
            set.insert(PayloadType::new(value).unwrap());
        }
        let held: Vec<u8> = (0..128).filter(|&v| set.contains(PayloadType(v))).collect();
        assert_eq!(held, [0, 8, 101, 127]);
        assert_eq!(PayloadType::new(128), None);
        assert_eq!(PayloadType::from_low_bits(0xff).value(), 127);
    }
}
