use std::sync::Arc;
use std::time::Duration;

use media_types::CallId;
use proto::convert::renew_to_wire;
use tokio::time::Instant;

use crate::client::Context;
use crate::node::Node;
use crate::outcome::{Outcome, attempt};
use crate::{Operation, Report};

/// Calls in one request; a tenth of what the protocol allows, so that one request does not hold up a worker.
const BATCH: usize = 1_000;

/// How soon to try again what failed or was busy.
const RETRY: Duration = Duration::from_secs(1);

/// Renews the leases of our calls on `node` every third of a lease, and at once when asked to reconcile.
pub(crate) async fn run(context: Arc<Context>, node: Arc<Node>) {
    let regular = context.config.lease / 3;
    let mut wait = regular;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = node.reconcile.notified() => {}
        }
        let all_renewed = renew_all(&context, &node).await;
        give_up_overdue(&context, &node).await;
        wait = if all_renewed { regular } else { RETRY.min(regular) };
    }
}

async fn renew_all(context: &Context, node: &Node) -> bool {
    let calls: Vec<CallId> = node.state().held.keys().cloned().collect();
    let mut all = true;
    for batch in calls.chunks(BATCH) {
        let asked = Instant::now();
        let wire = renew_to_wire(batch);
        let mut stub = node.stub();
        let renewal = stub.renew_leases(wire);
        let outcome = attempt(context.config.attempt_timeout, renewal, |answer| {
            Ok(answer.into_inner())
        })
        .await;
        context.counters.attempt(Operation::Renew, outcome.label());
        let Outcome::Done(answer) = outcome else {
            all = false;
            continue;
        };
        all &= answer.busy_call_ids.is_empty();
        confirm(node, batch, &answer.busy_call_ids, asked);
        for id in &answer.unknown_call_ids {
            if let Ok(call) = CallId::new(id) {
                lose(context, node, call).await;
            }
        }
    }
    all
}

fn confirm(node: &Node, batch: &[CallId], busy: &[String], asked: Instant) {
    let mut state = node.state();
    for call in batch
        .iter()
        .filter(|call| !busy.iter().any(|id| id == call.as_str()))
    {
        if let Some(confirmed) = state.held.get_mut(call) {
            *confirmed = asked;
        }
    }
}

/// Gives up calls whose lease must have run out: the node did not answer, or its worker was busy, all that time. And all
/// calls of a node whose process is gone: they need not wait for their lease.
async fn give_up_overdue(context: &Context, node: &Node) {
    let now = Instant::now();
    let overdue: Vec<CallId> = {
        let state = node.state();
        let gone = state.is_gone(context.config.gone_after);
        let over = |confirmed: Instant| now.saturating_duration_since(confirmed) > context.config.lease;
        let lost = state
            .held
            .iter()
            .filter(|(_, confirmed)| gone || over(**confirmed));
        lost.map(|(call, _)| call.clone()).collect()
    };
    for call in overdue {
        lose(context, node, call).await;
    }
}

/// Tells that `node` does not have `call`, unless that is being deleted.
async fn lose(context: &Context, node: &Node, call: CallId) {
    if node.state().held.remove(&call).is_none() {
        return;
    }
    tracing::warn!(%call, node = %node.name, "the media node does not have the call any more");
    context.counters.change(|counters| counters.calls_lost += 1);
    context
        .report(Report::CallLost {
            node: node.name.clone(),
            call,
        })
        .await;
}
