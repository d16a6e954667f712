use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use dtls::Identity;
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
/// How long a connection may take to say who it is.
const GREETING: Duration = Duration::from_secs(1);

/// Descriptors of a process without pins.
const DESCRIPTORS: usize = 3;

/// The end of the process that is replaced.
#[derive(Debug)]
pub struct Giver {
    listener: UnixListener,
    /// The lock of the state directory, the listeners of gRPC and of operators, and the lock of the pins if there are any.
    descriptors: Vec<OwnedFd>,
    /// What handshakes show: descriptions of calls under way name its fingerprint.
    identity: Arc<Identity>,
    clock: MonotonicClock,
    /// How long calls may stand still.
    standstill_max: Duration,
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
    /// Waits for a process that takes over, in the state directory; within a Tokio runtime. `listeners`: gRPC's and operators'; `pins`:
    /// the lock of the pinned kernel flows.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(
        directory: &StateDirectory,
        listeners: [OwnedFd; 2],
        pins: Option<OwnedFd>,
        identity: Arc<Identity>,
        clock: MonotonicClock,
        standstill_max: Duration,
    ) -> io::Result<Self> {
        let mut descriptors = vec![directory.descriptor()?];
        descriptors.extend(listeners);
        descriptors.extend(pins);
        Ok(Self {
            listener: socket::listener(directory.path())?,
            descriptors,
            identity,
            clock,
            standstill_max,
        })
    }

    /// Completes when another process has everything. Nothing stops here before one has greeted and begun, and when it fails after that, or
    /// takes longer than it may, this one goes on as it was.
    pub async fn give(&self, node: &Node) -> Given {
        loop {
            let given = match self.listener.accept().await {
                Ok((socket, _)) => self.meet(node, socket).await,
                Err(error) => {
                    tokio::time::sleep(REST).await;
                    Err(error)
                }
            };
            match given {
                Ok(given) => return given,
                Err(error) => tracing::warn!(%error, "not handed over: this process goes on"),
            }
        }
    }

    /// A connection, until it has everything or fails.
    async fn meet(&self, node: &Node, socket: UnixStream) -> io::Result<Given> {
        let user = socket.peer_cred()?.uid();
        if user != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("user {user} may not take over")));
        }
        let mut channel = Channel::new(socket);
        // Others wait behind one that says nothing.
        let AskKind::Hello(hello) = tokio::time::timeout(GREETING, ask(&mut channel)).await?? else {
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
        let handed_over = tokio::time::timeout(self.standstill_max, self.hand_over(node, &mut channel)).await;
        let handed_over = handed_over.unwrap_or_else(|_| {
            let text = format!(
                "it took longer than limits.takeover_ms = {}",
                self.standstill_max.as_millis()
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        });
        match handed_over {
            Ok(calls) => Ok(Given {
                process: hello.process,
                calls,
            }),
            Err(error) => {
                // First of all, the other process must not begin: it has not been told that this one let go.
                drop(channel);
                node.go_on().await;
                Err(error)
            }
        }
    }

    /// Stops, and sends all calls; how many the other process took. On an error they are still here, and stopped.
    async fn hand_over(&self, node: &Node, channel: &mut Channel) -> io::Result<u64> {
        let stopped = self.clock.now();
        node.hold().await?;
        let calls = send_calls(node, channel).await?;
        let end = End {
            calls,
            stopped_ns: stopped.as_nanos(),
        };
        channel.send(&Tell::from(TellKind::End(end)), &[]).await?;
        let AskKind::Taken(taken) = ask(channel).await? else {
            return Err(io::Error::other("no end"));
        };
        // When this does not arrive there is nobody to arrive at: then this process goes on.
        channel.send(&Tell::from(TellKind::Done(Done {})), &[]).await?;
        Ok(taken.calls)
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
            pins: self.descriptors.len() > DESCRIPTORS,
            dtls_certificate: self.identity.certificate().to_vec(),
            dtls_key: self.identity.private_key().to_vec(),
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
        lease_left_ns: u64::try_from(state.lease_left.as_nanos()).unwrap_or(u64::MAX),
        sockets: locals.iter().map(ToString::to_string).collect(),
    };
    channel
        .send(&Tell::from(TellKind::Call(message)), &descriptors)
        .await?;
    Ok(true)
}
