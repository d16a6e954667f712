use super::SrtpSuite;

/// What is done about SRTP with one party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SrtpPolicy {
    /// Neither offered nor accepted.
    Forbid,
    /// Accepted when the party offers it, not offered to it.
    #[default]
    Allow,
    /// Accepted, and offered so that the party may decline (RFC 8643).
    Prefer,
    /// Nothing but SRTP.
    Require,
}

/// The policy of one party with what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What is done.
    pub policy: SrtpPolicy,
    /// The suites that may be used, in the order in which they are offered.
    pub suites: &'a [SrtpSuite],
    /// Whether descriptions to and from the party may have keys in them: they are in clear for whoever reads the
    /// signalling, so it is protected, or that was allowed (RFC 4568 §8.3).
    pub keys_may_travel: bool,
}
