//! The configuration file of a media node. Every number in it is a limit with an answer: docs/operations/grpc.md has
//! the answers, `dataplane.example.toml` the meaning of each key.

mod dtls;
mod grpc;
mod interface;
mod io;
mod kernel;
mod learning;
mod limits;

use std::net::SocketAddr;
use std::path::PathBuf;

use media_types::NodeName;
use ops::config::{Problems, Validate};
use ops::logging::LogConfig;
use serde::Deserialize;

pub use dtls::Dtls;
pub use grpc::{Grpc, ListenAddress, Tls};
pub use interface::{Address, Interface};
pub use io::{Io, SteeringMode, XdpSocketsMode};
pub use kernel::{Attach, Kernel, Mode, Policy};
pub use learning::Learning;
pub use limits::{Limits, Shutdown, TAKEOVER_MS_MAX};

/// The prefix of environment variables that override the file.
pub const ENVIRONMENT_PREFIX: &str = "RINGPATH_DATAPLANE";

/// Where nodes keep their state unless the configuration says otherwise.
pub const STATE_DIRECTORY: &str = "/run/ringpath";

/// The most workers a node can have; more than any machine it was tried on.
const WORKERS_MAX: usize = 256;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name, in answers, metrics and logs.
    pub node_id: String,
    /// Where the node keeps what the next process needs, in a directory of its name; empty: nothing is kept. Left out, it is
    /// [`STATE_DIRECTORY`], and a node that cannot use that says so and keeps nothing.
    pub state_directory: Option<PathBuf>,
    /// How control planes reach the node.
    pub grpc: Grpc,
    /// How operators reach it.
    pub ops: Ops,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
    /// Threads that packets pass through.
    #[serde(default)]
    pub workers: Workers,
    /// Packet I/O of each of them.
    #[serde(default)]
    pub io: Io,
    /// The kernel path.
    #[serde(default)]
    pub kernel: Kernel,
    /// How sources are learned.
    #[serde(default)]
    pub learning: Learning,
    /// Handshakes.
    #[serde(default)]
    pub dtls: Dtls,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// What happens at SIGTERM.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// Where parties reach the node.
    #[serde(rename = "interface", default)]
    pub interfaces: Vec<Interface>,
}

/// The operators' HTTP endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    /// Address of `/metrics`, `/healthz` and `/readyz`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections at once; more are closed at once and counted.
    #[serde(default = "Ops::connections_max")]
    pub connections_max: usize,
}

impl Ops {
    const fn connections_max() -> usize {
        64
    }
}

impl Validate for Ops {
    fn validate(&self, problems: &mut Problems) {
        problems.range("connections_max", self.connections_max, 1..=65_536);
    }
}

/// The worker threads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// How many; 0 is one for each core that the process may use.
    pub count: usize,
    /// The cores that they are pinned to, one each; empty takes the first that the process may use.
    pub cores: Vec<usize>,
    /// The packet back-end.
    pub backend: Backend,
}

impl Workers {
    /// How many there are where the process may use these cores.
    pub fn number(&self, allowed: &[usize]) -> usize {
        match (self.count, self.cores.len()) {
            (0, 0) => allowed.len().max(1),
            (0, named) => named,
            (count, _) => count,
        }
    }
}

/// How packets get in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// io_uring where the kernel allows it, else `socket`.
    #[default]
    Auto,
    /// io_uring, or no start.
    Uring,
    /// recvmmsg and sendmmsg.
    Socket,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = NodeName::new(&self.node_id) {
            problems.push("node_id", reason.to_string());
        }
        problems.within("grpc", &self.grpc);
        problems.within("ops", &self.ops);
        problems.within("log", &self.log);
        problems.within("workers", &self.workers);
        problems.within("io", &self.io);
        problems.within("kernel", &self.kernel);
        problems.within("learning", &self.learning);
        problems.within("dtls", &self.dtls);
        problems.within("limits", &self.limits);
        problems.within("shutdown", &self.shutdown);
        if self.interfaces.is_empty() {
            problems.push("interface", "is missing: at least one is needed");
        }
        for (n, interface) in self.interfaces.iter().enumerate() {
            problems.within(&format!("interface.{n}"), interface);
            for (m, earlier) in self.interfaces[..n].iter().enumerate() {
                if earlier.name == interface.name {
                    problems.push(
                        &format!("interface.{n}.name"),
                        format!("is the name of interface {m}, too"),
                    );
                }
                if earlier.collides(interface) {
                    problems.push(
                        &format!("interface.{n}.ports"),
                        format!(
                            "overlap those of interface {m} ({}) on the same address",
                            earlier.name
                        ),
                    );
                }
            }
        }
    }
}

impl Validate for Workers {
    fn validate(&self, problems: &mut Problems) {
        problems.range("count", self.count, 0..=WORKERS_MAX);
        if !self.cores.is_empty() && self.count != 0 && self.cores.len() != self.count {
            problems.push(
                "cores",
                format!(
                    "must name as many cores as there are workers: {}, not {}",
                    self.count,
                    self.cores.len()
                ),
            );
        }
        for (n, core) in self.cores.iter().enumerate() {
            problems.range(&format!("cores.{n}"), *core, 0..=1023);
            if self.cores[..n].contains(core) {
                problems.push(&format!("cores.{n}"), "is named twice");
            }
        }
    }
}

#[cfg(test)]
mod tests;
