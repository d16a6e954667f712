use std::sync::Arc;
use std::time::Duration;

use media_types::{
    CallId, CallReport, CallSpec, Event, Fingerprint, IdempotencyKey, LegSpec, NodeName, Refusal,
};

/// Something to be done on a media node.
#[derive(Clone, Debug)]
pub struct Request {
    /// Chosen by the asker; comes back with the answer.
    pub id: u64,
    /// The call.
    pub call: CallId,
    /// Names this request towards the nodes, so that trying again is safe.
    pub key: IdempotencyKey,
    /// The node that has the call; `None` lets the client choose, which only a create may.
    pub node: Option<NodeName>,
    /// What to do.
    pub kind: Kind,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Make the call. A lease of zero takes [`crate::Config::lease`].
    Create(CallSpec),
    /// Change the media of these legs.
    Update(Vec<LegSpec>),
    /// Remove the call.
    Delete,
}

/// What became of a [`Request`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request's.
    pub id: u64,
    /// The node that did it, and the call as it then stood.
    pub result: Result<(NodeName, CallReport), Failure>,
    /// Of the certificate that the node shows in handshakes, as it said last; `None` for one that makes none.
    pub fingerprint: Option<Arc<Fingerprint>>,
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No node can take a call now.
    #[error("no media node can take a call")]
    NoNode {
        /// When one may.
        retry_after: Duration,
    },
    /// The node said no, and another would say the same.
    #[error("the media node refused: {0}")]
    Refused(Refusal),
    /// The node that has the call does not answer. What it did is not known.
    #[error("the media node does not answer")]
    Lost,
}

/// What the client tells its owner.
#[derive(Clone, Debug)]
pub enum Report {
    /// An answer to a request.
    Answer(Answer),
    /// An event of a node.
    Event {
        /// The node.
        node: NodeName,
        /// What it told.
        event: Event,
    },
    /// A node does not have a call any more that it should have: it was restarted, or the lease ran out.
    CallLost {
        /// The node.
        node: NodeName,
        /// The call.
        call: CallId,
    },
}
