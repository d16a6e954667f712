//! The life of the process: start, serve, stop.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use dtls::Identity;
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
use crate::journal::{self, Found, StateDirectory};
use crate::kernel::{self, Kernel};
use crate::metrics;
use crate::node::{Lane, Memory, Node, wall_clock_ms};
use crate::setting_up;
use crate::start::{self, Workers};
use crate::takeover::{Given, Giver, Inheritance, Inherited, Taker};
use crate::tap::Admission;

/// Time for requests under way, and for scrapes, once the workers have stopped. A client that keeps a stream open
/// (health) loses it then.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Time for watchers to read the events of the calls that end with the node.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// Time for workers to end their calls.
const WORKERS_STOP: Duration = Duration::from_secs(20);

/// Runs the node until a signal asks it to stop, or another process takes its place. `takes_over`: it takes that of the process that
/// runs.
///
/// # Errors
/// When it cannot start, or a worker ends by itself: a node that has lost a worker has lost that worker's calls, and
/// must not go on looking healthy.
pub fn run(config: Config, takes_over: bool) -> anyhow::Result<()> {
    let log = config.log.clone();
    ops::process::run(&log, serve(config, takes_over))
}

async fn serve(config: Config, takes_over: bool) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let limit = FileLimit::raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files stays as it is");
        FileLimit::now()
    });
    let mut taking = match takes_over {
        true => connect(&config).await?,
        false => None,
    };
    let found = match taking.as_mut().and_then(|taking| taking.directory.take()) {
        Some(directory) => Found::inherited(directory),
        None => Found::new(&config)?,
    };
    if let Some(line) = &found.line {
        ops::process::say(line);
    }
    let inherited_identity = taking.as_mut().and_then(|taking| taking.identity.take());
    let identity = Arc::new(setting_up::load(
        config.dtls.files().as_ref(),
        inherited_identity,
    )?);
    let clock = MonotonicClock::start();
    let (bell, listener) = Bell::new()?;
    let setting_up = setting_up::Plan {
        config: config.limits.line_setup(),
        identity: identity.clone(),
        clock,
        datagrams_max: config.limits.setup_queue,
        tally: setting_up::Tally::default(),
    };
    let inherited_pins = taking.as_mut().and_then(|taking| taking.pins.take());
    let kernel = Kernel::start(&config, inherited_pins.as_ref())?;
    let keep = kernel.capabilities_needed();
    let Workers {
        identity: node_identity,
        handles,
        calls_max,
        interfaces,
        claims: _claims,
        xdp,
    } = start::workers(
        &config,
        limit,
        clock,
        &bell,
        &kernel,
        keep,
        taking.as_ref().map(|taking| &taking.workers),
        &setting_up,
    )?;
    ops::process::say(&format!(
        "backend {}: {}",
        node_identity.backend, node_identity.backend_reason
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
        node_identity,
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
    let (mut grpc_listener, mut ops_listener) = (None, None);
    if let Some(taking) = taking {
        let process = taking.workers.process;
        let outcome = taking
            .taker
            .take(
                &node,
                || kernel.reload(),
                |record| record.restored(&interfaces, &config.limits, wall_clock_ms()),
            )
            .await
            .with_context(|| format!("process {process} goes on"))?;
        if let Some(directory) = &found.directory {
            let journal = journal::begin(
                directory,
                &config.node_id,
                &outcome.records,
                config.limits.journal_bytes_max,
            );
            match journal {
                Ok(journal) => *node.journal() = journal,
                // The other process has let go: calls that cannot outlive this one are better than none.
                Err(error) => {
                    tracing::error!(%error, "no journal: calls end with this process");
                    // The other process's would be read at the next start, with calls that have ended by then.
                    if let Err(error) = journal::discard(directory) {
                        tracing::error!(%error, "the journal of the other process stays: remove it before the next start");
                    }
                }
            }
        }
        node.go_on().await;
        let gap = clock.now().saturating_since(outcome.stopped);
        ops::process::say(&format!(
            "takeover from process {process}: {} of {} calls go on, {:.1} ms without receiving",
            outcome.records.len(),
            outcome.records.len() + outcome.lost,
            gap.as_secs_f64() * 1e3
        ));
        (grpc_listener, ops_listener) = (Some(taking.grpc), Some(taking.ops));
    }
    kernel.sweep();
    let keeping = kernel
        .keeper(clock)
        .context("the kernel does not tell of its network")?
        .map(|keeper| tokio::spawn(keeper.run()));
    let keeping_xdp = xdp
        .map(|xdp| xdp.keeper(clock))
        .transpose()
        .context("the kernel does not tell of its network")?
        .map(|keeper| tokio::spawn(keeper.run()));
    let reading = kernel
        .copies()
        .context("copies of RTCP cannot be read")?
        .map(|copies| {
            let (tells, holds) = (node.clone(), node.clone());
            let tell = move |worker, copies| tells.read_rtcp(worker, copies);
            tokio::spawn(copies.run(tell, move || holds.is_held()))
        });
    let measuring = tokio::spawn({
        let node = node.clone();
        async move { node.measure().await }
    });

    let (readiness, watched) = watch::channel(Readiness::NotReady("starting".into()));
    let (stop, stopped) = watch::channel(false);
    let (connections_max, tally) = (config.grpc.connections_max, node.tally().clone());
    let incoming = match grpc_listener {
        Some(listener) => Incoming::inherit(listener, &config.grpc.listen, connections_max, tally),
        None => Incoming::bind(&config.grpc.listen, connections_max, tally).await,
    };
    let incoming = incoming.with_context(|| format!("grpc.listen: {}", config.grpc.listen))?;
    let (grpc_descriptor, left) = (incoming.descriptor()?, incoming.left());
    let grpc_address = incoming.address()?;
    let kernel_taps = kernel
        .taps()
        .context("taps of the kernel's flows cannot be read")?;
    let taps = Admission::new(node.clone(), clock, kernel_taps, &config.limits);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MediaNodeServer<grpc::Service>>().await;
    let mut grpc_server = tokio::spawn({
        let (config, node, stopped) = (config.grpc.clone(), node.clone(), asked(stopped.clone()));
        async move { grpc::serve(&config, incoming, node, taps, health_service, stopped).await }
    });
    let ops_listener = match ops_listener {
        Some(listener) => TcpListener::from_std(listener.into()),
        None => TcpListener::bind(config.ops.listen).await,
    };
    let ops_listener = ops_listener.with_context(|| format!("ops.listen: {}", config.ops.listen))?;
    let ops_descriptor = ops_listener.as_fd().try_clone_to_owned()?;
    let ops_address = ops_listener.local_addr()?;
    let ops = Ops {
        registry: metrics::registry(&node, kernel.status(), &setting_up.tally),
        connections_max: config.ops.connections_max,
        readiness: watched,
    };
    let ops_server = tokio::spawn(ops::http::serve(ops_listener, ops, asked(stopped)));

    let giver = match &found.directory {
        Some(directory) => {
            let giver = Giver::listen(
                directory,
                [grpc_descriptor, ops_descriptor],
                kernel.pins_lock()?,
                identity.clone(),
                clock,
                Duration::from_millis(config.limits.takeover_ms),
            );
            Some(giver.with_context(|| format!("a takeover socket in {}", directory.path().display()))?)
        }
        None => None,
    };

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
        result = ended(reading) => anyhow::bail!("the reader of RTCP copies ended: {result}"),
        result = &mut listening => anyhow::bail!("the control thread's bell ended: {result:?}"),
        given = give(giver.as_ref(), &node) => {
            tracing::info!(process = given.process, calls = given.calls, "another process has taken over");
            left.store(true, Ordering::Relaxed);
            leave(&node, &stop).await;
            let answers = async { (grpc_server.await, ops_server.await) };
            if tokio::time::timeout(LAST_ANSWERS, answers).await.is_err() {
                tracing::debug!("connections cut off");
            }
            drop(broken);
            drop(kernel);
            return Ok(());
        }
    }

    if node.is_held() {
        // In the midst of a handing over, which has ended with the choice above: the calls are still here.
        node.go_on().await;
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
    if let Some(keeping) = &keeping {
        keeping.abort();
    }
    if let Some(keeping) = &keeping_xdp {
        keeping.abort();
    }
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

/// What a process that takes over has heard before it has workers.
struct Taking {
    taker: Taker,
    directory: Option<StateDirectory>,
    workers: Inherited,
    grpc: OwnedFd,
    ops: OwnedFd,
    pins: Option<OwnedFd>,
    identity: Option<Identity>,
}

/// Greets the process that is this node; `None` when there is none.
async fn connect(config: &Config) -> anyhow::Result<Option<Taking>> {
    let root = Found::root(config).context("without a state directory nothing can be taken over")?;
    let Some((taker, inheritance)) = Taker::connect(root, &config.node_id).await? else {
        ops::process::say("takeover: no process runs as this node");
        return Ok(None);
    };
    let Inheritance {
        directory,
        grpc,
        ops,
        pins,
        identity,
        workers,
    } = inheritance;
    Ok(Some(Taking {
        taker,
        directory: Some(directory),
        workers,
        grpc,
        ops,
        pins,
        identity: Some(identity),
    }))
}

/// Completes when another process has everything; never without a way to hand over.
async fn give(giver: Option<&Giver>, node: &Node) -> Given {
    match giver {
        Some(giver) => giver.give(node).await,
        None => std::future::pending().await,
    }
}

/// Leaves the calls to the process that has taken over, and sends everybody there.
async fn leave(node: &Node, stop: &watch::Sender<bool>) {
    node.leave().await;
    node.close();
    if tokio::time::timeout(LAST_EVENTS, node.unwatched()).await.is_err() {
        tracing::warn!("a watcher of events does not read: it loses its last ones");
    }
    stop.send_replace(true);
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
