use crate::Offence;

/// Why a message is dropped before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Its source is banned.
    Banned,
    /// Its source sends more than [`crate::Config::source_rate_per_s`].
    Rate,
}

/// What a guard saw and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Offences, at the place that they have in [`Offence::ALL`].
    pub offences: [u64; Offence::ALL.len()],
    /// Offences that did not count because their source is believed or allowed.
    pub forgiven: u64,
    /// Bans, by points and by operators.
    pub banned: u64,
    /// Bans that ended, ran out of room or were lifted by operators.
    pub lifted: u64,
}
