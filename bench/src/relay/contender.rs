//! A relay under test: started at the relay's end of the bed, given calls, measured, stopped.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use proto::media_v1 as pb;

use crate::call_request;
use crate::node_client::NodeClient;
use crate::plane::{NodeOptions, Plane};
use crate::process::Process;
use crate::relay::bed::{Bed, LOAD, RELAY};
use crate::relay::{bare_epoll, rtpengine};
use crate::usage;

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Our media node with this packet back-end, `-steered` behind it when all ports share one socket.
    Ringpath(&'static str),
    /// rtpengine in user space.
    Rtpengine,
    /// [`bare_epoll`].
    BareEpoll,
}

impl System {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 6] = [
        Self::Ringpath("uring-steered"),
        Self::Ringpath("uring"),
        Self::Ringpath("socket-steered"),
        Self::Ringpath("socket"),
        Self::BareEpoll,
        Self::Rtpengine,
    ];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringpath(_) => "ringpath",
            Self::Rtpengine => "rtpengine",
            Self::BareEpoll => "bare-epoll",
        }
    }

    /// What its packets pass through.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Ringpath(path) => path,
            Self::Rtpengine => "user-space",
            Self::BareEpoll => "socket",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.path())
    }
}

/// A running relay with its calls.
#[derive(Debug)]
pub struct Contender {
    relay: Relay,
    faces: Vec<[SocketAddr; 2]>,
}

#[derive(Debug)]
enum Relay {
    Node(Plane),
    Program(Process),
}

/// Processor time, in all, of the relay's process and of its interface's receive work.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Of the process, user and system.
    pub process: Duration,
    /// Of the interface's receive thread.
    pub receive: Duration,
}

impl Contender {
    /// Starts a relay with `calls` calls between the parties; the calling thread is at the load's end of `bed`.
    pub fn start(
        system: System,
        bed: &Bed,
        calls: u32,
        parties: [SocketAddr; 2],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let before = bed.at_relay();
        match system {
            System::Ringpath(path) => {
                let (backend, steering) = match path.strip_suffix("-steered") {
                    Some(backend) => (backend, "require"),
                    None => (path, "off"),
                };
                let options = NodeOptions {
                    name: format!("media-{path}"),
                    media: RELAY,
                    // Two pairs of ports a call.
                    ports: 20_000
                        ..=u16::try_from(19_999 + calls * 4).context("too many calls for the ports")?,
                    backend: backend.to_owned(),
                    steering,
                    calls_max: calls,
                    lease: Duration::from_secs(600),
                    grpc: (RELAY, 7_100).into(),
                    ops: (RELAY, 7_180).into(),
                };
                let node = Plane::start_node_after(&before, &options, folder)?;
                let mut client = NodeClient::connect(options.grpc)?;
                let faces = (0..calls)
                    .map(|call| faces_of(&client.create(call_request::plain(&name(call), parties))?))
                    .collect::<anyhow::Result<_>>()?;
                Ok(Self {
                    relay: Relay::Node(node),
                    faces,
                })
            }
            System::Rtpengine => {
                let (process, mut client) = rtpengine::start(&before, RELAY, LOAD, folder)?;
                let faces = (0..calls)
                    .map(|call| client.set_up(&name(call), parties))
                    .collect::<anyhow::Result<_>>()
                    .with_context(|| process.tail())?;
                Ok(Self {
                    relay: Relay::Program(process),
                    faces,
                })
            }
            System::BareEpoll => Ok(Self {
                relay: Relay::Program(bare_epoll::start(&before, RELAY, calls, parties, folder)?),
                faces: (0..calls)
                    .map(|call| bare_epoll::faces(RELAY, call))
                    .collect::<anyhow::Result<_>>()?,
            }),
        }
    }

    /// The ports that the caller and the callee of each call send to.
    pub fn faces(&self) -> &[[SocketAddr; 2]] {
        &self.faces
    }

    /// Processor time so far.
    pub fn work(&self, bed: &Bed) -> anyhow::Result<Work> {
        Ok(Work {
            process: usage::run_time(self.id())?,
            receive: bed.receive_time()?,
        })
    }

    /// Resident memory of the process.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        usage::resident_bytes(self.id())
    }

    /// Ends it. Our node has to end well; of the others the end doesn't matter.
    pub fn stop(self) -> anyhow::Result<()> {
        match self.relay {
            Relay::Node(mut node) => node.stop(),
            Relay::Program(mut process) => process.kill(),
        }
    }

    fn id(&self) -> u32 {
        match &self.relay {
            Relay::Node(node) => node.id(),
            Relay::Program(process) => process.id(),
        }
    }
}

fn name(call: u32) -> String {
    format!("relay-{call}")
}

/// Where the parties of a call send to, as the node advertises it.
fn faces_of(call: &pb::Call) -> anyhow::Result<[SocketAddr; 2]> {
    let face = |leg: usize| -> anyhow::Result<SocketAddr> {
        let rtp = call
            .legs
            .get(leg)
            .and_then(|leg| leg.lines.first())
            .and_then(|line| line.local_rtp.as_ref())
            .context("a leg has a port")?;
        Ok(SocketAddr::new(rtp.ip.parse()?, u16::try_from(rtp.port)?))
    };
    Ok([face(0)?, face(1)?])
}
