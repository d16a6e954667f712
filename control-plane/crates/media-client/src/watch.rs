use std::sync::Arc;
use std::time::Duration;

use media_types::EventKind;
use proto::convert::event_from_wire;
use proto::media_v1::watch_events_response::Event as WireEvent;
use proto::media_v1::{WatchEventsRequest, WatchEventsResponse};
use tokio_stream::StreamExt as _;

use crate::Report;
use crate::client::Context;
use crate::node::Node;

/// How long to wait before watching again, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Passes the events of `node` on, for ever. Whenever the stream begins, what was missed before is found by renewing
/// all leases: the node names the calls that it does not have.
pub(crate) async fn run(context: Arc<Context>, node: Arc<Node>) {
    let mut retry = RETRY_MIN;
    loop {
        if let Ok(answer) = node.stub().watch_events(WatchEventsRequest {}).await {
            retry = RETRY_MIN;
            node.reconcile.notify_one();
            let mut events = answer.into_inner();
            while let Some(Ok(event)) = events.next().await {
                pass_on(&context, &node, event).await;
            }
            tracing::info!(node = %node.name, "the media node's events stopped");
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

async fn pass_on(context: &Context, node: &Node, message: WatchEventsResponse) {
    match message.event {
        Some(WireEvent::CallEvent(wire)) => match event_from_wire(wire) {
            Ok(event) => {
                context.counters.change(|counters| counters.events += 1);
                if matches!(event.kind, EventKind::Ended { .. }) {
                    node.state().held.remove(&event.call);
                }
                context
                    .report(Report::Event {
                        node: node.name.clone(),
                        event,
                    })
                    .await;
            }
            Err(error) => tracing::warn!(node = %node.name, %error, "a media node's event makes no sense"),
        },
        Some(WireEvent::Missed(count)) => {
            context
                .counters
                .change(|counters| counters.events_missed += count);
            tracing::warn!(node = %node.name, count, "events of the media node were missed");
            node.reconcile.notify_one();
        }
        // Of a later version.
        None => {}
    }
}
