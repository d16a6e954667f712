use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, IdempotencyKey, Refusal};
use proto::convert::delete_to_wire;
use proto::media_v1::call_request::Request as CallRequest;
use tokio::time::Instant;

use crate::client::Context;
use crate::node::Node;
use crate::outcome::{Outcome, attempt};
use crate::{Operation, counters};

/// Calls noted for deletion on one node at most; beyond it their leases end them.
const ORPHANS_MAX: usize = 10_000;

/// How often the list is gone through. An orphan is looked for again after this long even when the node does not know
/// it: the create may have been on its way.
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// How many "no such call" make an orphan one that never was.
const UNKNOWN_ANSWERS: u32 = 2;

/// Calls that may exist on a node although nobody wants them there: the outcome of their create, or of their delete,
/// was unclear.
#[derive(Debug, Default)]
pub(crate) struct Orphans(VecDeque<Orphan>);

#[derive(Clone, Debug)]
struct Orphan {
    call: CallId,
    key: IdempotencyKey,
    /// When the lease must have ended it.
    until: Instant,
    unknown: u32,
}

impl Orphans {
    /// Notes `call`, to be deleted with `key`, until its lease must be over. False when the list is full.
    pub(crate) fn add(&mut self, call: CallId, key: IdempotencyKey, until: Instant) -> bool {
        let room = self.0.len() < ORPHANS_MAX;
        if room {
            self.0.push_back(Orphan {
                call,
                key,
                until,
                unknown: 0,
            });
        }
        room
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Notes that `call` may be on `node`.
pub(crate) fn note(context: &Context, node: &Node, call: &CallId) {
    let until = Instant::now() + context.config.lease + context.config.deadline;
    if !node.state().orphans.add(call.clone(), context.own_key(), until) {
        context.counters.change(|counters| counters.orphans_dropped += 1);
    }
    tracing::warn!(%call, node = %node.name, "outcome unclear; the call is to be deleted there");
}

/// Deletes what is noted for `node`, for ever.
pub(crate) async fn run(context: Arc<Context>, node: Arc<Node>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let noted = node.state().orphans.len();
        for _ in 0..noted {
            let Some(orphan) = node.state().orphans.0.pop_front() else {
                break;
            };
            if let Some(left) = sweep(&context.counters, &node, orphan, context.config.attempt_timeout).await
            {
                node.state().orphans.0.push_back(left);
            }
        }
    }
}

/// Tries to delete one; gives it back when it must be tried again.
async fn sweep(
    counters: &counters::Shared,
    node: &Node,
    mut orphan: Orphan,
    timeout: Duration,
) -> Option<Orphan> {
    if Instant::now() >= orphan.until {
        return None;
    }
    let wire = CallRequest::Delete(delete_to_wire(&orphan.key, &orphan.call));
    let outcome = attempt(timeout, node.command(wire, timeout), |_| Ok(())).await;
    counters.attempt(Operation::Sweep, outcome.label());
    match outcome {
        Outcome::Done(()) => None,
        Outcome::Refused(Refusal::UnknownCall) => {
            orphan.unknown += 1;
            (orphan.unknown < UNKNOWN_ANSWERS).then_some(orphan)
        }
        _ => Some(orphan),
    }
}
