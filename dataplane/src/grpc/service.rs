use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use media_types::{CallId, SrtpSuite};
use proto::convert;
use proto::media_v1::{self as wire, media_node_server::MediaNode};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::commands::Commands;
use super::exchange::Exchange;
use super::watch::{tell_events, tell_statistics};
use crate::config::Grpc;
use crate::kernel::KernelInterface;
use crate::node::{Node, Operation};
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
    commands: Commands,
    taps: Admission,
    /// No answer may be larger; reports of many calls are cut to fit.
    message_bytes_max: usize,
    /// Places of statistics watchers.
    statistics_watchers: Arc<Semaphore>,
    /// Requests that one exchange has under way at most.
    exchange_requests_max: usize,
}

type Outcome<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// The service of `node`, with the limits of `config`.
    pub fn new(node: Arc<Node>, taps: Admission, config: &Grpc) -> Self {
        let request_timeout = Duration::from_millis(config.request_timeout_ms);
        Self {
            commands: Commands::new(node.clone(), request_timeout),
            node,
            taps,
            message_bytes_max: config.message_bytes_max,
            statistics_watchers: Arc::new(Semaphore::new(config.statistics_watchers_max)),
            exchange_requests_max: config.exchange_requests_max,
        }
    }

    async fn counted<T>(
        &self,
        operation: Operation,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Outcome<T> {
        let answer = self.commands.counted(operation, Duration::ZERO, answer);
        answer.await.map(Response::new)
    }

    fn exchange(
        &self,
        requests: Streaming<wire::ExchangeRequest>,
    ) -> Result<Answers<wire::ExchangeResponse>, Status> {
        if *self.node.closing().borrow() {
            return Err(Status::unavailable("the node is stopping"));
        }
        let (answers, stream) = mpsc::channel(STREAM_BUFFER);
        let exchange = Exchange {
            commands: self.commands.clone(),
            closing: self.node.closing(),
            requests_max: self.exchange_requests_max,
            message_bytes_max: self.message_bytes_max,
            answers,
        };
        tokio::spawn(exchange.run(requests));
        Ok(Box::pin(ReceiverStream::new(stream)))
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
            srtp_suites: SrtpSuite::ALL
                .into_iter()
                .map(|suite| convert::suite_to_wire(suite).into())
                .collect(),
            fingerprint: Some(convert::fingerprint_to_wire(&identity.fingerprint)),
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
        let place = self.statistics_watchers.clone().try_acquire_owned();
        let place = place
            .map_err(|_| Status::resource_exhausted("grpc.statistics_watchers_max: as many watch as may"))?;
        let (answers, stream) = mpsc::channel(STREAM_BUFFER);
        let interval = Duration::from_millis(u64::from(interval_ms));
        let telling = tell_statistics(self.node.clone(), call, interval, self.message_bytes_max, answers);
        tokio::spawn(async move {
            telling.await;
            drop(place);
        });
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

#[tonic::async_trait]
impl MediaNode for Service {
    type ExchangeStream = Answers<wire::ExchangeResponse>;
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
        self.commands
            .create(request.into_inner(), Duration::ZERO)
            .await
            .map(|call| Response::new(wire::CreateCallResponse { call: Some(call) }))
    }

    async fn update_call(
        &self,
        request: Request<wire::UpdateCallRequest>,
    ) -> Outcome<wire::UpdateCallResponse> {
        self.commands
            .update(request.into_inner(), Duration::ZERO)
            .await
            .map(|call| Response::new(wire::UpdateCallResponse { call: Some(call) }))
    }

    async fn delete_call(
        &self,
        request: Request<wire::DeleteCallRequest>,
    ) -> Outcome<wire::DeleteCallResponse> {
        self.commands
            .delete(request.into_inner(), Duration::ZERO)
            .await
            .map(|call| Response::new(wire::DeleteCallResponse { call: Some(call) }))
    }

    async fn exchange(
        &self,
        request: Request<Streaming<wire::ExchangeRequest>>,
    ) -> Outcome<Self::ExchangeStream> {
        self.counted(Operation::Exchange, async { self.exchange(request.into_inner()) })
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
