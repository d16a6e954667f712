use crate::Refusal;

/// What a [`Registrar`](crate::Registrar) has seen and done since its start. All only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// REGISTERs answered 200, queries included.
    pub accepted: u64,
    /// Bindings made.
    pub added: u64,
    /// Bindings refreshed.
    pub refreshed: u64,
    /// Bindings taken back by their user.
    pub removed: u64,
    /// Bindings that ran out.
    pub expired: u64,
    /// REGISTERs refused, by the place of the reason in [`Refusal::REASONS`].
    pub registers_refused: [u64; Refusal::REASONS.len()],
    /// Calls refused, in the same order.
    pub calls_refused: [u64; Refusal::REASONS.len()],
}

impl Counters {
    pub(crate) fn place(refusal: Refusal) -> usize {
        let reason = refusal.reason();
        let place = Refusal::REASONS.iter().position(|&known| known == reason);
        place.expect("every reason is in the list, as a test of the list says")
    }
}
