//! A media node of which the test says how it behaves.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use media_types::Refusal;
use proto::convert::{refusal_to_status, status_to_failure};
use proto::media_v1::media_node_server::{MediaNode, MediaNodeServer};
use proto::media_v1::*;
use sans_io::Random;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What the node does with a create.
#[derive(Clone, Copy, Debug)]
pub enum Create {
    Take,
    Refuse(Refusal),
    /// Is busy so many times, then takes it.
    BusyTimes(u32),
    /// Takes it and answers too late.
    TakeAndBeSilent,
    /// Takes the first and is silent, then answers as usual.
    TakeAndBeSilentOnce,
}

/// What the node does with a stream of requests.
#[derive(Debug)]
pub enum Exchange {
    /// It is of an earlier version and knows none.
    Unknown,
    /// Answers one request at a time, in any order.
    Take,
    /// Breaks the stream now and then, before or after it has done what it was asked, and answers late and in disorder.
    Break(Box<Random>),
}

#[derive(Debug, Default)]
pub struct Seen {
    /// Streams of requests.
    pub exchanges: u64,
    /// Requests that came in them, and the most in one message.
    pub exchanged: u64,
    pub together: usize,
    /// Streams that it broke.
    pub broken: u64,
    /// Creates of a call that was there, with another key.
    pub conflicts: u64,
    pub calls: BTreeMap<String, String>,
    pub creates: u64,
    pub deletes: Vec<String>,
    pub renewals: Vec<Vec<String>>,
    pub watchers: u64,
}

#[derive(Debug)]
pub struct State {
    pub create: Create,
    pub exchange: Exchange,
    pub calls_max: u64,
    pub draining: bool,
    pub updates: VecDeque<Result<(), Refusal>>,
    pub seen: Seen,
}

/// Shared by the test and the server.
#[derive(Clone, Debug)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<WatchEventsResponse>,
}

/// A running server; dropping it closes listener and connections.
pub struct Running {
    pub address: String,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub fn tcp_address(&self) -> SocketAddr {
        self.address.trim_start_matches("http://").parse().unwrap()
    }

    /// Dies at once, connections and all.
    pub async fn kill(mut self) {
        self.stop.take();
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Fake {
    pub fn new(calls_max: u64) -> Self {
        let state = State {
            create: Create::Take,
            exchange: Exchange::Take,
            calls_max,
            draining: false,
            updates: VecDeque::new(),
            seen: Seen::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            events: broadcast::channel(16).0,
        }
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub fn tell(&self, event: watch_events_response::Event) {
        self.events
            .send(WatchEventsResponse { event: Some(event) })
            .unwrap();
    }

    pub async fn serve(&self) -> Running {
        self.serve_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn serve_at(&self, address: SocketAddr) -> Running {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        self.run(Server::builder(), TcpListenerStream::new(listener), address)
    }

    pub async fn serve_tls(&self, tls: tonic::transport::ServerTlsConfig) -> Running {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("https://localhost:{}", incoming.local_addr().unwrap().port());
        self.run(Server::builder().tls_config(tls).unwrap(), incoming, address)
    }

    pub fn serve_unix(&self, path: &PathBuf) -> Running {
        let listener = UnixListener::bind(path).unwrap();
        let address = format!("unix:{}", path.display());
        self.run(Server::builder(), UnixListenerStream::new(listener), address)
    }

    fn run<I, IO>(&self, mut server: Server, incoming: I, address: String) -> Running
    where
        I: Stream<Item = Result<IO, std::io::Error>> + Send + 'static,
        IO: tokio::io::AsyncRead
            + tokio::io::AsyncWrite
            + tonic::transport::server::Connected
            + Unpin
            + Send
            + 'static,
    {
        // Connections end with their incoming stream's task only when told, so the streams are cut by this handle.
        let (stop, stopped) = oneshot::channel::<()>();
        let (cut, _) = broadcast::channel::<()>(1);
        let cut_here = cut.clone();
        let incoming = incoming.map(move |io| io.map(|io| cuttable::Cuttable::new(io, cut_here.subscribe())));
        let router = server.add_service(MediaNodeServer::new(self.clone()));
        let task = tokio::spawn(async move {
            let cut = cut;
            let serving = router.serve_with_incoming(incoming);
            tokio::select! {
                _ = serving => {}
                _ = stopped => {}
            }
            drop(cut);
        });
        Running {
            address,
            stop: Some(stop),
            task,
        }
    }
}

mod cuttable {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::sync::broadcast;
    use tonic::transport::server::Connected;

    /// A connection that breaks when its server is killed.
    pub struct Cuttable<IO> {
        io: IO,
        cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    impl<IO> Cuttable<IO> {
        pub fn new(io: IO, mut cut: broadcast::Receiver<()>) -> Self {
            let cut = Box::pin(async move {
                let _ = cut.recv().await;
            });
            Self { io, cut }
        }

        fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            match self.cut.as_mut().poll(cx) {
                Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
                Poll::Pending => Ok(()),
            }
        }
    }

    impl<IO: Connected> Connected for Cuttable<IO> {
        type ConnectInfo = IO::ConnectInfo;

        fn connect_info(&self) -> Self::ConnectInfo {
            self.io.connect_info()
        }
    }

    impl<IO: AsyncRead + Unpin> AsyncRead for Cuttable<IO> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.check(cx)?;
            Pin::new(&mut self.io).poll_read(cx, buffer)
        }
    }

    impl<IO: AsyncWrite + Unpin> AsyncWrite for Cuttable<IO> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }
}

impl Fake {
    async fn take_requests(
        self,
        mut requests: Streaming<ExchangeRequest>,
        answers: mpsc::Sender<Result<ExchangeResponse, Status>>,
    ) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                message = requests.message() => {
                    let Ok(Some(message)) = message else { return };
                    let (before, after, delays) = self.with(|state| {
                        state.seen.exchanged += message.requests.len() as u64;
                        state.seen.together = state.seen.together.max(message.requests.len());
                        match &mut state.exchange {
                            Exchange::Break(random) => {
                                let delays: Vec<_> = message.requests.iter().map(|_| random.below(4)).collect();
                                let (before, after) = (random.chance_permille(30), random.chance_permille(30));
                                state.seen.broken += u64::from(before || after);
                                (before, after, delays)
                            }
                            _ => (false, false, vec![0; message.requests.len()]),
                        }
                    });
                    if before {
                        return drop(answers.send(Err(Status::unavailable("broken before"))).await);
                    }
                    for (request, delay) in message.requests.into_iter().zip(delays) {
                        let fake = self.clone();
                        under_way.spawn(async move {
                            let answer = fake.take_request(request).await;
                            tokio::time::sleep(Duration::from_millis(delay)).await;
                            answer
                        });
                    }
                    if after {
                        while under_way.join_next().await.is_some() {}
                        return drop(answers.send(Err(Status::unavailable("broken after"))).await);
                    }
                }
                Some(answer) = under_way.join_next() => {
                    let message = ExchangeResponse { answers: vec![answer.expect("no panic")] };
                    if answers.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn take_request(&self, request: CallRequest) -> CallAnswer {
        let answer = match request.request.expect("a request") {
            call_request::Request::Create(create) => {
                let answer = self.create_call(Request::new(create)).await;
                answer.map(|answer| answer.into_inner().call)
            }
            call_request::Request::Update(update) => {
                let answer = self.update_call(Request::new(update)).await;
                answer.map(|answer| answer.into_inner().call)
            }
            call_request::Request::Delete(delete) => {
                let answer = self.delete_call(Request::new(delete)).await;
                answer.map(|answer| answer.into_inner().call)
            }
        };
        CallAnswer {
            request_id: request.request_id,
            result: Some(match answer {
                Ok(call) => call_answer::Result::Call(call.expect("a call")),
                Err(status) => call_answer::Result::Failure(status_to_failure(&status)),
            }),
        }
    }
}

fn call(id: &str) -> Option<Call> {
    Some(Call {
        call_id: id.into(),
        ..Call::default()
    })
}

type Events = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl MediaNode for Fake {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let answer = self.with(|state| DescribeResponse {
            capacity: Some(Capacity {
                calls_max: state.calls_max,
                port_pairs_free: state.calls_max * 2,
                ..Capacity::default()
            }),
            load: Some(Load {
                calls: state.seen.calls.len() as u64,
                ..Load::default()
            }),
            draining: state.draining,
            ..DescribeResponse::default()
        });
        Ok(Response::new(answer))
    }

    async fn create_call(
        &self,
        request: Request<CreateCallRequest>,
    ) -> Result<Response<CreateCallResponse>, Status> {
        let request = request.into_inner();
        let behaviour = self.with(|state| {
            state.seen.creates += 1;
            let behaviour = state.create;
            let behaviour = match behaviour {
                Create::BusyTimes(0) => Create::Take,
                Create::BusyTimes(times) => {
                    state.create = Create::BusyTimes(times - 1);
                    Create::Refuse(Refusal::Busy)
                }
                other => other,
            };
            if let Create::TakeAndBeSilentOnce = behaviour {
                state.create = Create::Take;
            }
            if !matches!(behaviour, Create::Refuse(_)) {
                let (call, key) = (request.call_id.clone(), request.idempotency_key.clone());
                let before = state.seen.calls.insert(call, key.clone());
                state.seen.conflicts += u64::from(before.is_some_and(|before| before != key));
            }
            behaviour
        });
        match behaviour {
            Create::Take | Create::BusyTimes(_) => Ok(Response::new(CreateCallResponse {
                call: call(&request.call_id),
            })),
            Create::Refuse(refusal) => Err(refusal_to_status(refusal)),
            Create::TakeAndBeSilent | Create::TakeAndBeSilentOnce => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                Err(Status::internal("never"))
            }
        }
    }

    async fn update_call(
        &self,
        request: Request<UpdateCallRequest>,
    ) -> Result<Response<UpdateCallResponse>, Status> {
        let request = request.into_inner();
        match self.with(|state| state.updates.pop_front().unwrap_or(Ok(()))) {
            Ok(()) => Ok(Response::new(UpdateCallResponse {
                call: call(&request.call_id),
            })),
            Err(refusal) => Err(refusal_to_status(refusal)),
        }
    }

    async fn delete_call(
        &self,
        request: Request<DeleteCallRequest>,
    ) -> Result<Response<DeleteCallResponse>, Status> {
        let request = request.into_inner();
        let known = self.with(|state| {
            state.seen.deletes.push(request.call_id.clone());
            state.seen.calls.remove(&request.call_id).is_some()
        });
        if known {
            Ok(Response::new(DeleteCallResponse {
                call: call(&request.call_id),
            }))
        } else {
            Err(refusal_to_status(Refusal::UnknownCall))
        }
    }

    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        requests: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        if self.with(|state| matches!(state.exchange, Exchange::Unknown)) {
            return Err(Status::unimplemented("of an earlier version"));
        }
        self.with(|state| state.seen.exchanges += 1);
        let (answers, stream) = mpsc::channel(16);
        tokio::spawn(self.clone().take_requests(requests.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn query_call(&self, _: Request<QueryCallRequest>) -> Result<Response<QueryCallResponse>, Status> {
        Err(refusal_to_status(Refusal::UnknownCall))
    }

    async fn list_calls(&self, _: Request<ListCallsRequest>) -> Result<Response<ListCallsResponse>, Status> {
        Ok(Response::new(ListCallsResponse::default()))
    }

    async fn renew_leases(
        &self,
        request: Request<RenewLeasesRequest>,
    ) -> Result<Response<RenewLeasesResponse>, Status> {
        let ids = request.into_inner().call_ids;
        let unknown = self.with(|state| {
            state.seen.renewals.push(ids.clone());
            ids.into_iter()
                .filter(|id| !state.seen.calls.contains_key(id))
                .collect()
        });
        Ok(Response::new(RenewLeasesResponse {
            unknown_call_ids: unknown,
            ..Default::default()
        }))
    }

    type WatchEventsStream = Events;

    async fn watch_events(&self, _: Request<WatchEventsRequest>) -> Result<Response<Events>, Status> {
        self.with(|state| state.seen.watchers += 1);
        let events = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        Ok(Response::new(Box::pin(
            events.filter_map(|event| event.ok().map(Ok)),
        )))
    }

    type WatchStatisticsStream = Pin<Box<dyn Stream<Item = Result<WatchStatisticsResponse, Status>> + Send>>;

    async fn watch_statistics(
        &self,
        _: Request<WatchStatisticsRequest>,
    ) -> Result<Response<Self::WatchStatisticsStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        self.with(|state| state.draining = request.into_inner().drain);
        Ok(Response::new(DrainResponse::default()))
    }

    type TapCallStream = Pin<Box<dyn Stream<Item = Result<TapCallResponse, Status>> + Send>>;

    async fn tap_call(&self, _: Request<TapCallRequest>) -> Result<Response<Self::TapCallStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}
