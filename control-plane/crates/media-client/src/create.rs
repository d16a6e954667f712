use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};

use media_types::{CallId, CallReport, CallSpec, IdempotencyKey, NodeName, Refusal};
use proto::convert::create_to_wire;
use proto::media_v1::call_request::Request as CallRequest;
use tokio::time::Instant;

use crate::choose::{Candidate, order};
use crate::client::Context;
use crate::node::{Health, Node};
use crate::outcome::{Outcome, attempt, report};
use crate::pauses::Pauses;
use crate::{Failure, Operation, orphans};

/// Makes a call on the first node that takes it; nodes that are busy are asked again. When a delete came meanwhile, the call is noted to be deleted.
pub(crate) async fn create(
    context: &Context,
    key: &IdempotencyKey,
    spec: CallSpec,
    only: Option<&NodeName>,
) -> Result<(NodeName, CallReport), Failure> {
    let call = spec.id.clone();
    context.creating().insert(call.clone(), false);
    let made = make(context, key, spec, only).await;
    let deleted = context.creating().remove(&call).unwrap_or(false);
    let (node, report) = made?;
    if deleted {
        orphans::note(context, &node, &call);
    } else {
        node.state().held.insert(call, Instant::now());
    }
    Ok((node.name.clone(), report))
}

async fn make(
    context: &Context,
    key: &IdempotencyKey,
    mut spec: CallSpec,
    only: Option<&NodeName>,
) -> Result<(Arc<Node>, CallReport), Failure> {
    if spec.lease.is_zero() {
        spec.lease = context.config.lease;
    }
    let until = Instant::now() + context.config.deadline;
    let mut unclear: Vec<Arc<Node>> = Vec::new();
    let mut busy: VecDeque<Arc<Node>> = VecDeque::new();
    let mut refused = None;
    let mut made = None;
    for node in context.candidates(only) {
        if Instant::now() >= until {
            break;
        }
        match once(context, &node, key, &spec, until).await {
            Outcome::Done(report) => {
                made = Some((node, report));
                break;
            }
            // It passes, within milliseconds as a rule, and says nothing of how full the node is.
            Outcome::Refused(Refusal::Busy) => {
                refused = Some(Refusal::Busy);
                busy.push_back(node);
            }
            Outcome::Refused(refusal) => {
                // A node without the interface that is wanted may stand beside one that has it, so the others are
                // asked whatever the refusal is, except where they would find the same.
                refused = Some(refusal);
                if refusal.is_capacity() {
                    node.state().full();
                } else if refusal != Refusal::UnknownInterface {
                    break;
                }
                tracing::info!(call = %spec.id, node = %node.name, reason = refusal.reason(), "media node passed over");
            }
            Outcome::NotReached { .. } => {
                tracing::info!(call = %spec.id, node = %node.name, reason = "not reached", "media node passed over");
                context.suspect(&node);
            }
            Outcome::Unclear => {
                tracing::info!(call = %spec.id, node = %node.name, reason = "unclear", "media node passed over");
                unclear.push(node);
            }
        }
    }
    // Nobody else took it: what was unclear may be clear by now. The key makes asking again safe.
    while made.is_none() && Instant::now() < until && !unclear.is_empty() {
        let node = unclear.remove(0);
        match once(context, &node, key, &spec, until).await {
            Outcome::Done(report) => made = Some((node, report)),
            Outcome::Refused(refusal) if refusal != Refusal::Busy => refused = Some(refusal),
            // A node that cannot be reached now may still have it from the attempt before.
            _ => orphans::note(context, &node, &spec.id),
        }
    }
    let mut pauses = Pauses::default();
    while made.is_none()
        && !busy.is_empty()
        && pauses.wait_before(until).await
        && let Some(node) = busy.pop_front()
    {
        match once(context, &node, key, &spec, until).await {
            Outcome::Done(report) => made = Some((node, report)),
            Outcome::Refused(Refusal::Busy) => busy.push_back(node),
            Outcome::Refused(refusal) => refused = Some(refusal),
            Outcome::NotReached { .. } => context.suspect(&node),
            Outcome::Unclear => unclear.push(node),
        }
    }
    for node in &unclear {
        context.suspect(node);
        orphans::note(context, node, &spec.id);
    }
    match (made, refused) {
        (Some(made), _) => Ok(made),
        (None, Some(refusal)) if !refusal.is_capacity() => Err(Failure::Refused(refusal)),
        _ => Err(Failure::NoNode {
            retry_after: context.config.retry_after,
        }),
    }
}

async fn once(
    context: &Context,
    node: &Node,
    key: &IdempotencyKey,
    spec: &CallSpec,
    until: Instant,
) -> Outcome<CallReport> {
    node.state().reserve();
    let timeout = context
        .config
        .attempt_timeout
        .min(until.saturating_duration_since(Instant::now()));
    let wire = CallRequest::Create(create_to_wire(key, spec));
    let outcome = attempt(timeout, node.command(wire, timeout), report).await;
    node.state()
        .settle(matches!(outcome, Outcome::Done(_) | Outcome::Unclear));
    context.counters.attempt(Operation::Create, outcome.label());
    outcome
}

impl Context {
    pub(crate) fn creating(&self) -> MutexGuard<'_, HashMap<CallId, bool>> {
        self.creating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes to try, in order: `only` that one, or every one that is up.
    fn candidates(&self, only: Option<&NodeName>) -> Vec<Arc<Node>> {
        let mut candidates: Vec<Candidate> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let state = node.state();
            if only.is_none_or(|name| *name == node.name) && state.health == Health::Up {
                candidates.push(Candidate {
                    index,
                    free: state.free(),
                });
            }
        }
        order(&mut candidates, self.turn());
        candidates
            .iter()
            .map(|candidate| self.nodes[candidate.index].clone())
            .collect()
    }
}
