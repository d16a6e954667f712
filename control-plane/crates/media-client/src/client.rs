use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use media_types::{CallId, CallReport, Fingerprint, IdempotencyKey, NodeName};
use tokio::sync::{Semaphore, mpsc, watch as tokio_watch};
use tokio::task::JoinSet;

use crate::node::{Health, Node};
use crate::{
    Answer, Config, Counters, Failure, Kind, NodeConfig, NodeConfigError, NodeStatus, Report, Request,
    counters, create, exchange, follow, health, orphans, renew, watch,
};

/// [`Config::requests_max`] requests are under way, or three quarters of that when a create is to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests to media nodes are under way")]
pub struct Overloaded;

/// The handle. Dropping it stops the tasks of the nodes; requests under way are still answered.
#[derive(Debug)]
pub struct Client {
    context: Arc<Context>,
    requests: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

/// What the client's tasks share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) counters: counters::Shared,
    reports: mpsc::Sender<Report>,
    healthy: tokio_watch::Sender<usize>,
    /// Creates under way, and whether a delete came meanwhile.
    pub(crate) creating: Mutex<HashMap<CallId, bool>>,
    turn: AtomicU64,
    own_keys: AtomicU64,
}

/// Starts the tasks of all nodes. Must run within a Tokio runtime.
pub fn start(
    config: Config,
    nodes: &[NodeConfig],
) -> Result<(Client, mpsc::Receiver<Report>), NodeConfigError> {
    let nodes = nodes
        .iter()
        .map(|node| {
            Ok(Arc::new(Node::new(
                node.name.clone(),
                node.channel(config.attempt_timeout)?,
                config.requests_max,
            )))
        })
        .collect::<Result<Vec<_>, NodeConfigError>>()?;
    let (reports, receiver) = mpsc::channel(config.reports_max);
    let requests = Arc::new(Semaphore::new(config.requests_max));
    let context = Arc::new(Context {
        config,
        nodes,
        counters: counters::Shared::default(),
        reports,
        healthy: tokio_watch::Sender::new(0),
        creating: Mutex::default(),
        turn: AtomicU64::new(0),
        own_keys: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for node in &context.nodes {
        tasks.spawn(health::run(context.clone(), node.clone()));
        tasks.spawn(renew::run(context.clone(), node.clone()));
        tasks.spawn(watch::run(context.clone(), node.clone()));
        tasks.spawn(exchange::run(context.clone(), node.clone()));
        tasks.spawn(orphans::run(context.clone(), node.clone()));
    }
    Ok((
        Client {
            context,
            requests,
            _tasks: tasks,
        },
        receiver,
    ))
}

impl Client {
    /// Starts `request`; its answer comes as a [`Report`]. Does not wait.
    ///
    /// A delete without a node is for a call whose create was not answered yet, or not in time: the client knows, or
    /// will know, which node has it. A delete that is refused here is done later all the same, without an answer.
    pub fn request(&self, request: Request) -> Result<(), Overloaded> {
        // Calls that exist are served first: new ones leave them a quarter of the places. Between the look and the
        // taking others may come; the places kept are many, and a few more or less matter to nobody.
        let kept = match request.kind {
            Kind::Create(_) => self.context.config.requests_max / 4,
            Kind::Update(_) | Kind::Delete => 0,
        };
        let is_full = self.requests.available_permits() <= kept;
        let permit = (!is_full).then(|| self.requests.clone().try_acquire_owned().ok());
        let Some(permit) = permit.flatten() else {
            self.context.counters.change(|counters| counters.overloaded += 1);
            if let Kind::Delete = request.kind {
                follow::delete_later(&self.context, &request.call, request.node.as_ref());
            }
            return Err(Overloaded);
        };
        let context = self.context.clone();
        tokio::spawn(async move {
            let id = request.id;
            let result = context.perform(request).await;
            let label = match result {
                Ok(_) => "done",
                Err(Failure::NoNode { .. }) => "no_node",
                Err(Failure::Refused(_)) => "refused",
                Err(Failure::Lost) => "lost",
            };
            context
                .counters
                .change(|counters| *counters.answers.entry(label).or_default() += 1);
            let fingerprint = result
                .as_ref()
                .ok()
                .and_then(|(node, _)| context.fingerprint(node));
            let answer = Answer {
                id,
                result,
                fingerprint,
            };
            context.report(Report::Answer(answer)).await;
            drop(permit);
        });
        Ok(())
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.context.config.requests_max - self.requests.available_permits()
    }

    /// How many nodes take calls, now and whenever it changes.
    pub fn healthy(&self) -> tokio_watch::Receiver<usize> {
        self.context.healthy.subscribe()
    }

    /// A view for metrics that may outlive the handle.
    pub fn view(&self) -> View {
        View(self.context.clone())
    }
}

/// What can be read of a client from elsewhere.
#[derive(Clone, Debug)]
pub struct View(Arc<Context>);

impl View {
    /// The nodes in the order of the configuration.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.0.nodes.iter().map(|node| node.status()).collect()
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.0.counters.snapshot()
    }
}

impl Context {
    async fn perform(&self, request: Request) -> Result<(NodeName, CallReport), Failure> {
        let Request {
            call,
            key,
            node,
            kind,
            ..
        } = request;
        match kind {
            Kind::Create(spec) => create::create(self, &key, spec, node.as_ref()).await,
            Kind::Update(legs) => follow::update(self, &key, &call, node.as_ref(), &legs).await,
            Kind::Delete => follow::delete(self, &key, &call, node.as_ref()).await,
        }
    }

    fn fingerprint(&self, name: &NodeName) -> Option<Arc<Fingerprint>> {
        let node = self.nodes.iter().find(|node| node.name == *name)?;
        node.state().fingerprint.clone()
    }

    /// Waits for room. Nothing is lost but when the owner is gone.
    pub(crate) async fn report(&self, report: Report) {
        // An owner that dropped the receiver is stopping and wants no more.
        let _ = self.reports.send(report).await;
    }

    pub(crate) fn tell_healthy(&self) {
        let up = self
            .nodes
            .iter()
            .filter(|node| node.state().health == Health::Up)
            .count();
        self.healthy
            .send_if_modified(|healthy| std::mem::replace(healthy, up) != up);
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Relaxed)
    }

    /// A key for a request that is the client's own.
    pub(crate) fn own_key(&self) -> IdempotencyKey {
        let (instance, number) = (self.config.instance, self.own_keys.fetch_add(1, Relaxed));
        IdempotencyKey::new(&format!("sweep-{instance:016x}-{number:x}"))
            .expect("38 printable characters at most are a key")
    }
}
