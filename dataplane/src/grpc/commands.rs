use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, Refusal};
use proto::convert;
use proto::media_v1 as wire;
use tokio::time::Instant;
use tonic::Status;

use crate::node::{Node, Operation};

/// Creates, updates and deletes, whether each came by itself or many came in one exchange.
#[derive(Clone, Debug)]
pub struct Commands {
    node: Arc<Node>,
    /// No request takes longer; its caller may want less.
    request_timeout: Duration,
}

impl Commands {
    /// Commands to `node`.
    pub fn new(node: Arc<Node>, request_timeout: Duration) -> Self {
        Self {
            node,
            request_timeout,
        }
    }

    /// Counts a request and its outcome, and ends it in time: after `timeout` if that is not zero and less than the limit.
    pub async fn counted<T>(
        &self,
        operation: Operation,
        timeout: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let counting = self.node.tally().request(operation);
        let own = !timeout.is_zero() && timeout < self.request_timeout;
        let limit = if own { timeout } else { self.request_timeout };
        let outcome = match tokio::time::timeout(limit, answer).await {
            Ok(outcome) => outcome,
            Err(_) if own => Err(Status::deadline_exceeded(
                "timeout_ms has passed; the command may be carried out",
            )),
            Err(_) => Err(Status::deadline_exceeded(
                "grpc.request_timeout_ms has passed; the command may be carried out",
            )),
        };
        counting.answered(&outcome);
        outcome
    }

    /// One request of an exchange that came at `received`: its time runs from then. It is not begun when that is over, for
    /// its caller has stopped waiting.
    pub async fn command(&self, request: wire::CallRequest, received: Instant) -> wire::CallAnswer {
        use wire::call_request::Request;
        let wanted = Duration::from_millis(u64::from(request.timeout_ms));
        let whole = match wanted.is_zero() {
            true => self.request_timeout,
            false => wanted.min(self.request_timeout),
        };
        let timeout = whole.saturating_sub(received.elapsed());
        let outcome = match request.request {
            Some(_) if timeout.is_zero() => Err(Status::deadline_exceeded(
                "the time of the request passed before its turn; the command was not begun",
            )),
            Some(Request::Create(create)) => self.create(create, timeout).await,
            Some(Request::Update(update)) => self.update(update, timeout).await,
            Some(Request::Delete(delete)) => self.delete(delete, timeout).await,
            // Of a later version, or nothing.
            None => Err(convert::FieldError::new("request", convert::Problem::Missing).into()),
        };
        let result = match outcome {
            Ok(call) => wire::call_answer::Result::Call(call),
            Err(status) => wire::call_answer::Result::Failure(convert::status_to_failure(&status)),
        };
        wire::CallAnswer {
            request_id: request.request_id,
            result: Some(result),
        }
    }

    /// CreateCall. A `timeout` of zero is that of the node, here and below.
    pub async fn create(
        &self,
        request: wire::CreateCallRequest,
        timeout: Duration,
    ) -> Result<wire::Call, Status> {
        let created = async {
            let (key, spec) = convert::create_from_wire(request)?;
            let call = spec.id.clone();
            let created = self.node.create(key, spec).await;
            let report = created.map_err(|refusal| refused(&call, "create", refusal))?;
            tracing::info!(%call, "call created");
            Ok(convert::report_to_wire(&report))
        };
        self.counted(Operation::Create, timeout, created).await
    }

    /// UpdateCall.
    pub async fn update(
        &self,
        request: wire::UpdateCallRequest,
        timeout: Duration,
    ) -> Result<wire::Call, Status> {
        let updated = async {
            let (key, call, legs) = convert::update_from_wire(request)?;
            let updated = self.node.update(key, call.clone(), legs).await;
            let report = updated.map_err(|refusal| refused(&call, "update", refusal))?;
            tracing::debug!(%call, "call updated");
            Ok(convert::report_to_wire(&report))
        };
        self.counted(Operation::Update, timeout, updated).await
    }

    /// DeleteCall.
    pub async fn delete(
        &self,
        request: wire::DeleteCallRequest,
        timeout: Duration,
    ) -> Result<wire::Call, Status> {
        let deleted = async {
            let (key, call) = convert::delete_from_wire(&request)?;
            let deleted = self.node.delete(key, call.clone()).await;
            let report = deleted.map_err(|refusal| refused(&call, "delete", refusal))?;
            tracing::info!(%call, "call deleted");
            Ok(convert::report_to_wire(&report))
        };
        self.counted(Operation::Delete, timeout, deleted).await
    }
}

fn refused(call: &CallId, command: &str, refusal: Refusal) -> Status {
    if refusal.is_capacity() {
        // An overloaded node must not write a line for each; the counter of commands tells how many.
        tracing::debug!(%call, command, reason = refusal.reason(), "refused: {refusal}");
    } else {
        tracing::info!(%call, command, reason = refusal.reason(), "refused: {refusal}");
    }
    convert::refusal_to_status(refusal)
}
