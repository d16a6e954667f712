use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, CallReport, CallSpec, Fingerprint, IdempotencyKey, LegSpec, NodeName, Refusal};

/// Numbers the media requests of one `B2bua`; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaRequestId(pub u64);

/// Something that a media node shall do.
///
/// A call has at most one request under way. A `Delete` is the call's last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRequest {
    /// To be repeated in the answer.
    pub id: MediaRequestId,
    /// The call.
    pub call: CallId,
    /// The node does a repetition with the same key only once.
    pub key: IdempotencyKey,
    /// The node that has the call; `None` lets the client choose (`Create`), or ask the one that it chose before
    /// (`Delete` after a `Create` whose answer never came).
    pub node: Option<NodeName>,
    /// What to do.
    pub kind: MediaKind,
}

/// What a [`MediaRequest`] asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Allocate ports for a call. Its legs are `caller`, then `callee`.
    Create(CallSpec),
    /// Replace these legs' media.
    Update(Vec<LegSpec>),
    /// Free the ports; the answer has the last statistics.
    Delete,
}

/// What became of a [`MediaRequest`]. One that never comes is given up after
/// [`Config::media_answer_timeout`](crate::Config::media_answer_timeout).
#[derive(Clone, Debug, PartialEq)]
pub struct MediaAnswer {
    /// Which request.
    pub id: MediaRequestId,
    /// The node that did it and the call as it is now.
    pub result: Result<(NodeName, CallReport), MediaError>,
    /// Of the certificate that the node shows in handshakes; `None` for one that makes none, or is not known yet.
    pub fingerprint: Option<Arc<Fingerprint>>,
}

/// Why a [`MediaRequest`] had no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// No node is able to take the call.
    #[error("no media node can take the call")]
    NoNode {
        /// When it may be worth trying again; goes into `Retry-After`.
        retry_after: Duration,
    },
    /// The node refused.
    #[error("the media node refused: {0}")]
    Refused(#[from] Refusal),
    /// The node did not answer in time or its connection broke: it may or may not have done it.
    #[error("the media node did not answer")]
    Lost,
}

impl MediaError {
    /// The label of the error's counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoNode { .. } => "no_node",
            Self::Refused(refusal) => refusal.reason(),
            Self::Lost => "lost",
        }
    }

    /// The SIP status that tells the party whose request needed media: 488 when it asked for something that the node
    /// never does, else 503.
    pub const fn sip_status(self) -> u16 {
        match self {
            Self::Refused(Refusal::Invalid(_) | Refusal::UnknownInterface) => 488,
            Self::Refused(_) | Self::NoNode { .. } | Self::Lost => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_status() {
        for (error, status) in [
            (
                MediaError::NoNode {
                    retry_after: Duration::from_secs(1),
                },
                503,
            ),
            (MediaError::Lost, 503),
            (MediaError::Refused(Refusal::NoPorts), 503),
            (MediaError::Refused(Refusal::NoCapacity), 503),
            (MediaError::Refused(Refusal::Busy), 503),
            (MediaError::Refused(Refusal::Draining), 503),
            (MediaError::Refused(Refusal::UnknownCall), 503),
            (MediaError::Refused(Refusal::CallExists), 503),
            (MediaError::Refused(Refusal::UnknownLeg), 503),
            (MediaError::Refused(Refusal::UnknownInterface), 488),
            (MediaError::Refused(Refusal::Invalid("x")), 488),
        ] {
            assert_eq!(error.sip_status(), status, "{error}");
        }
    }
}
