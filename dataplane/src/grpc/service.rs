use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, Refusal};
use proto::convert;
use proto::media_v1::{self as wire, media_node_server::MediaNode, watch_events_response};
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::config::Grpc;
use crate::kernel::KernelInterface;
use crate::node::{Node, Notice, Operation};
use crate::tap::Admission;

/// The largest page of [`MediaNode::list_calls`], and the one that a request without a size gets.
const PAGE_MAX: u32 = 1_000;
const PAGE_DEFAULT: u32 = 100;
/// Bounds of the interval of [`MediaNode::watch_statistics`] in milliseconds, and what a request without one gets.
const INTERVAL_MS_MIN: u32 = 100;
const INTERVAL_MS_MAX: u32 = 60_000;
const INTERVAL_MS_DEFAULT: u32 = 1_000;
/// Answers that wait for a slow reader of a stream; then the stream waits.
const STREAM_BUFFER: usize = 4;

/// `ringpath.media.v1.MediaNode`: turns requests into commands of the [`Node`], and counts them.
pub struct Service {
    node: Arc<Node>,
    taps: Admission,
    /// No answer may be larger; reports of many calls are cut to fit.
    message_bytes_max: usize,
    /// No request takes longer; its caller may want less, which tonic sees to.
    request_timeout: Duration,
}

type Outcome<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// The service of `node`, with the limits of `config`.
    pub fn new(node: Arc<Node>, taps: Admission, config: &Grpc) -> Self {
        Self {
            node,
            taps,
            message_bytes_max: config.message_bytes_max,
            request_timeout: Duration::from_millis(config.request_timeout_ms),
        }
    }

    async fn counted<T>(
        &self,
        operation: Operation,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Outcome<T> {
        let counting = self.node.tally().request(operation);
        let outcome = match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::deadline_exceeded(
                "grpc.request_timeout_ms has passed; the command may be carried out",
            )),
        };
        counting.answered(&outcome);
        outcome.map(Response::new)
    }

    async fn create(&self, request: wire::CreateCallRequest) -> Result<wire::CreateCallResponse, Status> {
        let (key, spec) = convert::create_from_wire(request)?;
        let call = spec.id.clone();
        let report = self
            .node
            .create(key, spec)
            .await
            .map_err(|refusal| refused(&call, "create", refusal))?;
        tracing::info!(%call, "call created");
        Ok(wire::CreateCallResponse {
            call: Some(convert::report_to_wire(&report)),
        })
    }

    async fn update(&self, request: wire::UpdateCallRequest) -> Result<wire::UpdateCallResponse, Status> {
        let (key, call, legs) = convert::update_from_wire(request)?;
        let updated = self.node.update(key, call.clone(), legs).await;
        let report = updated.map_err(|refusal| refused(&call, "update", refusal))?;
        tracing::debug!(%call, "call updated");
        Ok(wire::UpdateCallResponse {
            call: Some(convert::report_to_wire(&report)),
        })
    }

    async fn delete(&self, request: &wire::DeleteCallRequest) -> Result<wire::DeleteCallResponse, Status> {
        let (key, call) = convert::delete_from_wire(request)?;
        let deleted = self.node.delete(key, call.clone()).await;
        let report = deleted.map_err(|refusal| refused(&call, "delete", refusal))?;
        tracing::info!(%call, "call deleted");
        Ok(wire::DeleteCallResponse {
            call: Some(convert::report_to_wire(&report)),
        })
    }

    async fn query(&self, request: &wire::QueryCallRequest) -> Result<wire::QueryCallResponse, Status> {
        let call = convert::call_id_from_wire(&request.call_id)?;
        let report = self.node.query(call).await.map_err(convert::refusal_to_status)?;
        Ok(wire::QueryCallResponse {
            call: Some(convert::report_to_wire(&report)),
        })
    }

    fn list(&self, request: &wire::ListCallsRequest) -> Result<wire::ListCallsResponse, Status> {
        let size = in_range("page_size", request.page_size, 1, PAGE_MAX, PAGE_DEFAULT)? as usize;
        let after = match request.page_token.as_str() {
            "" => None,
            token => {
                let invalid =
                    |problem| convert::FieldError::new("page_token", convert::Problem::Name(problem));
                Some(CallId::new(token).map_err(invalid)?)
            }
        };
        let mut calls = self.node.page(after.as_ref(), size + 1);
        let more = calls.len() > size;
        calls.truncate(size);
        let next = calls
            .last()
            .filter(|_| more)
            .map(CallId::to_string)
            .unwrap_or_default();
        Ok(wire::ListCallsResponse {
            call_ids: calls.iter().map(CallId::to_string).collect(),
            next_page_token: next,
        })
    }

    async fn renew(&self, request: &wire::RenewLeasesRequest) -> Result<wire::RenewLeasesResponse, Status> {
        let renewal = self.node.renew(convert::renew_from_wire(request)?).await;
        let names = |calls: Vec<CallId>| calls.iter().map(CallId::to_string).collect();
        Ok(wire::RenewLeasesResponse {
            unknown_call_ids: names(renewal.unknown),
            busy_call_ids: names(renewal.busy),
        })
    }

    fn describe(&self) -> wire::DescribeResponse {
        let node = &self.node;
        let identity = node.identity();
        let sum = |count: fn(&crate::worker::Published) -> u64| {
            node.lanes()
                .iter()
                .map(|lane| count(lane.published()))
                .sum::<u64>()
        };
        wire::DescribeResponse {
            node_id: identity.node_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: identity.backend.to_owned(),
            backend_reason: identity.backend_reason.to_owned(),
            interfaces: identity.interfaces.clone(),
            capacity: Some(wire::Capacity {
                workers: node.lanes().len() as u32,
                calls_max: identity.calls_max as u64,
                port_pairs: sum(|worker| worker.port_pairs()),
                port_pairs_free: sum(|worker| worker.port_pairs_free()),
                port_pairs_quarantined: sum(|worker| worker.port_pairs_quarantined()),
            }),
            load: Some(wire::Load {
                calls: node.calls() as u64,
                packets_received: node.packets_received(),
                packets_sent: sum(|worker| worker.sent() + worker.kernel_forwarded()),
                packets_dropped: sum(|worker| worker.dropped_total()),
                packets_per_s: node.packets_per_s(),
            }),
            draining: node.is_draining(),
            uptime_s: node.uptime_s(),
            kernel: identity.kernel.iter().map(KernelInterface::to_wire).collect(),
        }
    }

    fn watch_events(&self) -> Result<Answers<wire::WatchEventsResponse>, Status> {
        let notices = self.node.watch();
        if *self.node.closing().borrow() {
            return Err(Status::unavailable("the node is stopping"));
        }
        let (answers, stream) = mpsc::channel(STREAM_BUFFER);
        tokio::spawn(tell_events(self.node.clone(), notices, answers));
        Ok(Box::pin(ReceiverStream::new(stream).map(Ok)))
    }

    fn watch_statistics(
        &self,
        request: &wire::WatchStatisticsRequest,
    ) -> Result<Answers<wire::WatchStatisticsResponse>, Status> {
        let interval_ms = in_range(
            "interval_ms",
            request.interval_ms,
            INTERVAL_MS_MIN,
            INTERVAL_MS_MAX,
            INTERVAL_MS_DEFAULT,
        )?;
        let call = match request.call_id.as_str() {
            "" => None,
            id => Some(convert::call_id_from_wire(id)?),
        };
        if *self.node.closing().borrow() {
            return Err(Status::unavailable("the node is stopping"));
        }
        let (answers, stream) = mpsc::channel(STREAM_BUFFER);
        let interval = Duration::from_millis(u64::from(interval_ms));
        tokio::spawn(tell_statistics(
            self.node.clone(),
            call,
            interval,
            self.message_bytes_max,
            answers,
        ));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    async fn tap(&self, request: &wire::TapCallRequest) -> Result<Answers<wire::TapCallResponse>, Status> {
        let session = self.taps.begin(request).await?;
        let (answers, stream) = mpsc::channel(STREAM_BUFFER);
        tokio::spawn(session.run(answers));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    fn drain(&self, request: &wire::DrainRequest) -> Result<wire::DrainResponse, Status> {
        let Some(calls) = self.node.drain(request.drain) else {
            return Err(Status::failed_precondition(
                "the node is stopping: it takes no calls again",
            ));
        };
        tracing::info!(drain = request.drain, calls, "drain requested");
        Ok(wire::DrainResponse {
            calls_left: calls as u64,
        })
    }
}

/// Zero takes the default.
fn in_range(name: &str, value: u32, min: u32, max: u32, default: u32) -> Result<u32, convert::FieldError> {
    match value {
        0 => Ok(default),
        value if (min..=max).contains(&value) => Ok(value),
        value => {
            let (min, max, value) = (u64::from(min), u64::from(max), u64::from(value));
            Err(convert::FieldError::new(
                name,
                convert::Problem::Range { min, max, value },
            ))
        }
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

/// Hands notices on until the watcher goes, or the node stops.
async fn tell_events(
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
async fn tell_statistics(
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

#[tonic::async_trait]
impl MediaNode for Service {
    type WatchEventsStream = Answers<wire::WatchEventsResponse>;
    type WatchStatisticsStream = Answers<wire::WatchStatisticsResponse>;
    type TapCallStream = Answers<wire::TapCallResponse>;

    async fn describe(&self, _request: Request<wire::DescribeRequest>) -> Outcome<wire::DescribeResponse> {
        self.counted(Operation::Describe, async { Ok(self.describe()) })
            .await
    }

    async fn create_call(
        &self,
        request: Request<wire::CreateCallRequest>,
    ) -> Outcome<wire::CreateCallResponse> {
        self.counted(Operation::Create, self.create(request.into_inner()))
            .await
    }

    async fn update_call(
        &self,
        request: Request<wire::UpdateCallRequest>,
    ) -> Outcome<wire::UpdateCallResponse> {
        self.counted(Operation::Update, self.update(request.into_inner()))
            .await
    }

    async fn delete_call(
        &self,
        request: Request<wire::DeleteCallRequest>,
    ) -> Outcome<wire::DeleteCallResponse> {
        self.counted(Operation::Delete, self.delete(request.get_ref()))
            .await
    }

    async fn query_call(&self, request: Request<wire::QueryCallRequest>) -> Outcome<wire::QueryCallResponse> {
        self.counted(Operation::Query, self.query(request.get_ref()))
            .await
    }

    async fn list_calls(&self, request: Request<wire::ListCallsRequest>) -> Outcome<wire::ListCallsResponse> {
        self.counted(Operation::List, async { self.list(request.get_ref()) })
            .await
    }

    async fn renew_leases(
        &self,
        request: Request<wire::RenewLeasesRequest>,
    ) -> Outcome<wire::RenewLeasesResponse> {
        self.counted(Operation::Renew, self.renew(request.get_ref()))
            .await
    }

    async fn watch_events(
        &self,
        _request: Request<wire::WatchEventsRequest>,
    ) -> Outcome<Self::WatchEventsStream> {
        self.counted(Operation::WatchEvents, async { self.watch_events() })
            .await
    }

    async fn watch_statistics(
        &self,
        request: Request<wire::WatchStatisticsRequest>,
    ) -> Outcome<Self::WatchStatisticsStream> {
        self.counted(Operation::WatchStatistics, async {
            self.watch_statistics(request.get_ref())
        })
        .await
    }

    async fn drain(&self, request: Request<wire::DrainRequest>) -> Outcome<wire::DrainResponse> {
        self.counted(Operation::Drain, async { self.drain(request.get_ref()) })
            .await
    }

    async fn tap_call(&self, request: Request<wire::TapCallRequest>) -> Outcome<Self::TapCallStream> {
        self.counted(Operation::TapCall, self.tap(request.get_ref()))
            .await
    }
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
        let (answers, mut told) = mpsc::channel(STREAM_BUFFER);
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
