use std::ops::{Index, IndexMut};

use media_types::LegId;

use crate::Released;

/// One of the two parties of a call, and so one of its two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Who sent the INVITE to us.
    Caller,
    /// Whom we sent an INVITE to.
    Callee,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }

    /// The leg's name on the media node.
    pub(super) fn leg_id(self) -> LegId {
        LegId::new(self.as_str()).expect("both words are names")
    }

    pub(super) const fn released(self) -> Released {
        match self {
            Self::Caller => Released::Caller,
            Self::Callee => Released::Callee,
        }
    }
}

/// Something that each leg has.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Both<T> {
    pub(super) caller: T,
    pub(super) callee: T,
}

impl<T> Both<T> {
    /// `first` belongs to `side`, `second` to the other one.
    pub(super) fn of(side: Side, first: T, second: T) -> Self {
        match side {
            Side::Caller => Self {
                caller: first,
                callee: second,
            },
            Side::Callee => Self {
                caller: second,
                callee: first,
            },
        }
    }
}

impl<T> Index<Side> for Both<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }
}

impl<T> IndexMut<Side> for Both<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}
