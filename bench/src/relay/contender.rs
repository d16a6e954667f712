//! A relay under test: started at the relay's end of the bed, given calls, measured, stopped.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use proto::media_v1 as pb;

use crate::call_request;
use crate::node_client::NodeClient;
use crate::plane::{NodeOptions, Plane};
use crate::process::Process;
use crate::relay::bed::{Bed, LOAD, RELAY};
use crate::relay::load::Load;
use crate::relay::secured_caller::CallerKeys;
use crate::relay::{bare_epoll, bare_xdp, rtpengine};
use crate::usage;

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Our media node with this path: `kernel`; `uring`, io_uring with all ports of its worker steered to one socket, as it comes;
    /// `xsk`, AF_XDP sockets beneath it; `uring-srtp` and `xsk-srtp`, the same with calls whose callers have SRTP; `uring-no-steering`, a socket a port;
    /// `socket`, that without io_uring.
    Ringpath(&'static str),
    /// The kernel path's program alone, with flows installed by hand: what it costs without a node.
    RelayProgram,
    /// [`bare_xdp`]: the rewrite and nothing else.
    BareXdpEcho,
    /// [`bare_epoll`].
    BareEpoll,
    /// rtpengine in user space.
    Rtpengine,
    /// The same with calls whose callers have SRTP.
    RtpengineSrtp,
}

impl System {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 12] = [
        Self::Ringpath("kernel"),
        Self::RelayProgram,
        Self::BareXdpEcho,
        Self::Ringpath("uring"),
        Self::Ringpath("xsk"),
        Self::Ringpath("uring-no-steering"),
        Self::Ringpath("socket"),
        Self::BareEpoll,
        Self::Rtpengine,
        Self::Ringpath("uring-srtp"),
        Self::Ringpath("xsk-srtp"),
        Self::RtpengineSrtp,
    ];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringpath(_) => "ringpath",
            Self::RelayProgram => "ringpath-program",
            Self::BareXdpEcho => "bare-xdp-echo",
            Self::Rtpengine | Self::RtpengineSrtp => "rtpengine",
            Self::BareEpoll => "bare-epoll",
        }
    }

    /// Whether its packets never leave XDP, so that a core takes a million of them a second.
    pub fn is_in_kernel(self) -> bool {
        matches!(
            self,
            Self::Ringpath("kernel") | Self::RelayProgram | Self::BareXdpEcho
        )
    }

    /// Whether its callers have SRTP, which only a load that is generated in user space can offer; its callees have none.
    pub fn is_secured(self) -> bool {
        matches!(
            self,
            Self::Ringpath("uring-srtp" | "xsk-srtp") | Self::RtpengineSrtp
        )
    }

    /// The most calls that it takes by its way of opening ports, whatever they cost.
    pub fn calls_max(self) -> u32 {
        match self {
            // Four ports of one address each.
            Self::Ringpath("kernel" | "uring" | "uring-srtp" | "xsk" | "xsk-srtp")
            | Self::RelayProgram
            | Self::BareXdpEcho => 11_000,
            // Two or four sockets each, of 20,000 open files.
            Self::Ringpath(_) | Self::BareEpoll | Self::Rtpengine | Self::RtpengineSrtp => 4_000,
        }
    }

    /// What its packets pass through.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Ringpath(path) => path,
            Self::RelayProgram | Self::BareXdpEcho => "kernel",
            Self::Rtpengine => "user-space",
            Self::RtpengineSrtp => "user-space-srtp",
            Self::BareEpoll => "socket",
        }
    }
}

impl FromStr for System {
    type Err = String;

    /// The name, such as `ringpath`, alone when only one system has it, else with the path: `ringpath/uring`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut named = Self::ALL
            .iter()
            .filter(|system| text == system.name() || text == format!("{}/{}", system.name(), system.path()));
        match (named.next(), named.next()) {
            (Some(&system), None) => Ok(system),
            _ => {
                let all = Self::ALL.map(|system| format!("{}/{}", system.name(), system.path()));
                Err(format!("one of {}", all.join(", ")))
            }
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
    /// Of each call, or none.
    keys: Vec<CallerKeys>,
    /// Of a node whose calls have to be on the kernel path before they are measured.
    to_settle: Option<SocketAddr>,
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
                let back_end = back_end(path);
                let options = NodeOptions {
                    backend: back_end.name.to_owned(),
                    steering: back_end.steering,
                    xdp_sockets: back_end.xdp_sockets,
                    kernel: back_end.kernel,
                    calls_max: calls,
                    grace: Duration::ZERO,
                    ..NodeOptions::new(
                        format!("media-{path}"),
                        RELAY,
                        ports(calls)?,
                        [(RELAY, 7_100).into(), (RELAY, 7_180).into()],
                    )
                };
                let node = Plane::start_node_after(&before, &options, folder)?;
                let mut client = NodeClient::connect(options.grpc)?;
                let keys: Vec<CallerKeys> = if system.is_secured() {
                    (0..calls).map(CallerKeys::of_call).collect()
                } else {
                    Vec::new()
                };
                let faces = (0..calls)
                    .map(|call| {
                        let mut request = call_request::plain(&name(call), parties);
                        if let Some(keys) = keys.get(call as usize) {
                            call_request::secure_caller(&mut request, keys.request()?);
                        }
                        faces_of(&client.create(request)?)
                    })
                    .collect::<anyhow::Result<_>>()?;
                Ok(Self {
                    relay: Relay::Node(node),
                    faces,
                    keys,
                    to_settle: (path == "kernel").then_some(options.grpc),
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
                    keys: Vec::new(),
                    to_settle: None,
                })
            }
            System::RtpengineSrtp => {
                let (process, mut client) = rtpengine::start(&before, RELAY, LOAD, folder)?;
                let calls: Vec<_> = (0..calls)
                    .map(|call| client.set_up_secured(&name(call), parties, CallerKeys::of_call(call)))
                    .collect::<anyhow::Result<_>>()
                    .with_context(|| process.tail())?;
                let (faces, keys) = calls.into_iter().unzip();
                Ok(Self {
                    relay: Relay::Program(process),
                    faces,
                    keys,
                    to_settle: None,
                })
            }
            System::RelayProgram | System::BareXdpEcho => Ok(Self {
                relay: Relay::Program(bare_xdp::start(
                    &before,
                    match system {
                        System::RelayProgram => bare_xdp::Kind::Relay,
                        _ => bare_xdp::Kind::Echo,
                    },
                    bed.relay_interface(),
                    RELAY,
                    calls,
                    parties,
                    folder,
                )?),
                faces: (0..calls)
                    .map(|call| bare_epoll::faces(RELAY, call))
                    .collect::<anyhow::Result<_>>()?,
                keys: Vec::new(),
                to_settle: None,
            }),
            System::BareEpoll => Ok(Self {
                relay: Relay::Program(bare_epoll::start(&before, RELAY, calls, parties, folder)?),
                faces: (0..calls)
                    .map(|call| bare_epoll::faces(RELAY, call))
                    .collect::<anyhow::Result<_>>()?,
                keys: Vec::new(),
                to_settle: None,
            }),
        }
    }

    /// Sends the first packets of all calls, until the node says of every line that it is where it is to be measured.
    /// The load has been directed at this relay.
    pub fn settle(&self, load: &mut Load) -> anyhow::Result<()> {
        match self.to_settle {
            Some(grpc) => settle(load, grpc, self.faces.len() as u32),
            None => Ok(()),
        }
    }

    /// Directs the load at its ports, with the keys of its callers.
    pub fn attract(&self, load: &mut Load) -> anyhow::Result<()> {
        load.direct(&self.faces)?;
        if self.keys.is_empty() {
            Ok(())
        } else {
            load.secure(&self.keys)
        }
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

/// How a node is configured for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackEnd {
    /// `workers.backend`.
    pub name: &'static str,
    /// `io.steering`.
    pub steering: &'static str,
    /// `io.xdp_sockets`.
    pub xdp_sockets: &'static str,
    /// `kernel.mode`.
    pub kernel: &'static str,
}

/// How a node of ours is configured for a path of [`System::Ringpath`].
pub fn back_end(path: &str) -> BackEnd {
    let (name, steering, xdp_sockets, kernel) = match path {
        "kernel" => ("uring", "require", "off", "require"),
        "uring" | "uring-srtp" => ("uring", "require", "off", "off"),
        "xsk" | "xsk-srtp" => ("auto", "require", "require", "off"),
        "uring-no-steering" => ("uring", "off", "off", "off"),
        _ => ("socket", "off", "off", "off"),
    };
    BackEnd {
        name,
        steering,
        xdp_sockets,
        kernel,
    }
}

/// Sends the first packets of calls 0 to `calls` of the node, until it says of every line that it is on the kernel path.
pub fn settle(load: &mut Load, grpc: SocketAddr, calls: u32) -> anyhow::Result<()> {
    const TRIES: u32 = 8;
    let mut settled = 0;
    let mut reasons = Vec::new();
    for _ in 0..TRIES {
        load.begin(calls, 4)?;
        // A connection for each look: one that nobody drives while the load runs is closed by the node.
        let mut client = NodeClient::connect(grpc)?;
        while settled < calls {
            reasons = client.lines_not_on(pb::Path::Kernel, &name(settled))?;
            if !reasons.is_empty() {
                break;
            }
            settled += 1;
        }
        if settled == calls {
            return Ok(());
        }
    }
    bail!(
        "call {settled} of {calls} is not on the kernel path: {}",
        reasons.join(", ")
    )
}

/// Two pairs of ports a call, and some for those that something else holds.
pub fn ports(calls: u32) -> anyhow::Result<RangeInclusive<u16>> {
    let last = u16::try_from(19_999 + calls * 4).context("too many calls for the ports")?;
    Ok(20_000..=last.saturating_add(1_000))
}

/// The id of a call.
pub fn name(call: u32) -> String {
    format!("relay-{call}")
}

/// Where the parties of a call send to, as the node advertises it.
pub fn faces_of(call: &pb::Call) -> anyhow::Result<[SocketAddr; 2]> {
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
