use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dtls::Identity;
use media_engine::Restored;
use media_types::Refusal;
use net_io::steering::{Exit, SharedSockets};
use tokio::sync::oneshot;

use super::channel::Channel;
use super::message::{Ask, AskKind, Begin, Call, Hello, Shared, Taken, Tell, TellKind, VERSION};
use super::socket;
use crate::journal::{Record, StateDirectory};
use crate::node::Node;
use crate::worker::Answer;

/// The end of the process that takes over.
#[derive(Debug)]
pub struct Taker {
    channel: Channel,
}

/// What it gets before the calls.
#[derive(Debug)]
pub struct Inheritance {
    /// The node's directory, locked.
    pub directory: StateDirectory,
    /// That of gRPC.
    pub grpc: OwnedFd,
    /// That of operators.
    pub ops: OwnedFd,
    /// The lock of its pinned kernel flows, if it has any.
    pub pins: Option<OwnedFd>,
    /// What its handshakes show.
    pub identity: Identity,
    /// For the workers.
    pub workers: Inherited,
}

/// What the workers of a process that takes over are built from.
#[derive(Debug)]
pub struct Inherited {
    /// The other process.
    pub process: u32,
    /// How many workers it has.
    pub workers: usize,
    /// What their ports share, when they are steered: one a worker.
    pub shared: Vec<SharedSockets>,
}

/// What became of the calls.
#[derive(Debug)]
pub struct Outcome {
    /// The records of those that go on.
    pub records: Vec<Record>,
    /// Those that could not be made again.
    pub lost: usize,
    /// When the other process stopped receiving, on the machine's clock.
    pub stopped: sans_io::Timestamp,
}

/// A call on its way to its worker.
struct UnderWay {
    record: Record,
    answer: Result<oneshot::Receiver<Answer>, Refusal>,
}

impl Taker {
    /// Greets the process that is this node. `None` when there is none.
    ///
    /// # Errors
    /// When it refuses, or what it says makes no sense.
    pub async fn connect(root: &Path, node_id: &str) -> anyhow::Result<Option<(Self, Inheritance)>> {
        let directory = StateDirectory::path_of(root, node_id);
        let connected = socket::stream(&directory);
        let Some(socket) = connected.with_context(|| directory.display().to_string())? else {
            return Ok(None);
        };
        let mut taker = Self {
            channel: Channel::new(socket),
        };
        let inheritance = taker.greet(root, node_id).await.context("taking over")?;
        Ok(Some((taker, inheritance)))
    }

    async fn greet(&mut self, root: &Path, node_id: &str) -> anyhow::Result<Inheritance> {
        let hello = Hello {
            version: VERSION,
            process: std::process::id(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.ask(AskKind::Hello(hello)).await?;
        let (kind, descriptors) = self.hear().await?;
        let welcome = match kind {
            TellKind::Welcome(welcome) => welcome,
            TellKind::Refused(reason) => anyhow::bail!("the process that runs refuses: {reason}"),
            _ => anyhow::bail!("the process that runs does not greet"),
        };
        let mut descriptors = descriptors.into_iter();
        let pins = match welcome.pins {
            true => descriptors.next_back(),
            false => None,
        };
        let descriptors: Vec<OwnedFd> = descriptors.collect();
        let [lock, grpc, ops]: [OwnedFd; 3] = descriptors
            .try_into()
            .map_err(|_| io::Error::other("a lock or a listener is missing"))?;
        let identity = Identity::checked(welcome.dtls_certificate, welcome.dtls_key)
            .context("the other process's certificate of handshakes")?;
        let mut shared = Vec::new();
        for _ in 0..if welcome.steers { welcome.workers } else { 0 } {
            let (TellKind::Shared(message), descriptors) = self.hear().await? else {
                anyhow::bail!("a worker's sockets are missing");
            };
            shared
                .push(sockets(&message, descriptors).ok_or_else(|| io::Error::other("a socket is missing"))?);
        }
        Ok(Inheritance {
            directory: StateDirectory::inherit(root, node_id, lock),
            grpc,
            ops,
            pins,
            identity,
            workers: Inherited {
                process: welcome.process,
                workers: welcome.workers as usize,
                shared,
            },
        })
    }

    /// Takes the calls; `held` is called when the other process has stopped, before the first of them. When this returns they are this process's; on an error they are still the other's.
    ///
    /// # Errors
    /// When the other process ends, or goes on by itself.
    pub async fn take(
        mut self,
        node: &Node,
        held: impl FnOnce(),
        restored: impl Fn(&Record) -> Result<Restored, Refusal>,
    ) -> anyhow::Result<Outcome> {
        let mut held = Some(held);
        self.ask(AskKind::Begin(Begin {})).await?;
        let mut under_way = VecDeque::new();
        let mut outcome = Outcome {
            records: Vec::new(),
            lost: 0,
            stopped: sans_io::Timestamp::ZERO,
        };
        loop {
            let heard = self.hear().await?;
            if let Some(held) = held.take() {
                held();
            }
            match heard {
                (TellKind::Call(call), descriptors) => {
                    take_call(node, call, descriptors, &restored, &mut under_way, &mut outcome).await?;
                }
                (TellKind::End(end), _) => {
                    outcome.stopped = sans_io::Timestamp::from_nanos(end.stopped_ns);
                    break;
                }
                _ => anyhow::bail!("the other process says something else"),
            }
        }
        while let Some(first) = under_way.pop_front() {
            outcome.settle(node, first).await;
        }
        let taken = Taken {
            calls: outcome.records.len() as u64,
        };
        self.ask(AskKind::Taken(taken)).await?;
        match self.hear().await? {
            (TellKind::Done(_), _) => Ok(outcome),
            _ => anyhow::bail!("the other process does not let go"),
        }
    }

    async fn ask(&self, kind: AskKind) -> io::Result<()> {
        self.channel.send(&Ask::from(kind), &[]).await
    }

    async fn hear(&mut self) -> io::Result<(TellKind, Vec<OwnedFd>)> {
        let (message, descriptors) = self.channel.receive::<Tell>().await?;
        let kind = message
            .kind
            .ok_or_else(|| io::Error::other("an empty message, as of another version"))?;
        Ok((kind, descriptors))
    }
}

async fn take_call(
    node: &Node,
    call: Call,
    descriptors: Vec<OwnedFd>,
    restored: &impl Fn(&Record) -> Result<Restored, Refusal>,
    under_way: &mut VecDeque<UnderWay>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let record = Record::decode(&call.record).context("a call makes no sense")?;
    let locals: Vec<SocketAddr> = call
        .sockets
        .iter()
        .map(|local| local.parse())
        .collect::<Result<_, _>>()
        .context("a socket's address")?;
    anyhow::ensure!(locals.len() == descriptors.len(), "a socket is missing");
    while !node.has_room(record.worker)
        && let Some(first) = under_way.pop_front()
    {
        outcome.settle(node, first).await;
    }
    let answer = restored(&record).and_then(|mut restored| {
        if let Some(lines) = &call.lines {
            lines.apply(&mut restored.state);
        }
        restored.state.lease_left = Duration::from_nanos(call.lease_left_ns);
        let sockets = locals.into_iter().zip(descriptors).collect();
        node.take(record.worker, Arc::new(restored), sockets)
    });
    under_way.push_back(UnderWay { record, answer });
    Ok(())
}

impl Outcome {
    async fn settle(&mut self, node: &Node, call: UnderWay) {
        match node.taken(&call.record.spec.id, call.answer).await {
            Ok(()) => self.records.push(call.record),
            Err(_) => self.lost += 1,
        }
    }
}

/// The sockets of a worker, out of the descriptors that came with the message.
fn sockets(message: &Shared, descriptors: Vec<OwnedFd>) -> Option<SharedSockets> {
    let mut descriptors = descriptors.into_iter();
    let v4 = match message.v4 {
        true => Some(descriptors.next()?),
        false => None,
    };
    let v6 = match message.v6 {
        true => Some(descriptors.next()?),
        false => None,
    };
    let mut exits = Vec::with_capacity(message.exits.len());
    for address in &message.exits {
        exits.push(Exit {
            address: address.parse::<IpAddr>().ok()?,
            socket: descriptors.next()?,
        });
    }
    Some(SharedSockets { v4, v6, exits })
}
