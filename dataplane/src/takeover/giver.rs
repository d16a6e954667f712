use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ops::clock::MonotonicClock;
use tokio::net::{UnixListener, UnixStream};

use super::channel::Channel;
use super::message::{Ask, AskKind, Begin, Call, Done, End, Hello, Shared, Tell, TellKind, VERSION, Welcome};
use super::socket;
use super::state::Lines;
use crate::journal::StateDirectory;
use crate::node::Node;
use crate::worker::Exported;

/// Rest after an error of accepting.
const REST: Duration = Duration::from_millis(100);

/// The end of the process that is replaced.
#[derive(Debug)]
pub struct Giver {
    listener: UnixListener,
    /// Of the state directory, and the listeners of gRPC and of operators.
    descriptors: [OwnedFd; 3],
    clock: MonotonicClock,
}

/// What was handed over.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// To this process.
    pub process: u32,
    /// So many calls.
    pub calls: u64,
}

impl Giver {
    /// Waits for a process that takes over, in the state directory; within a Tokio runtime. `listeners`: gRPC's and operators'.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(
        directory: &StateDirectory,
        listeners: [OwnedFd; 2],
        clock: MonotonicClock,
    ) -> io::Result<Self> {
        let [grpc, ops] = listeners;
        Ok(Self {
            listener: socket::listener(directory.path())?,
            descriptors: [directory.descriptor()?, grpc, ops],
            clock,
        })
    }

    /// Completes when another process has everything. One that fails before leaves this one as it was.
    pub async fn give(&self, node: &Node) -> Given {
        loop {
            let given = match self.listener.accept().await {
                Ok((socket, _)) => self.hand_over(node, socket).await,
                Err(error) => {
                    tokio::time::sleep(REST).await;
                    Err(error)
                }
            };
            match given {
                Ok(given) => return given,
                Err(error) => {
                    tracing::warn!(%error, "not handed over: this process goes on");
                    node.go_on().await;
                }
            }
        }
    }

    async fn hand_over(&self, node: &Node, socket: UnixStream) -> io::Result<Given> {
        let user = socket.peer_cred()?.uid();
        if user != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("user {user} may not take over")));
        }
        let mut channel = Channel::new(socket);
        let AskKind::Hello(hello) = ask(&mut channel).await? else {
            return Err(io::Error::other("no greeting"));
        };
        self.welcome(node, &channel, &hello).await?;
        let AskKind::Begin(Begin {}) = ask(&mut channel).await? else {
            return Err(io::Error::other("no beginning"));
        };
        tracing::info!(
            process = hello.process,
            build = hello.build,
            "another process takes over"
        );
        let stopped = self.clock.now();
        node.hold().await?;
        let calls = send_calls(node, &channel).await?;
        let end = End {
            calls,
            stopped_ns: stopped.as_nanos(),
        };
        channel.send(&Tell::from(TellKind::End(end)), &[]).await?;
        let AskKind::Taken(taken) = ask(&mut channel).await? else {
            return Err(io::Error::other("no end"));
        };
        // When this does not arrive there is nobody to arrive at: then this process goes on.
        channel.send(&Tell::from(TellKind::Done(Done {})), &[]).await?;
        Ok(Given {
            process: hello.process,
            calls: taken.calls,
        })
    }

    async fn welcome(&self, node: &Node, channel: &Channel, hello: &Hello) -> io::Result<()> {
        if hello.version != VERSION {
            let reason = format!(
                "this process hands over by version {VERSION}, not {}",
                hello.version
            );
            channel
                .send(&Tell::from(TellKind::Refused(reason.clone())), &[])
                .await?;
            return Err(io::Error::other(reason));
        }
        let shared = node.share().await?;
        let welcome = Welcome {
            process: std::process::id(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            workers: shared.len() as u32,
            steers: shared.iter().any(Option::is_some),
        };
        channel
            .send(&Tell::from(TellKind::Welcome(welcome)), &self.descriptors)
            .await?;
        for sockets in shared.into_iter().flatten() {
            let message = Shared {
                v4: sockets.v4.is_some(),
                v6: sockets.v6.is_some(),
                exits: sockets
                    .exits
                    .iter()
                    .map(|exit| exit.address.to_string())
                    .collect(),
            };
            let exits = sockets.exits.into_iter().map(|exit| exit.socket);
            let descriptors: Vec<OwnedFd> = sockets.v4.into_iter().chain(sockets.v6).chain(exits).collect();
            channel
                .send(&Tell::from(TellKind::Shared(message)), &descriptors)
                .await?;
        }
        Ok(())
    }
}

async fn ask(channel: &mut Channel) -> io::Result<AskKind> {
    let (message, _) = channel.receive::<Ask>().await?;
    message
        .kind
        .ok_or_else(|| io::Error::other("an empty message, as of another version"))
}

/// Sends every call that is in the journal; how many.
async fn send_calls(node: &Node, channel: &Channel) -> io::Result<u64> {
    let mut count = 0;
    for worker in 0..node.workers() {
        for calls in node.calls_of(worker) {
            for exported in node.export(worker, calls).await? {
                count += u64::from(send_call(node, channel, exported).await?);
            }
        }
    }
    Ok(count)
}

async fn send_call(node: &Node, channel: &Channel, exported: Exported) -> io::Result<bool> {
    let Exported { call, state, sockets } = exported;
    let Some(record) = node.journal().record(&call) else {
        tracing::warn!(%call, "not in the journal, so not handed over: the call ends");
        return Ok(false);
    };
    let (locals, descriptors): (Vec<_>, Vec<_>) = sockets?.into_iter().unzip();
    let message = Call {
        record: record.encode(),
        lines: Some(Lines::new(&state)),
        sockets: locals.iter().map(ToString::to_string).collect(),
    };
    channel
        .send(&Tell::from(TellKind::Call(message)), &descriptors)
        .await?;
    Ok(true)
}
