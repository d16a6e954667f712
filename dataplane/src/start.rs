//! From the configuration to running workers.

use std::io;

use anyhow::Context as _;
use media_engine::EngineConfig;
use media_types::Path;
use net_io::IoConfig;
use net_io::probe::{self, Requested};
use net_io::socket::Sockets;
use net_io::uring::Uring;
use ops::clock::MonotonicClock;
use sans_io::Random;

use crate::bell::Bell;
use crate::config::{Backend, Config, Interface};
use crate::file_limit::{self, FileLimit};
use crate::node::Identity;
use crate::worker::{self, Handle, Plan};

/// The packet back-end that was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// Its path.
    pub path: Path,
    /// Why.
    pub reason: &'static str,
}

impl Chosen {
    /// Its name in the configuration, on the command line and in metrics.
    pub const fn name(self) -> &'static str {
        match self.path {
            Path::Uring => "uring",
            Path::Socket => "socket",
            Path::Simulated => "simulated",
        }
    }
}

/// Running workers, and what is known of them.
#[derive(Debug)]
pub struct Workers {
    /// What they are, together.
    pub identity: Identity,
    /// Them.
    pub handles: Vec<Handle>,
    /// Calls that each takes.
    pub calls_max: Vec<usize>,
}

/// Pins, builds and starts the workers, as many as the configuration says.
///
/// # Errors
/// When a back-end cannot be made, or there is no randomness.
pub fn workers(
    config: &Config,
    limit: FileLimit,
    clock: MonotonicClock,
    bell: &Bell,
) -> anyhow::Result<Workers> {
    let chosen = choose(config.workers.backend)?;
    let allowed =
        worker::allowed_cores().context("the kernel does not say which cores this process may use")?;
    let count = match (config.workers.count, config.workers.cores.len()) {
        (0, 0) => allowed.len().max(1),
        (0, named) => named,
        (count, _) => count,
    };
    let cores = worker::assign(count, &config.workers.cores, &allowed);
    let sockets = sockets(chosen, limit, config.grpc.connections_max, count);
    let calls_max = calls_max(config, sockets * count as u64);
    let shares: Vec<usize> = (0..count).map(|index| share(calls_max, index, count)).collect();
    let mut random = Random::from_seed(ops::random::seed().context("no randomness")?);
    let mut handles = Vec::with_capacity(count);
    for (index, share) in shares.iter().enumerate() {
        let engine = engine_config(config, chosen, index, count, *share);
        let ports: usize = engine
            .interfaces
            .iter()
            .map(|i| 2 * i.ports.len() * i.addresses.len())
            .sum();
        anyhow::ensure!(
            ports > 0,
            "fewer port pairs than workers: worker {index} has none"
        );
        let ports_max = (ports as u64).min(sockets).clamp(1, 1 << 20) as u32;
        let plan = Plan {
            index,
            core: cores.get(index).copied(),
            engine,
            random: random.fork(),
            clock,
            command_queue: config.limits.command_queue,
            event_queue: config.limits.event_queue,
            bell: bell.clone(),
        };
        let started = start(chosen, plan, config.io.config(ports_max));
        handles.push(
            started.with_context(|| format!("worker {index} cannot start its {} back-end", chosen.name()))?,
        );
    }
    let identity = Identity {
        node_id: config.node_id.clone(),
        backend: chosen.name(),
        backend_reason: chosen.reason,
        interfaces: config.interfaces.iter().map(Interface::to_wire).collect(),
        calls_max,
    };
    Ok(Workers {
        identity,
        handles,
        calls_max: shares,
    })
}

/// Ports that each of `count` workers can have open. With plain sockets they share the process's files; a ring has a table of
/// its own, which may have as many entries as the process files.
fn sockets(chosen: Chosen, limit: FileLimit, connections: usize, count: usize) -> u64 {
    match chosen.path {
        Path::Uring => limit.files(),
        Path::Socket | Path::Simulated => (limit.sockets(connections) / count as u64).max(1),
    }
}

/// What the configuration allows and so many sockets leave.
fn calls_max(config: &Config, sockets: u64) -> usize {
    let wanted = config.limits.calls_max;
    let left = usize::try_from(file_limit::calls(sockets)).unwrap_or(usize::MAX);
    if left < wanted {
        tracing::warn!(
            calls_max = wanted,
            calls_left = left,
            "the limit of open files leaves room for {left} calls of one media line, fewer than limits.calls_max; \
             raise it (ulimit -Hn, LimitNOFILE=) or lower limits.calls_max"
        );
    }
    wanted.min(left)
}

/// The part of the `index`-th of `count` workers; the parts add up to `total`.
const fn share(total: usize, index: usize, count: usize) -> usize {
    total / count + (index < total % count) as usize
}

fn engine_config(
    config: &Config,
    chosen: Chosen,
    index: usize,
    count: usize,
    calls_max: usize,
) -> EngineConfig {
    let interfaces = config
        .interfaces
        .iter()
        .map(|interface| interface.share(index, count))
        .collect();
    let limits = &config.limits;
    let mut engine = EngineConfig::new(interfaces, chosen.path, chosen.reason);
    engine.calls_max = calls_max;
    engine.lease_default = limits.lease_default();
    engine.lease_max = limits.lease_max();
    engine.media_timeout_default = limits.media_timeout();
    engine.quarantine = limits.port_quarantine();
    // At a stop, or when a control plane is gone, every call ends in one moment.
    engine.limits.events_max = calls_max + limits.event_queue;
    engine
}

fn start(chosen: Chosen, plan: Plan, io: IoConfig) -> io::Result<Handle> {
    match chosen.path {
        Path::Uring => worker::start(plan, move || Uring::new(&io).map_err(io::Error::other)),
        Path::Socket | Path::Simulated => worker::start(plan, move || Sockets::new(&io)),
    }
}

/// The back-end for this machine.
///
/// # Errors
/// When the one that was insisted on does not work here.
fn choose(backend: Backend) -> anyhow::Result<Chosen> {
    let requested = match backend {
        Backend::Auto => Requested::Auto,
        Backend::Uring => Requested::Uring,
        Backend::Socket => Requested::Socket,
    };
    let (chosen, reason) = probe::choose(requested)?;
    let path = match chosen {
        probe::Backend::Uring => Path::Uring,
        probe::Backend::Socket => Path::Socket,
    };
    // Once in the life of the process; every report of a line shows it.
    Ok(Chosen {
        path,
        reason: Box::leak(reason.into_boxed_str()),
    })
}
