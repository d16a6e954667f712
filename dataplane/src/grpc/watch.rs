//! What watchers are told, for as long as they listen.

use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, Refusal};
use proto::convert;
use proto::media_v1::{self as wire, watch_events_response};
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;
use tonic::Status;

use crate::node::{Node, Notice};

/// Hands notices on until the watcher goes, or the node stops.
pub(super) async fn tell_events(
    node: Arc<Node>,
    mut notices: broadcast::Receiver<Notice>,
    answers: mpsc::Sender<wire::WatchEventsResponse>,
) {
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = answers.closed() => return,
        };
        let event = match notice {
            Ok(Notice::Event(event)) => {
                watch_events_response::Event::CallEvent(convert::event_to_wire(&event))
            }
            Ok(Notice::Missed(count)) => watch_events_response::Event::Missed(count),
            Err(broadcast::error::RecvError::Lagged(count)) => {
                node.tally().count_missed(count);
                watch_events_response::Event::Missed(count)
            }
            Ok(Notice::Closing) | Err(broadcast::error::RecvError::Closed) => return,
        };
        if answers
            .send(wire::WatchEventsResponse { event: Some(event) })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Tells the statistics of one call, or of all, at each interval, until the watcher goes, the call is gone or the node
/// stops. A worker that is busy is left out once; a slow watcher gets fewer rounds.
pub(super) async fn tell_statistics(
    node: Arc<Node>,
    call: Option<CallId>,
    interval: Duration,
    message_bytes_max: usize,
    answers: mpsc::Sender<Result<wire::WatchStatisticsResponse, Status>>,
) {
    let mut closing = node.closing();
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = answers.closed() => return,
            _ = closing.wait_for(|closing| *closing) => return,
        }
        let round = match &call {
            Some(call) => match node.query(call.clone()).await {
                Ok(report) => {
                    let calls = vec![convert::report_to_wire(&report)];
                    answers.send(Ok(wire::WatchStatisticsResponse { calls })).await
                }
                Err(Refusal::Busy) => Ok(()),
                Err(refusal) => return drop(answers.send(Err(convert::refusal_to_status(refusal))).await),
            },
            None => tell_all(&node, message_bytes_max, &answers).await,
        };
        if round.is_err() {
            return;
        }
    }
}

/// One round over all calls, in as many messages as it takes; one empty message when there are none.
async fn tell_all(
    node: &Node,
    message_bytes_max: usize,
    answers: &mpsc::Sender<Result<wire::WatchStatisticsResponse, Status>>,
) -> Result<(), mpsc::error::SendError<Result<wire::WatchStatisticsResponse, Status>>> {
    let mut message = wire::WatchStatisticsResponse::default();
    let mut bytes = 0;
    let mut told = false;
    for piece in node.pieces() {
        let Ok(reports) = node.piece(piece).await else {
            continue;
        };
        for report in reports {
            let call = convert::report_to_wire(&report);
            // Tag and length of the field come on top.
            let size = prost::Message::encoded_len(&call) + 8;
            if bytes + size > message_bytes_max && !message.calls.is_empty() {
                answers.send(Ok(std::mem::take(&mut message))).await?;
                told = true;
                bytes = 0;
            }
            bytes += size;
            message.calls.push(call);
        }
    }
    if !told || !message.calls.is_empty() {
        answers.send(Ok(message)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use media_types::{Event, EventKind, LegId};
    use ops::clock::MonotonicClock;

    use super::*;
    use crate::node::{Identity, Memory};

    #[tokio::test]
    async fn a_slow_watcher_is_told_how_much_it_missed_and_then_the_rest() {
        const QUEUE: usize = 8;
        let identity = Identity {
            node_id: "test".into(),
            backend: "none",
            backend_reason: "a test",
            interfaces: vec![],
            kernel: vec![],
            calls_max: 0,
            fingerprint: crate::setting_up::no_fingerprint(),
        };
        let node = Arc::new(Node::new(
            identity,
            MonotonicClock::start(),
            vec![],
            vec![],
            QUEUE,
            Memory {
                time: Duration::ZERO,
                calls_max: 0,
            },
            crate::journal::Journal::off(),
        ));
        let (notices, behind) = broadcast::channel(QUEUE);
        for n in 0..20 {
            let kind = EventKind::FirstPacket {
                leg: LegId::new("a").expect("a name"),
                line: 0,
            };
            let call = CallId::new(&n.to_string()).expect("a name");
            assert!(
                notices
                    .send(Notice::Event(Arc::new(Event { call, kind })))
                    .is_ok()
            );
        }
        drop(notices);
        let (answers, mut told) = mpsc::channel(4);
        tokio::spawn(tell_events(node, behind, answers));
        let first = told.recv().await.expect("a message").event;
        assert_eq!(first, Some(watch_events_response::Event::Missed(12)));
        let mut calls = vec![];
        while let Some(message) = told.recv().await {
            let Some(watch_events_response::Event::CallEvent(event)) = message.event else {
                panic!("{message:?}")
            };
            calls.push(event.call_id);
        }
        assert_eq!(calls, (12..20).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
