//! Where a media node runs for measurements and soak tests: the bed with its own interface where privilege allows, else
//! loopback.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::host::Host;
use crate::plane::{NodeOptions, Plane};
use crate::relay::bed::{self, Bed, RELAY};
use crate::relay::drops::Drops;
use crate::relay::load::{Kind, Load};
use crate::relay::privilege;
use crate::relay::socket_wire::SocketWire;

/// A place for one node at a time, and a load for it.
#[derive(Debug)]
pub struct Ground {
    /// Sends to the node's ports.
    pub load: Load,
    /// The node's address.
    pub node: Ipv4Addr,
    /// The node's core; absent when there is only one, which it shares with whoever measures.
    pub node_core: Option<usize>,
    before: Vec<OsString>,
    /// Detached before what it is attached to is gone.
    bed: Option<Bed>,
    host: Option<Host>,
}

impl Ground {
    /// Makes it for at most so many calls, with a load of this kind where there is a bed. The calling thread stays there for good, on another core than the node, and should
    /// end. The text says why it is not a bed.
    pub fn make(kind: Kind, calls_max: u32, folder: &Path) -> anyhow::Result<(Self, Option<String>)> {
        let cores = match privilege::check() {
            Ok(cores) => cores,
            Err(missing) => {
                let host = Host::reserve()?;
                let allowed = privilege::allowed_cores()?;
                let mut before = Vec::new();
                let node_core = allowed.last().copied().filter(|_| allowed.len() > 1);
                if let Some(core) = node_core {
                    before = ["taskset", "--cpu-list", &core.to_string()]
                        .map(OsString::from)
                        .into();
                    bed::pin(None, allowed[0])?;
                }
                let ground = Self {
                    load: Load::by(SocketWire::bind(host.ip())?),
                    node: host.ip(),
                    node_core,
                    before,
                    bed: None,
                    host: Some(host),
                };
                return Ok((
                    ground,
                    Some(format!("On loopback, without the kernel path: {missing}")),
                ));
            }
        };
        let bed = Bed::make(cores, true, folder)?;
        bed.enter()?;
        let (load, hitch) = Load::new(kind, &bed, calls_max, folder)?;
        let ground = Self {
            load,
            node: RELAY,
            node_core: Some(cores.relay),
            before: bed.at_relay(),
            bed: Some(bed),
            host: None,
        };
        Ok((ground, hitch))
    }

    /// Whether there is an interface for the kernel path.
    pub fn has_interface(&self) -> bool {
        self.bed.is_some()
    }

    /// Packets that the kernel has dropped so far; none on loopback, where its counters do not tell whose they were.
    pub fn drops(&self) -> anyhow::Result<Drops> {
        self.bed.as_ref().map_or(Ok(Drops::default()), Bed::drops)
    }

    /// The load's address.
    pub fn local(&self) -> Ipv4Addr {
        match &self.host {
            Some(host) => host.ip(),
            None => bed::LOAD,
        }
    }

    /// Where a node's gRPC, and its metrics, listen.
    pub fn listeners(&self) -> [SocketAddr; 2] {
        [(self.node, 7_100).into(), (self.node, 7_180).into()]
    }

    /// Starts a node there.
    pub fn start(&self, options: &NodeOptions, folder: &Path) -> anyhow::Result<Plane> {
        Plane::start_node_after(&self.before, options, folder)
    }
}
