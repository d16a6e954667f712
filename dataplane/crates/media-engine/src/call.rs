use std::time::Duration;

use media_types::{CallId, IdempotencyKey, LegId};
use sans_io::Timestamp;

use crate::port_pool::AddressKey;

/// A call: two legs, line *n* of one relayed to line *n* of the other.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) legs: [Leg; 2],
    pub(crate) created: Timestamp,
    pub(crate) lease: Duration,
    pub(crate) lease_until: Timestamp,
    /// Zero: none.
    pub(crate) media_timeout: Duration,
    /// The deadline that stands in the timers.
    pub(crate) timer: Timestamp,
    pub(crate) created_with: IdempotencyKey,
    pub(crate) updated_with: Option<IdempotencyKey>,
}

/// One party's media.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) address: AddressKey,
    /// Slab keys, in the order of the description.
    pub(crate) lines: Vec<u32>,
}
