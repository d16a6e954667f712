//! Steering of media ports: the BPF program, the workers' shared sockets, and what net-io asks of both.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::Context as _;
use net_io::SocketOptions;
use net_io::steering::{RangeClaim, SharedSockets, Steer, Steering};

use crate::config::{Interface, Io, SteeringMode};
use crate::takeover::Inherited;

/// Steering of all workers of the node. The program stays attached while this or a worker's part of it lives.
#[derive(Clone, Debug)]
pub struct NodeSteering {
    node: Arc<Program>,
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct Program {
    steering: ebpf::Steering,
    _link: ebpf::Link,
}

/// How the media ports are received, and for people why.
#[derive(Debug)]
pub struct Decision {
    /// Steering, or a socket a port.
    pub steering: Option<NodeSteering>,
    /// In words that go on after "io_uring relays packets here; ".
    pub reason: String,
    /// The node's claims to its ports, to be kept as long as it has them.
    pub claims: Vec<RangeClaim>,
    /// Another node steers some of the ports: see [`SocketOptions::steered_elsewhere`].
    pub steered_elsewhere: bool,
}

/// Decides as the configuration says, and, when this process takes the place of another one, as that has it: its sockets are all
/// there is.
///
/// # Errors
/// When steering is required, or inherited, and can't be had, or the ports can't be claimed.
pub fn decide(
    io: &Io,
    interfaces: &[Interface],
    workers: usize,
    inherited: Option<&Inherited>,
) -> anyhow::Result<Decision> {
    let before: Vec<u32> = inherited.iter().map(|inherited| inherited.process).collect();
    let mode = io.steering;
    let off = |reason: String| -> anyhow::Result<Decision> {
        let claims = claim(interfaces, false)?;
        let mut steered_elsewhere = false;
        for conflict in claims
            .iter()
            .filter_map(|claim| claim.conflict(&before).transpose())
        {
            let conflict = conflict.context("other nodes' ports cannot be looked up")?;
            if conflict.steered {
                steered_elsewhere = true;
                tracing::warn!(
                    "{conflict}: each port is tried before it is used; give the nodes ports of their own"
                );
            }
        }
        Ok(Decision {
            steering: None,
            reason,
            claims,
            steered_elsewhere,
        })
    };
    match inherited {
        Some(inherited) if inherited.shared.is_empty() => {
            anyhow::ensure!(
                mode != SteeringMode::Require,
                "io.steering is \"require\", and the process before has a socket a port"
            );
            return off("a socket a port (as the process before)".into());
        }
        Some(_) => {
            let (steering, claims) =
                steer(io, interfaces, workers, &before).context("the process before steers its ports")?;
            return Ok(Decision {
                steering: Some(steering),
                reason: "ports are steered to one socket a worker".into(),
                claims,
                steered_elsewhere: false,
            });
        }
        None => {}
    }
    if mode == SteeringMode::Off {
        return off("a socket a port (io.steering is off)".into());
    }
    match steer(io, interfaces, workers, &before) {
        Ok((steering, claims)) => Ok(Decision {
            steering: Some(steering),
            reason: "ports are steered to one socket a worker".into(),
            claims,
            steered_elsewhere: false,
        }),
        Err(error) if mode == SteeringMode::Auto => off(format!("a socket a port (no steering: {error:#})")),
        Err(error) => Err(error).context("io.steering is \"require\""),
    }
}

fn steer(
    io: &Io,
    interfaces: &[Interface],
    workers: usize,
    before: &[u32],
) -> anyhow::Result<(NodeSteering, Vec<RangeClaim>)> {
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .flat_map(|interface| interface.addresses.iter().map(|address| address.local))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let (most, many) = (ebpf::layout::STEERED_ADDRESSES_MAX, addresses.len());
    anyhow::ensure!(
        many <= most,
        "{many} addresses, and at most {most} can be steered"
    );
    let most = ebpf::layout::WORKERS_MAX as usize;
    anyhow::ensure!(
        workers <= most,
        "{workers} workers, and at most {most} can be steered to"
    );
    let steering = ebpf::Steering::load(&addresses)?;
    // What a worker's start would meet is met here.
    open(&addresses, &io.config(1).socket)?;
    let claims = claim(interfaces, true)?;
    for claim in &claims {
        if let Some(conflict) = claim
            .conflict(before)
            .context("other nodes' ports cannot be looked up")?
        {
            return Err(conflict.into());
        }
    }
    let namespace = File::open("/proc/thread-self/ns/net").context("the network namespace")?;
    let link = steering.attach(namespace.as_fd())?;
    let node = Program {
        steering,
        _link: link,
    };
    Ok((
        NodeSteering {
            node: Arc::new(node),
            addresses,
        },
        claims,
    ))
}

/// Claims every range of every address.
fn claim(interfaces: &[Interface], steered: bool) -> anyhow::Result<Vec<RangeClaim>> {
    let mut claims = Vec::new();
    for interface in interfaces {
        for address in &interface.addresses {
            let claim = RangeClaim::make(address.local, interface.ports.range(), steered)
                .with_context(|| format!("ports of {} cannot be claimed", address.local))?;
            claims.push(claim);
        }
    }
    Ok(claims)
}

fn open(addresses: &[IpAddr], options: &SocketOptions) -> anyhow::Result<SharedSockets> {
    SharedSockets::open(addresses, options).context("sockets that share ports need CAP_NET_RAW")
}

impl NodeSteering {
    /// The program and what it knows of ports.
    pub fn program(&self) -> &ebpf::Steering {
        &self.node.steering
    }

    /// Makes a worker's sockets, unless it inherits them, which needs CAP_NET_RAW and, for the whole receive buffer, CAP_NET_ADMIN. They are used on its thread.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn of_worker(
        &self,
        worker: usize,
        options: &SocketOptions,
        inherited: Option<&SharedSockets>,
    ) -> anyhow::Result<Steering> {
        let sockets = match inherited {
            Some(sockets) => sockets.try_clone()?,
            None => open(&self.addresses, options)?,
        };
        let wanted = options.receive_buffer.unwrap_or(SharedSockets::RECEIVE_BUFFER);
        let granted = sockets.receive_buffer()?;
        if granted < wanted as usize {
            tracing::warn!(
                worker,
                granted,
                wanted,
                "the receive buffer of all ports is smaller than wanted: raise net.core.rmem_max, or give CAP_NET_ADMIN"
            );
        }
        let worker = u32::try_from(worker)?;
        for ipv6 in [false, true] {
            if let Some(socket) = sockets.receiver(ipv6) {
                self.node.steering.set_socket(worker, ipv6, socket)?;
            }
        }
        let steer = WorkerPorts {
            node: self.node.clone(),
            worker,
        };
        Ok(Steering {
            sockets,
            steer: Box::new(steer),
            xdp: None,
        })
    }
}

/// The ports of one worker.
#[derive(Debug)]
struct WorkerPorts {
    node: Arc<Program>,
    worker: u32,
}

impl Steer for WorkerPorts {
    fn begin(&mut self, local: SocketAddr) -> io::Result<()> {
        self.node
            .steering
            .set_owner(local, Some(self.worker))
            .map_err(io::Error::other)
    }

    fn end(&mut self, local: SocketAddr) {
        if let Err(error) = self.node.steering.set_owner(local, None) {
            // A map that took the port takes its end; if not, its datagrams are dropped and counted as of a closed port.
            tracing::error!(%local, %error, "a closed port is still steered");
        }
    }
}
