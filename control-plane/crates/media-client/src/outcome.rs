use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use media_types::{CallReport, Refusal};
use proto::convert::{FieldError, Problem, refusal_from_status, report_from_wire};
use proto::media_v1::Call;
use tonic::{Code, ConnectError, Status};

/// What one attempt at one node came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome<T> {
    /// Done.
    Done(T),
    /// The node decided not to.
    Refused(Refusal),
    /// The node was not reached: nothing was done.
    NotReached {
        /// Its address refused the connection: the host is there and the process is not.
        refused: bool,
    },
    /// The node may have done it or not: it was late, the connection broke, the answer made no sense.
    Unclear,
}

impl<T> Outcome<T> {
    /// The label of the attempt counter.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(refusal) => refusal.reason(),
            Self::NotReached { refused: false } => "not_reached",
            Self::NotReached { refused: true } => "connection_refused",
            Self::Unclear => "unclear",
        }
    }
}

/// Runs one attempt for at most `timeout` and reads its answer with `convert`.
pub(crate) async fn attempt<W, T>(
    timeout: Duration,
    call: impl Future<Output = Result<W, Status>>,
    convert: impl FnOnce(W) -> Result<T, FieldError>,
) -> Outcome<T> {
    match tokio::time::timeout(timeout, call).await {
        Err(_elapsed) => Outcome::Unclear,
        Ok(Err(status)) => from_status(&status),
        Ok(Ok(answer)) => match convert(answer) {
            Ok(value) => Outcome::Done(value),
            Err(error) => {
                tracing::warn!(%error, "a media node's answer makes no sense");
                Outcome::Unclear
            }
        },
    }
}

/// Reads the call that a node answers with.
pub(crate) fn report(call: Option<Call>) -> Result<CallReport, FieldError> {
    report_from_wire(call.ok_or_else(|| FieldError::new("call", Problem::Missing))?)
}

/// What lies behind a status, from the outside in.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn from_status<T>(status: &Status) -> Outcome<T> {
    if let Some(refusal) = refusal_from_status(status) {
        return Outcome::Refused(refusal);
    }
    if causes(status).any(|error| error.is::<ConnectError>()) {
        // A Unix socket's path is gone, or has nobody behind it.
        let absent =
            |error: &io::Error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
        let refused = causes(status)
            .filter_map(|error| error.downcast_ref())
            .any(absent);
        return Outcome::NotReached { refused };
    }
    match status.code() {
        // Said before anything is done: by a node of another version, or one that does not know us.
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => {
            Outcome::NotReached { refused: false }
        }
        _ => Outcome::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_nothing_counts_as_not_reached() {
        let outcome = |code| from_status::<()>(&Status::new(code, "x"));
        assert_eq!(
            outcome(Code::Unimplemented),
            Outcome::NotReached { refused: false }
        );
        assert_eq!(
            outcome(Code::PermissionDenied),
            Outcome::NotReached { refused: false }
        );
        for code in [
            Code::Unavailable,
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unknown,
        ] {
            assert_eq!(outcome(code), Outcome::Unclear, "{code:?}");
        }
        let refused = proto::convert::refusal_to_status(Refusal::NoPorts);
        assert_eq!(from_status::<()>(&refused), Outcome::Refused(Refusal::NoPorts));
    }
}
