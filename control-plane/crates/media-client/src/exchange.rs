use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use prost::Message as _;
use proto::convert::status_from_failure;
use proto::media_v1::call_answer::Result as Answered;
use proto::media_v1::call_request::Request;
use proto::media_v1::{Call, CallAnswer, CallRequest, ExchangeRequest};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status};

use crate::client::Context;
use crate::node::Node;

/// Requests in one message at most; the contract allows 256.
const MESSAGE_REQUESTS_MAX: usize = 64;

/// A message is closed when it has so many bytes, and a request that has more goes by itself: nodes take messages of
/// 64 KiB at least.
const MESSAGE_BYTES: usize = 16 * 1024;

/// How long to wait before opening a stream again, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// One node's stream of requests, when it is open, and who waits for answers from it.
#[derive(Debug)]
pub(crate) struct Exchange {
    state: Arc<Mutex<State>>,
    /// Requests that wait to be sent at most.
    queue_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Absent when no stream is open.
    requests: Option<mpsc::Sender<CallRequest>>,
    waiting: HashMap<u64, oneshot::Sender<CallAnswer>>,
    /// Never used twice, not even on another stream.
    next_id: u64,
}

impl Exchange {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self {
            state: Arc::default(),
            queue_max,
        }
    }

    /// Sends `request` with what else is sent in this turn. Gives it back when no stream is open, or this one has too much to
    /// send already.
    pub(crate) fn send(&self, request: Request, timeout: Duration) -> Result<Waiting, Request> {
        if size(&request) > MESSAGE_BYTES {
            return Err(request);
        }
        let (tell, answer) = oneshot::channel();
        let id = {
            let mut state = lock(&self.state);
            let State {
                requests,
                waiting,
                next_id,
            } = &mut *state;
            let place = requests.as_ref().map(mpsc::Sender::try_reserve);
            let Some(Ok(place)) = place else {
                return Err(request);
            };
            place.send(CallRequest {
                request_id: *next_id,
                timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1),
                request: Some(request),
            });
            waiting.insert(*next_id, tell);
            *next_id += 1;
            *next_id - 1
        };
        Ok(Waiting {
            id,
            answer,
            state: self.state.clone(),
        })
    }

    /// Requests go by the stream that is returned from now on, once it is told that the node takes them.
    fn prepare(&self) -> (mpsc::Sender<CallRequest>, Outgoing) {
        let (requests, queue) = mpsc::channel(self.queue_max);
        let outgoing = Outgoing {
            queue,
            state: self.state.clone(),
        };
        (requests, outgoing)
    }

    fn open(&self, requests: mpsc::Sender<CallRequest>) {
        lock(&self.state).requests = Some(requests);
    }

    fn answered(&self, answer: CallAnswer) {
        // Whoever waited for it may have given up.
        if let Some(waiting) = lock(&self.state).waiting.remove(&answer.request_id) {
            let _ = waiting.send(answer);
        }
    }

    /// Whoever waits learns that nothing is known.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.requests = None;
        state.waiting.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(request: &Request) -> usize {
    match request {
        Request::Create(create) => create.encoded_len(),
        Request::Update(update) => update.encoded_len(),
        Request::Delete(delete) => delete.encoded_len(),
    }
}

/// A request that was sent. Dropped, it is not sent any more, if it was not yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    id: u64,
    answer: oneshot::Receiver<CallAnswer>,
    state: Arc<Mutex<State>>,
}

impl Waiting {
    /// What the node answers. A stream that broke says no more than a connection that did.
    pub(crate) async fn answer(mut self) -> Result<Option<Call>, Status> {
        match (&mut self.answer).await.map(|answer| answer.result) {
            Ok(Some(Answered::Call(call))) => Ok(Some(call)),
            Ok(Some(Answered::Failure(failure))) => Err(status_from_failure(failure)),
            Ok(None) => Ok(None),
            Err(_) => Err(Status::unknown("the stream of requests broke")),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.state).waiting.remove(&self.id);
    }
}

/// What is sent: one message for all requests that are there when it is asked for.
#[derive(Debug)]
struct Outgoing {
    queue: mpsc::Receiver<CallRequest>,
    state: Arc<Mutex<State>>,
}

impl Stream for Outgoing {
    type Item = ExchangeRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<ExchangeRequest>> {
        let mut requests = Vec::new();
        let mut bytes = 0;
        while requests.len() < MESSAGE_REQUESTS_MAX && bytes < MESSAGE_BYTES {
            match self.queue.poll_recv(context) {
                Poll::Ready(Some(request)) => {
                    // Its time may have passed while the node read nothing.
                    if lock(&self.state).waiting.contains_key(&request.request_id) {
                        bytes += request.request.as_ref().map_or(0, size);
                        requests.push(request);
                    }
                }
                Poll::Ready(None) if requests.is_empty() => return Poll::Ready(None),
                Poll::Pending if requests.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(ExchangeRequest { requests }))
    }
}

/// Keeps a stream of requests to `node` open, for ever. While there is none, and with a node that knows no such thing, each
/// request goes by itself.
pub(crate) async fn run(context: Arc<Context>, node: Arc<Node>) {
    let mut retry = RETRY_MIN;
    loop {
        let (requests, outgoing) = node.exchange.prepare();
        match node.stub().exchange(outgoing).await {
            Ok(answers) => {
                retry = RETRY_MIN;
                node.exchange.open(requests);
                context.counters.change(|counters| counters.exchanges += 1);
                let mut answers = answers.into_inner();
                let end = loop {
                    match answers.next().await {
                        Some(Ok(message)) => {
                            for answer in message.answers {
                                node.exchange.answered(answer);
                            }
                        }
                        Some(Err(status)) => break Some(status),
                        None => break None,
                    }
                };
                node.exchange.close();
                let reason = end.as_ref().map(Status::message);
                tracing::info!(node = %node.name, reason, "the stream of requests to the media node ended");
            }
            // A node of an earlier version, which may be replaced by one of today.
            Err(status) if status.code() == Code::Unimplemented => retry = RETRY_MAX,
            Err(_) => {}
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}
