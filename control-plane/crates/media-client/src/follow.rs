use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, CallReport, IdempotencyKey, LegSpec, NodeName, Refusal};
use proto::convert::{delete_to_wire, update_to_wire};
use proto::media_v1::call_request::Request as CallRequest;
use tokio::time::Instant;

use crate::client::Context;
use crate::node::Node;
use crate::outcome::{Outcome, attempt, report};
use crate::pauses::Pauses;
use crate::{Failure, Operation, orphans};

type Done = Result<(NodeName, CallReport), Failure>;

/// Changes a call on the node that has it.
pub(crate) async fn update(
    context: &Context,
    key: &IdempotencyKey,
    call: &CallId,
    node: Option<&NodeName>,
    legs: &[LegSpec],
) -> Done {
    let node = context.node(node)?;
    let until = Instant::now() + context.config.deadline;
    let outcome = again(until, || async {
        let wire = CallRequest::Update(update_to_wire(key, call, legs));
        let timeout = context.timeout(until);
        let outcome = attempt(timeout, node.command(wire, timeout), report).await;
        context.counters.attempt(Operation::Update, outcome.label());
        outcome
    })
    .await;
    match outcome {
        Outcome::Done(report) => Ok((node.name.clone(), report)),
        Outcome::Refused(refusal) => Err(Failure::Refused(refusal)),
        Outcome::NotReached { .. } | Outcome::Unclear => Err(Failure::Lost),
    }
}

/// Removes a call from the node that has it. Its lease is not renewed from now on; when the node does not answer in
/// time the delete is tried later, without the owner.
pub(crate) async fn delete(
    context: &Context,
    key: &IdempotencyKey,
    call: &CallId,
    node: Option<&NodeName>,
) -> Done {
    let node = context.holder(node, call)?;
    node.state().held.remove(call);
    let until = Instant::now() + context.config.deadline;
    let outcome = again(until, || async {
        let wire = CallRequest::Delete(delete_to_wire(key, call));
        let timeout = context.timeout(until);
        let outcome = attempt(timeout, node.command(wire, timeout), report).await;
        context.counters.attempt(Operation::Delete, outcome.label());
        outcome
    })
    .await;
    match outcome {
        Outcome::Done(report) => Ok((node.name.clone(), report)),
        Outcome::Refused(refusal) => {
            if refusal != Refusal::UnknownCall {
                orphans::note(context, &node, call);
            }
            Err(Failure::Refused(refusal))
        }
        Outcome::NotReached { .. } | Outcome::Unclear => {
            orphans::note(context, &node, call);
            Err(Failure::Lost)
        }
    }
}

/// Has a call deleted by the sweep: its owner does not wait for it.
pub(crate) fn delete_later(context: &Context, call: &CallId, node: Option<&NodeName>) {
    if let Ok(node) = context.holder(node, call) {
        node.state().held.remove(call);
        orphans::note(context, &node, call);
    }
}

/// Tries until there is a clear answer or the time is over. `Busy` clears up by itself, so it is tried again too.
async fn again<F>(until: Instant, mut once: impl FnMut() -> F) -> Outcome<CallReport>
where
    F: Future<Output = Outcome<CallReport>>,
{
    let mut pauses = Pauses::default();
    loop {
        let outcome = once().await;
        let final_one = match outcome {
            Outcome::Done(_) => true,
            Outcome::Refused(refusal) => refusal != Refusal::Busy,
            Outcome::NotReached { .. } | Outcome::Unclear => false,
        };
        if final_one || !pauses.wait_before(until).await {
            return outcome;
        }
    }
}

impl Context {
    /// The node of that name, or the one that has the call. When the call is only being made, what is made will be
    /// deleted: there is no node to name yet.
    fn holder(&self, name: Option<&NodeName>, call: &CallId) -> Result<Arc<Node>, Failure> {
        if name.is_some() {
            return self.node(name);
        }
        if let Some(deleted) = self.creating().get_mut(call) {
            *deleted = true;
        }
        let found = self
            .nodes
            .iter()
            .find(|node| node.state().held.contains_key(call));
        found.cloned().ok_or(Failure::Refused(Refusal::UnknownCall))
    }

    fn node(&self, name: Option<&NodeName>) -> Result<Arc<Node>, Failure> {
        let found = self.nodes.iter().find(|node| Some(&node.name) == name);
        found.cloned().ok_or(Failure::Refused(Refusal::UnknownCall))
    }

    fn timeout(&self, until: Instant) -> Duration {
        self.config
            .attempt_timeout
            .min(until.saturating_duration_since(Instant::now()))
    }
}
