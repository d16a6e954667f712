use thiserror::Error;

/// Why a datagram was not taken. It has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// It comes from elsewhere than the party, or nobody has said yet where the party is.
    #[error("not from the address of the party")]
    Source,
    /// A record says that it is longer than its datagram, or another one begins and does not end.
    #[error("a record is longer than its datagram")]
    Truncated,
    /// A record says that it is longer than any may be (RFC 6347 §4.1).
    #[error("a record is longer than any may be")]
    Oversized,
    /// An alert in clear, which proves nothing of who sent it.
    #[error("an alert in clear")]
    Alert,
    /// No answer to a ClientHello, before there was one.
    #[error("no answer to a ClientHello")]
    Stray,
}

impl Refusal {
    /// The label of the counter, and of the call's query.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Source => "dtls_source",
            Self::Truncated => "dtls_truncated",
            Self::Oversized => "dtls_oversized",
            Self::Alert => "dtls_alert",
            Self::Stray => "dtls_stray",
        }
    }
}
