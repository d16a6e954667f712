//! Where the load comes from.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use crate::relay::bed::{Bed, LOAD};
use crate::relay::frame_wire::FrameWire;
use crate::relay::generator::Generator;
use crate::relay::live_load::LiveLoad;
use crate::relay::outcome::Outcome;
use crate::relay::secured_caller::CallerKeys;
use crate::relay::socket_wire::SocketWire;
use crate::relay::wire::Wire;
use crate::speech::PTIME_MS;

const PTIME: Duration = Duration::from_millis(PTIME_MS);
/// Packets a second that every relay takes while its calls learn their sources.
const FIRST_PPS: u32 = 40_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Live frames where the host has them, else sockets.
    #[default]
    Auto,
    /// Frames made and counted by BPF programs (Linux 5.18): more than a million packets a second from one core.
    Live,
    /// Two UDP sockets: up to about 85,000 packets a second each way and back.
    Sockets,
    /// Frames made and counted in user space, through an AF_XDP socket: several times as many, also with SRTP.
    Frames,
}

/// Sends and counts.
#[derive(Debug)]
pub enum Load {
    /// In user space: [`Generator`].
    Generated(Box<Generator>),
    /// [`LiveLoad`].
    Live(Box<LiveLoad>),
}

impl Load {
    /// Makes it at the load's end of `bed`, where the calling thread is. The text says why it is not what was hoped for.
    pub fn new(
        kind: Kind,
        bed: &Bed,
        calls_max: u32,
        folder: &Path,
    ) -> anyhow::Result<(Self, Option<String>)> {
        match kind {
            Kind::Sockets => Ok((Self::by(SocketWire::bind(LOAD)?), None)),
            Kind::Frames => Ok((Self::by(FrameWire::attach(bed)?), None)),
            Kind::Live => Ok((
                Self::Live(Box::new(LiveLoad::attach(bed, calls_max, folder)?)),
                None,
            )),
            Kind::Auto => match LiveLoad::attach(bed, calls_max, folder) {
                Ok(live) => Ok((Self::Live(Box::new(live)), None)),
                Err(error) => Ok((
                    Self::by(SocketWire::bind(LOAD)?),
                    Some(format!("The load came from sockets: live frames: {error}")),
                )),
            },
        }
    }

    /// In user space, by this wire.
    pub fn by(wire: impl Wire + 'static) -> Self {
        Self::Generated(Box::new(Generator::new(wire)))
    }

    /// Whether native XDP_TX at the relay's end reaches this load, and any rate can be asked for.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// See [`LiveLoad::wait_for_room`].
    pub fn wait_for_room(&mut self, waits: bool) {
        if let Self::Live(live) = self {
            live.wait_for_room(waits);
        }
    }

    /// Where all callers, and where all callees, receive.
    pub fn parties(&self) -> [SocketAddr; 2] {
        match self {
            Self::Generated(generator) => generator.parties(),
            Self::Live(live) => live.parties(),
        }
    }

    /// The ports of the relay, by call: that of the caller, that of the callee. All are in clear.
    pub fn direct(&mut self, faces: &[[SocketAddr; 2]]) -> anyhow::Result<()> {
        match self {
            Self::Generated(generator) => generator.direct(faces),
            Self::Live(live) => live.direct(faces),
        }
    }

    /// Gives the caller of each call that this is directed at SRTP, which frames made by BPF programs have not.
    pub fn secure(&mut self, keys: &[CallerKeys]) -> anyhow::Result<()> {
        match self {
            Self::Generated(generator) => generator.secure(keys),
            Self::Live(_) => bail!("live frames are in clear"),
        }
    }

    /// Sends on the first `calls` calls for `duration`, and waits for what is on its way.
    pub fn run(&mut self, calls: u32, duration: Duration) -> anyhow::Result<Outcome> {
        match self {
            Self::Generated(generator) => generator.run(calls as usize, duration),
            Self::Live(live) => live.run(calls as usize, duration, Some(PTIME)),
        }
    }

    /// The first packets of `calls` calls, `packets` on each stream, at a rate that a relay takes while it learns.
    pub fn begin(&mut self, calls: u32, packets: u32) -> anyhow::Result<Outcome> {
        match self {
            Self::Generated(generator) => generator.run(calls as usize, PTIME * packets),
            Self::Live(live) => {
                let ptime = PTIME.max(Duration::from_secs(1) * (calls * 2) / FIRST_PPS);
                live.run(calls as usize, ptime * packets, Some(ptime))
            }
        }
    }

    /// As many packets as can be, for about `duration`; `None` where a load is generated in user space.
    pub fn flood(&mut self, calls: u32, duration: Duration) -> anyhow::Result<Option<Outcome>> {
        match self {
            Self::Generated(_) => Ok(None),
            Self::Live(live) => live.run(calls as usize, duration, None).map(Some),
        }
    }
}
