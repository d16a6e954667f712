//! Between the calls' words for media and the client's. Neither crate knows the other.

use std::time::Duration;

use call::{MediaAnswer, MediaError, MediaKind, MediaRequest, MediaRequestId};
use media_client::{Answer, Failure, Kind, Request};
use media_types::{CallId, CallReport, EndCause, Event, EventKind};

/// A request of the B2BUA, for the client.
pub fn request(request: MediaRequest) -> Request {
    Request {
        id: request.id.0,
        call: request.call,
        key: request.key,
        node: request.node,
        kind: match request.kind {
            MediaKind::Create(spec) => Kind::Create(spec),
            MediaKind::Update(legs) => Kind::Update(legs),
            MediaKind::Delete => Kind::Delete,
        },
    }
}

/// The client's answer, for the B2BUA.
pub fn answer(answer: Answer) -> MediaAnswer {
    let result = answer.result.map_err(|failure| match failure {
        Failure::NoNode { retry_after } => MediaError::NoNode { retry_after },
        Failure::Refused(refusal) => MediaError::Refused(refusal),
        Failure::Lost => MediaError::Lost,
    });
    MediaAnswer {
        id: MediaRequestId(answer.id),
        result,
        fingerprint: answer.fingerprint,
    }
}

/// The answer to a request that the client has no room for.
pub fn overloaded(id: MediaRequestId, retry_after: Duration) -> MediaAnswer {
    MediaAnswer {
        id,
        result: Err(MediaError::NoNode { retry_after }),
        fingerprint: None,
    }
}

/// The event that a call is gone from its node without the node having said so: it was restarted, or is away for longer
/// than the lease.
pub fn gone(call: CallId) -> Event {
    let report = CallReport {
        id: call.clone(),
        age: Duration::ZERO,
        lease_left: Duration::ZERO,
        legs: Vec::new(),
    };
    Event {
        call,
        kind: EventKind::Ended {
            cause: EndCause::LeaseExpired,
            report: Box::new(report),
        },
    }
}
