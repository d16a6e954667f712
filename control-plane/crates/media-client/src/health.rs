use std::sync::Arc;
use std::time::Duration;

use crate::Operation;
use crate::client::Context;
use crate::node::{Health, Node};
use crate::outcome::{Outcome, attempt};

/// A node that is down is asked this much more often, so that a start and a return are seen soon.
const DOWN_FACTOR: u32 = 4;

/// Late answers in a row that make a node one that is down; not reaching it does at once.
const LATE_MAX: u32 = 2;

/// Asks `node` how it is, for ever.
pub(crate) async fn run(context: Arc<Context>, node: Arc<Node>) {
    let interval = context.config.poll_interval;
    let mut late = 0;
    loop {
        let outcome = describe(&context, &node, interval).await;
        late = if matches!(outcome, Outcome::Unclear) {
            late + 1
        } else {
            0
        };
        if node.state().refusing(
            matches!(outcome, Outcome::NotReached { refused: true }),
            context.config.gone_after,
        ) {
            // Its calls are to be given up.
            node.reconcile.notify_one();
        }
        match outcome {
            Outcome::Done(description) => {
                let before = node.state().described(&description);
                let now = node.state().health;
                if before != now {
                    let (backend, version) = (&description.backend, &description.version);
                    tracing::info!(node = %node.name, health = now.as_str(), backend, version, "media node");
                }
            }
            Outcome::Unclear if late < LATE_MAX => {}
            Outcome::Unclear | Outcome::NotReached { .. } | Outcome::Refused(_) => context.suspect(&node),
        }
        context.tell_healthy();
        let down = node.state().health == Health::Down;
        tokio::time::sleep(if down { interval / DOWN_FACTOR } else { interval }).await;
    }
}

async fn describe(
    context: &Context,
    node: &Node,
    timeout: Duration,
) -> Outcome<proto::media_v1::DescribeResponse> {
    let request = proto::media_v1::DescribeRequest {};
    let outcome = attempt(timeout, node.stub().describe(request), |answer| {
        Ok(answer.into_inner())
    })
    .await;
    context.counters.attempt(Operation::Describe, outcome.label());
    outcome
}

impl Context {
    /// Gives `node` no calls until it says that it is well.
    pub(crate) fn suspect(&self, node: &Node) {
        let before = std::mem::replace(&mut node.state().health, Health::Down);
        if before != Health::Down {
            tracing::warn!(node = %node.name, health = "down", "media node does not answer");
        }
        self.tell_healthy();
    }
}
