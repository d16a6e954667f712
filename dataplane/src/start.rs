//! From the configuration to running workers.

use std::io;
use std::net::UdpSocket;

use anyhow::Context as _;
use media_engine::EngineConfig;
use media_types::Path;
use net_io::IoConfig;
use net_io::probe::{self, Requested};
use net_io::socket::Sockets;
use net_io::steering::{RangeClaim, Steered, Steering};
use net_io::uring::Uring;
use ops::clock::MonotonicClock;
use rustix::thread::CapabilitySet;
use sans_io::Random;

use crate::bell::Bell;
use crate::config::{Backend, Config, Interface, XdpSocketsMode};
use crate::file_limit::{self, FileLimit};
use crate::kernel::{Kernel, NodeXdp};
use crate::node::Identity;
use crate::setting_up;
use crate::steering::{self, Decision, NodeSteering};
use crate::takeover::Inherited;
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
    fn socket(reason: String) -> Self {
        Self {
            path: Path::Socket,
            reason: keep(reason),
        }
    }

    fn xsk(xdp: &NodeXdp) -> Self {
        Self {
            path: Path::Xsk,
            reason: keep(format!(
                "AF_XDP sockets on {} take and send the packets of steered ports",
                xdp.names()
            )),
        }
    }

    /// With words on how its ports are received.
    fn and(self, reason: &str) -> Self {
        Self {
            reason: keep(format!("{}; {reason}", self.reason)),
            ..self
        }
    }

    /// Its name in the configuration, on the command line and in metrics.
    pub const fn name(self) -> &'static str {
        match self.path {
            Path::Xsk => "xsk",
            Path::Uring => "uring",
            Path::Socket => "socket",
            Path::Simulated => "simulated",
            Path::Kernel => "kernel",
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
    /// Where parties reach them, as far as it can be bound here.
    pub interfaces: Vec<Interface>,
    /// The node's claims to its ports.
    pub claims: Vec<RangeClaim>,
    /// AF_XDP, when they use it.
    pub xdp: Option<NodeXdp>,
}

/// Pins, builds and starts the workers, as many as the configuration says.
///
/// # Errors
/// When an interface has no address of this machine, a back-end cannot be made, or there is no randomness.
#[expect(
    clippy::too_many_arguments,
    reason = "all that the workers of a node are made of"
)]
pub fn workers(
    config: &Config,
    limit: FileLimit,
    clock: MonotonicClock,
    bell: &Bell,
    kernel: &Kernel,
    keep: CapabilitySet,
    inherited: Option<&Inherited>,
    setting_up: &setting_up::Plan,
) -> anyhow::Result<Workers> {
    let interfaces = bindable(&config.interfaces)?;
    let allowed =
        worker::allowed_cores().context("the kernel does not say which cores this process may use")?;
    let count = config.workers.number(&allowed);
    if let Some(inherited) = inherited {
        anyhow::ensure!(
            inherited.workers == count,
            "the process before has {} workers, this one would have {count}",
            inherited.workers
        );
    }
    let Decision {
        steering,
        reason,
        claims,
        steered_elsewhere,
    } = steering::decide(&config.io, &interfaces, count, inherited)?;
    let mut start = Start {
        config,
        xdp: None,
        interfaces,
        cores: worker::assign(count, &config.workers.cores, &allowed),
        count,
        steering,
        steered_elsewhere,
        limit,
        clock,
        bell,
        kernel,
        keep,
        inherited,
        setting_up,
    };
    let chosen = choose(config.workers.backend)?.and(&reason);
    let xdp = match xdp_sockets(&start) {
        Ok(xdp) => Ok(xdp),
        Err(error) if config.io.xdp_sockets == XdpSocketsMode::Require && inherited.is_none() => {
            return Err(error).context("io.xdp_sockets is \"require\"");
        }
        Err(error) => Err(format!("no AF_XDP: {error:#}")),
    };
    let chosen = match xdp {
        Ok(None) => chosen,
        Ok(Some(xdp)) => {
            let of_xdp = Chosen::xsk(&xdp);
            start.xdp = Some(xdp);
            match start.all(of_xdp, launch) {
                Ok(workers) => return Ok(Workers { claims, ..workers }),
                Err(error) if config.io.xdp_sockets == XdpSocketsMode::Auto => {
                    start.xdp = None;
                    chosen.and(&format!("no AF_XDP: {error:#}"))
                }
                Err(error) => return Err(error).context("io.xdp_sockets is \"require\""),
            }
        }
        Err(reason) => {
            if config.io.xdp_sockets == XdpSocketsMode::Require {
                tracing::warn!("{reason}");
            }
            chosen.and(&reason)
        }
    };
    let started = match start.all(chosen, launch) {
        // The probe's small ring worked, the workers' large ones do not.
        Err(error) if chosen.path == Path::Uring && config.workers.backend == Backend::Auto => {
            let reason = format!("io_uring works here, but {error:#}; {reason}");
            tracing::warn!("{reason}");
            start.all(Chosen::socket(reason), launch)
        }
        started => started,
    };
    Ok(Workers { claims, ..started? })
}

/// What every worker's start needs.
struct Start<'a> {
    config: &'a Config,
    interfaces: Vec<Interface>,
    /// By worker.
    cores: Vec<usize>,
    count: usize,
    steering: Option<NodeSteering>,
    xdp: Option<NodeXdp>,
    /// Another node steers some of the ports.
    steered_elsewhere: bool,
    limit: FileLimit,
    clock: MonotonicClock,
    bell: &'a Bell,
    kernel: &'a Kernel,
    keep: CapabilitySet,
    inherited: Option<&'a Inherited>,
    setting_up: &'a setting_up::Plan,
}

impl Start<'_> {
    /// Starts every worker on the chosen back-end, or none.
    fn all(
        &self,
        chosen: Chosen,
        launch: impl Fn(Chosen, Plan, IoConfig, Option<Steering>) -> io::Result<Handle>,
    ) -> anyhow::Result<Workers> {
        let (config, count) = (self.config, self.count);
        let sockets = match self.steering {
            // Ports are no files.
            Some(_) => u64::MAX,
            None => sockets(chosen, self.limit, config.grpc.connections_max, count),
        };
        let calls_max = calls_max(config, sockets.saturating_mul(count as u64));
        let shares: Vec<usize> = (0..count).map(|index| share(calls_max, index, count)).collect();
        let mut random = Random::from_seed(ops::random::seed().context("no randomness")?);
        let setups = setting_up::start(self.setting_up, count)
            .context("the thread that sets lines up cannot start")?;
        let mut handles = Vec::with_capacity(count);
        for ((index, share), setup) in shares.iter().enumerate().zip(setups) {
            let engine = self.engine(chosen, index, count, *share);
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
                core: self.cores.get(index).copied(),
                engine,
                flows: self.kernel.flows(index),
                setup,
                random: random.fork(),
                clock: self.clock,
                command_queue: config.limits.command_queue,
                event_queue: config.limits.event_queue,
                bell: self.bell.clone(),
                held: self.inherited.is_some(),
                keep: self.keep,
            };
            let mut io = config.io.config(ports_max);
            io.socket.steered_elsewhere = self.steered_elsewhere;
            let steering = match &self.steering {
                None => Ok(None),
                Some(steering) => {
                    let sockets = self.inherited.and_then(|inherited| inherited.shared.get(index));
                    steering
                        .of_worker(index, &io.socket, sockets)
                        .map(|mut steering| {
                            steering.xdp = self.xdp.as_ref().map(|xdp| xdp.of_worker(index));
                            Some(steering)
                        })
                }
            };
            let launched = steering
                .map_err(io::Error::other)
                .and_then(|steering| launch(chosen, plan, io, steering));
            match launched {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    handles.into_iter().for_each(Handle::stop);
                    let what = format!("worker {index} cannot start its {} back-end", chosen.name());
                    return Err(error).context(what);
                }
            }
        }
        let identity = Identity {
            node_id: config.node_id.clone(),
            backend: chosen.name(),
            backend_reason: chosen.reason,
            interfaces: self.interfaces.iter().map(Interface::to_wire).collect(),
            kernel: self.kernel.interfaces().to_vec(),
            calls_max,
            fingerprint: self.setting_up.identity.fingerprint().clone(),
        };
        Ok(Workers {
            identity,
            handles,
            calls_max: shares,
            interfaces: self.interfaces.clone(),
            claims: vec![],
            xdp: self.xdp.clone(),
        })
    }

    fn engine(&self, chosen: Chosen, index: usize, count: usize, calls_max: usize) -> EngineConfig {
        let interfaces = self
            .interfaces
            .iter()
            .map(|interface| interface.share(index, count))
            .collect();
        let off = self.kernel.off_reason();
        let reason = match &off {
            Some(off) => keep(format!("{off}; {}", chosen.reason)),
            None => chosen.reason,
        };
        let mut engine = EngineConfig::new(interfaces, chosen.path, reason);
        engine.kernel = off.is_none();
        engine.calls_max = calls_max;
        engine.learning = self.config.learning.into();
        self.config.limits.apply(&mut engine);
        engine
    }
}

/// AF_XDP for all workers, when the configuration wants it and the machine has it.
///
/// # Errors
/// Why it can't be had.
fn xdp_sockets(start: &Start<'_>) -> anyhow::Result<Option<NodeXdp>> {
    if start.config.io.xdp_sockets == XdpSocketsMode::Off {
        return Ok(None);
    }
    let is_auto = start.config.io.xdp_sockets == XdpSocketsMode::Auto;
    if is_auto && start.config.workers.backend != Backend::Auto {
        // Somebody wants that one.
        return Ok(None);
    }
    anyhow::ensure!(
        start.inherited.is_none(),
        "the process before has the interface; the next start can have it"
    );
    let steering = start.steering.as_ref().context("ports are not steered")?;
    NodeXdp::attach(start.kernel, steering.program(), &start.interfaces, start.count).map(Some)
}

/// The interfaces without the addresses that this machine does not have, such as IPv6 ones where IPv6 is switched off. Legs
/// that ask for these are refused.
///
/// # Errors
/// When an interface has no other.
fn bindable(interfaces: &[Interface]) -> anyhow::Result<Vec<Interface>> {
    let mut left = interfaces.to_vec();
    for interface in &mut left {
        let name = interface.name.clone();
        interface.addresses.retain(|address| match UdpSocket::bind((address.local, 0)) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(interface = name, address = %address.local, %error, "address left out: it cannot be bound");
                false
            }
        });
        anyhow::ensure!(
            !interface.addresses.is_empty(),
            "interface \"{name}\": none of its addresses can be bound here"
        );
    }
    Ok(left)
}

/// Ports that each of `count` workers can have open. With plain sockets they share the process's files; a ring has a table of
/// its own, which may have as many entries as the process files.
fn sockets(chosen: Chosen, limit: FileLimit, connections: usize, count: usize) -> u64 {
    match chosen.path {
        Path::Uring => limit.files(),
        Path::Xsk | Path::Socket | Path::Simulated | Path::Kernel => {
            (limit.sockets(connections) / count as u64).max(1)
        }
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

fn launch(chosen: Chosen, plan: Plan, io: IoConfig, steering: Option<Steering>) -> io::Result<Handle> {
    match (chosen.path, steering) {
        (Path::Uring, None) => worker::start(plan, move || Uring::new(&io).map_err(io::Error::other)),
        (Path::Uring, Some(steering)) => worker::start(plan, move || {
            Uring::steered(&io, steering).map_err(io::Error::other)
        }),
        (Path::Xsk | Path::Socket | Path::Simulated | Path::Kernel, None) => {
            worker::start(plan, move || Sockets::new(&io))
        }
        (Path::Xsk | Path::Socket | Path::Simulated | Path::Kernel, Some(steering)) => {
            worker::start(plan, move || Steered::new(&io, steering))
        }
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
    Ok(match chosen {
        probe::Backend::Uring => Chosen {
            path: Path::Uring,
            reason: keep(reason),
        },
        probe::Backend::Socket => Chosen::socket(reason),
    })
}

/// Once or twice in the life of the process; every report of a line shows it.
fn keep(reason: String) -> &'static str {
    Box::leak(reason.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use net_io::sim::{Simulated, Wire};

    use super::*;

    fn config(interfaces: &str) -> Config {
        let text = format!(
            r#"{{"node_id": "m", "grpc": {{"listen": "127.0.0.1:0"}}, "ops": {{"listen": "127.0.0.1:0"}},
                "workers": {{"count": 3}}, "interface": [{interfaces}]}}"#
        );
        serde_json::from_str(&text).expect("a configuration")
    }

    const LOOPBACK: &str = r#"{"name": "a", "ports": "20000-20099", "addresses": [{"local": "127.0.0.1"}]}"#;

    #[tokio::test]
    async fn workers_start_all_or_none() {
        let config = config(LOOPBACK);
        let (bell, _listener) = Bell::new().expect("a pipe");
        let setting_up = setting_up::Plan {
            config: config.limits.line_setup(),
            identity: dtls::Identity::generate().map(Into::into).expect("an identity"),
            clock: MonotonicClock::start(),
            datagrams_max: 16,
            tally: setting_up::Tally::default(),
        };
        let start = Start {
            config: &config,
            interfaces: config.interfaces.clone(),
            cores: vec![],
            count: 3,
            steering: None,
            xdp: None,
            steered_elsewhere: false,
            limit: FileLimit::now(),
            clock: MonotonicClock::start(),
            bell: &bell,
            kernel: &Kernel::none(),
            keep: CapabilitySet::empty(),
            inherited: None,
            setting_up: &setting_up,
        };
        let wires = RefCell::new(vec![]);
        let launch = |last: usize| {
            let wires = &wires;
            move |_: Chosen, plan: Plan, io: IoConfig, _: Option<Steering>| {
                if plan.index > last {
                    return Err(io::Error::other("no memory for the ring"));
                }
                let wire = Wire::new()?;
                wires.borrow_mut().push(wire.clone());
                worker::start(plan, move || Simulated::new(&io, wire))
            }
        };
        let chosen = Chosen {
            path: Path::Simulated,
            reason: "a test",
        };
        let error = start
            .all(chosen, launch(1))
            .expect_err("the third does not start");
        assert_eq!(
            format!("{error:#}"),
            "worker 2 cannot start its simulated back-end: no memory for the ring"
        );

        let workers = start.all(chosen, launch(2)).expect("all start");
        assert_eq!(workers.handles.len(), 3);
        assert_eq!(
            workers.calls_max.iter().sum::<usize>(),
            workers.identity.calls_max
        );
        let pairs: u64 = workers
            .handles
            .iter()
            .map(|handle| handle.rings.published.port_pairs())
            .sum();
        assert_eq!(pairs, 50);
        workers.handles.into_iter().for_each(Handle::stop);
    }

    #[test]
    fn an_address_that_is_not_ours_is_left_out_and_an_interface_without_any_is_refused() {
        let both = r#"{"name": "a", "ports": "20000-20099",
            "addresses": [{"local": "192.0.2.1"}, {"local": "127.0.0.1"}]}"#;
        let left = bindable(&config(both).interfaces).expect("one is ours");
        assert_eq!(left[0].addresses.len(), 1);
        let none = r#"{"name": "away", "ports": "20000-20099", "addresses": [{"local": "192.0.2.1"}]}"#;
        let error = bindable(&config(none).interfaces).expect_err("none is ours");
        assert_eq!(
            error.to_string(),
            "interface \"away\": none of its addresses can be bound here"
        );
    }

    #[test]
    fn the_parts_of_workers_add_up() {
        for (total, count) in [(10, 3), (2, 3), (9, 3), (1, 1)] {
            assert_eq!(
                (0..count).map(|index| share(total, index, count)).sum::<usize>(),
                total
            );
        }
    }
}
