use std::net::SocketAddr;

use thiserror::Error;

/// What has become of the search for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Media takes this pair from now on. May come again with another.
    Selected {
        /// Our address.
        local: SocketAddr,
        /// The party's, as we see it.
        remote: SocketAddr,
    },
    /// There is no pair to send over. Nothing may be sent until another [`Selected`](Self::Selected).
    Failed(Failure),
}

/// Why there is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Failure {
    /// None was found in time.
    #[error("no pair of addresses was found in time")]
    Timeout,
    /// The party no longer says that it wants what we send (RFC 7675).
    #[error("consent of the party is lost")]
    Consent,
}

impl Failure {
    /// The label of the counter, and of the call's query.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "ice_timeout",
            Self::Consent => "ice_consent",
        }
    }
}

/// Why a datagram was not taken. It has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// No STUN message, or one without what a check has to have.
    #[error("not a well-formed STUN message of a check")]
    Malformed,
    /// Another method than Binding, or another user: not for this agent.
    #[error("not for this agent")]
    Stranger,
    /// Its integrity is not proven by the password.
    #[error("the integrity of the message is not proven")]
    Integrity,
    /// It comes from yet another address of a party that has shown too many.
    #[error("the party has shown too many addresses")]
    TooManySources,
    /// An answer to none of the checks that wait for one: a replayed or late one, or from elsewhere than the check went to.
    #[error("no check waits for this answer")]
    Unasked,
}

impl Refusal {
    /// The label of the counter, and of the call's query.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "stun_malformed",
            Self::Stranger => "stun_stranger",
            Self::Integrity => "stun_integrity",
            Self::TooManySources => "stun_too_many_sources",
            Self::Unasked => "stun_unasked",
        }
    }
}

/// Why a candidate was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CandidateError {
    /// Not what RFC 8839 §5.1 has, or with a name in place of an address.
    #[error("not a candidate with an address")]
    Malformed,
    /// Of another transport than UDP.
    #[error("not a candidate of UDP")]
    Transport,
    /// The party has named as many as are looked at.
    #[error("too many candidates")]
    TooMany,
}
