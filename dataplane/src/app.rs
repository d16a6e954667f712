//! The life of the process: start, serve, stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ops::clock::MonotonicClock;
use ops::http::{Ops, Readiness};
use proto::media_v1::media_node_server::MediaNodeServer;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::bell::Bell;
use crate::config::Config;
use crate::file_limit::FileLimit;
use crate::grpc::{self, Incoming};
use crate::journal::Found;
use crate::kernel::{self, Kernel};
use crate::metrics;
use crate::node::{Lane, Memory, Node};
use crate::start::{self, Workers};

/// Time for requests under way, and for scrapes, once the workers have stopped. A client that keeps a stream open
/// (health) loses it then.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Time for watchers to read the events of the calls that end with the node.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// Time for workers to end their calls.
const WORKERS_STOP: Duration = Duration::from_secs(20);

/// Runs the node until a signal asks it to stop.
///
/// # Errors
/// When it cannot start, or a worker ends by itself: a node that has lost a worker has lost that worker's calls, and
/// must not go on looking healthy.
pub fn run(config: Config) -> anyhow::Result<()> {
    let log = config.log.clone();
    ops::process::run(&log, serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let limit = FileLimit::raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files stays as it is");
        FileLimit::now()
    });
    let found = Found::new(&config)?;
    if let Some(line) = &found.line {
        ops::process::say(line);
    }
    let clock = MonotonicClock::start();
    let (bell, listener) = Bell::new()?;
    let kernel = Kernel::start(&config, false)?;
    let keep = kernel.capabilities_needed();
    let Workers {
        identity,
        handles,
        calls_max,
        interfaces,
        claims: _claims,
    } = start::workers(&config, limit, clock, &bell, &kernel, keep)?;
    ops::process::say(&format!(
        "backend {}: {}",
        identity.backend, identity.backend_reason
    ));
    for interface in kernel.interfaces() {
        ops::process::say(&interface.line());
    }

    let queue = config.limits.command_queue;
    let mut lanes = Vec::new();
    let mut ends = Vec::new();
    for handle in handles {
        let rings = handle.rings;
        lanes.push(Lane::new(
            rings.waker,
            rings.published,
            rings.commands,
            rings.words,
            queue,
        ));
        ends.push((handle.ended, handle.thread));
    }
    let memory = Memory {
        time: Duration::from_millis(config.limits.tombstone_ms),
        calls_max: config.limits.tombstones_max * lanes.len(),
    };
    let node = Arc::new(Node::new(
        identity,
        clock,
        lanes,
        calls_max,
        config.limits.event_queue,
        memory,
        found.journal,
    ));
    let mut listening = tokio::spawn({
        let node = node.clone();
        async move { node.listen(listener).await }
    });
    // Before anybody can ask for them: a control plane whose call is not there gives it up.
    let restoration = node
        .restore(&found.records, |record, now_ms| {
            record.restored(&interfaces, &config.limits, now_ms)
        })
        .await;
    if restoration.found > 0 {
        ops::process::say(&format!("state: {restoration}"));
    }
    kernel.sweep();
    let keeping = kernel
        .keeper(clock)
        .context("the kernel does not tell of its network")?
        .map(|keeper| tokio::spawn(keeper.run()));
    let reading = kernel
        .copies()
        .context("copies of RTCP cannot be read")?
        .map(|copies| {
            let node = node.clone();
            tokio::spawn(copies.run(move |worker, copies| node.read_rtcp(worker, copies)))
        });
    let measuring = tokio::spawn({
        let node = node.clone();
        async move { node.measure().await }
    });

    let (readiness, watched) = watch::channel(Readiness::NotReady("starting".into()));
    let (stop, stopped) = watch::channel(false);
    let incoming = Incoming::bind(
        &config.grpc.listen,
        config.grpc.connections_max,
        node.tally().clone(),
    )
    .await
    .with_context(|| format!("grpc.listen: {}", config.grpc.listen))?;
    let grpc_address = incoming.address()?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MediaNodeServer<grpc::Service>>().await;
    let mut grpc_server = tokio::spawn({
        let (config, node, stopped) = (config.grpc.clone(), node.clone(), asked(stopped.clone()));
        async move { grpc::serve(&config, incoming, node, health_service, stopped).await }
    });
    let ops_listener = TcpListener::bind(config.ops.listen)
        .await
        .with_context(|| format!("ops.listen: {}", config.ops.listen))?;
    let ops_address = ops_listener.local_addr()?;
    let ops = Ops {
        registry: Arc::new(metrics::registry(&node, kernel.status())),
        readiness: watched,
    };
    let ops_server = tokio::spawn(ops::http::serve(ops_listener, ops, asked(stopped)));

    // The listeners may have ports below 1024; nothing after them needs a privilege.
    if let Err(error) = kernel::give_up_all_but(keep) {
        tracing::warn!(%error, "the control thread keeps its capabilities");
    }
    ops::process::say(&format!("listening grpc {grpc_address}"));
    ops::process::say(&format!("listening ops http {ops_address}"));
    let telling = tokio::spawn(tell_readiness(node.draining(), node.stopping(), readiness));
    ops::process::say("ready");
    tracing::info!(
        node_id = config.node_id,
        workers = ends.len(),
        calls_max = node.identity().calls_max,
        "ready"
    );

    let mut threads = Vec::new();
    let mut results = Vec::new();
    for (ended, thread) in ends {
        results.push(ended);
        threads.push(thread);
    }
    let mut broken = Box::pin(any_ended(&mut results));
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, calls = node.calls(), "stopping"),
        reason = &mut broken => anyhow::bail!("{reason}"),
        result = &mut grpc_server => anyhow::bail!("the gRPC server ended: {}", outcome(result)),
        result = ended(keeping) => anyhow::bail!("the keeper of next hops ended: {result}"),
        result = ended(reading) => anyhow::bail!("the reader of RTCP copies ended: {result}"),
        result = &mut listening => anyhow::bail!("the control thread's bell ended: {result:?}"),
    }

    // New calls are refused from here; those that exist have their time.
    node.begin_stop();
    health.set_not_serving::<MediaNodeServer<grpc::Service>>().await;
    tokio::select! {
        () = node.emptied() => {}
        () = tokio::time::sleep(config.shutdown.grace()) => {}
        signal = signals.next() => tracing::info!(signal, "the grace ends"),
        reason = &mut broken => anyhow::bail!("{reason}"),
    }
    drop(broken);
    let left = node.calls();
    if left > 0 {
        tracing::warn!(calls = left, "calls end with the node");
    }
    tokio::time::timeout(WORKERS_STOP, node.stop_workers())
        .await
        .context("the workers do not stop")?;
    node.journal().clear();
    // The workers' last events are with the watchers' tasks now; the streams end behind them.
    node.close();
    if tokio::time::timeout(LAST_EVENTS, node.unwatched()).await.is_err() {
        tracing::warn!("a watcher of events does not read: it loses its last ones");
    }
    stop.send_replace(true);
    if tokio::time::timeout(LAST_ANSWERS, async { (grpc_server.await, ops_server.await) })
        .await
        .is_err()
    {
        tracing::debug!("connections cut off");
    }
    telling.abort();
    measuring.abort();
    listening.abort();
    for (index, (thread, result)) in threads.into_iter().zip(results).enumerate() {
        match result.await {
            Ok(Ok(())) => thread
                .join()
                .map_err(|_| anyhow::anyhow!("worker {index} panicked at its end"))?,
            Ok(Err(error)) => {
                return Err(error).with_context(|| format!("worker {index} broke while it stopped"));
            }
            Err(_) => anyhow::bail!("worker {index} panicked while it stopped"),
        }
    }
    kernel.stop();
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT, one after the other.
struct Signals(watch::Receiver<&'static str>);

impl Signals {
    fn install() -> io::Result<Self> {
        let (tell, told) = watch::channel("");
        let first = ops::signal::terminated()?;
        tokio::spawn(async move {
            // A handler that is installed twice hears the same signal twice, so the second comes after the first.
            tell.send_replace(first.await);
            while let Ok(next) = ops::signal::terminated() {
                tell.send_replace(next.await);
            }
        });
        Ok(Self(told))
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            // Handlers cannot be installed any more: wait for ever, the grace has its own end.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Completes when one of the workers has ended, with the words for it.
async fn any_ended(results: &mut [oneshot::Receiver<io::Result<()>>]) -> String {
    let mut waiting: Vec<_> = results.iter_mut().enumerate().collect();
    std::future::poll_fn(move |cx| {
        for (index, result) in &mut waiting {
            if let std::task::Poll::Ready(end) = Future::poll(std::pin::Pin::new(&mut **result), cx) {
                return std::task::Poll::Ready(match end {
                    Ok(Ok(())) => format!("worker {index} ended by itself"),
                    Ok(Err(error)) => format!("worker {index} broke: {error}"),
                    Err(_) => format!("worker {index} panicked"),
                });
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Ready is a node whose workers run and whose gRPC is bound, and that takes new calls. A draining node still answers for the
/// calls that it has: it is to be left out of the choice, not killed.
async fn tell_readiness(
    mut draining: watch::Receiver<bool>,
    mut stopping: watch::Receiver<bool>,
    readiness: watch::Sender<Readiness>,
) {
    loop {
        let state = match (*stopping.borrow_and_update(), *draining.borrow_and_update()) {
            (true, _) => Readiness::NotReady("stopping".into()),
            (_, true) => Readiness::NotReady("draining".into()),
            _ => Readiness::Ready,
        };
        readiness.send_replace(state);
        let changed = tokio::select! {
            changed = draining.changed() => changed,
            changed = stopping.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Waits for the end of a task that has none; for ever without a task.
async fn ended(task: Option<JoinHandle<io::Result<()>>>) -> String {
    match task {
        Some(task) => format!("{:?}", task.await),
        None => std::future::pending().await,
    }
}

async fn asked(mut stopped: watch::Receiver<bool>) {
    // Fails when the sender is gone, which means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn outcome(result: Result<anyhow::Result<()>, tokio::task::JoinError>) -> String {
    match result {
        Ok(Ok(())) => "without an error".to_owned(),
        Ok(Err(error)) => format!("{error:#}"),
        Err(error) => error.to_string(),
    }
}
