use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Where the data planes of a folder keep what outlives them: a run's own, since what a node of another run left is not this
/// one's. From the folder, in which they are started, because a path to a Unix socket has room for 107 bytes.
pub(super) const STATE: &str = "state";

/// How a media node shall be configured. Everything else takes its default.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// `node_id`.
    pub name: String,
    /// The address of its media.
    pub media: Ipv4Addr,
    /// RTP and RTCP ports, such as `20000-20999`.
    pub ports: RangeInclusive<u16>,
    /// `auto`, `uring` or `socket`.
    pub backend: String,
    /// `io.steering`: `auto`, `off` or `require`.
    pub steering: &'static str,
    /// `io.xdp_sockets`: `auto`, `off` or `require`.
    pub xdp_sockets: &'static str,
    /// `kernel.mode`: `auto`, `off` or `require`. Nothing is pinned.
    pub kernel: &'static str,
    /// The most calls at once.
    pub calls_max: u32,
    /// A call ends when its lease has not been renewed for this long.
    pub lease: Duration,
    /// How long calls may go on after SIGTERM.
    pub grace: Duration,
    /// How long ports rest after their call.
    pub quarantine: Duration,
    /// `log.filter`.
    pub log_filter: &'static str,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where metrics and health listen.
    pub ops: SocketAddr,
}

impl NodeOptions {
    /// A node that chooses its back-end, steering and kernel path itself, as a carrier's does, for a thousand calls. gRPC, then
    /// metrics and health, listen on the last two.
    pub fn new(
        name: impl Into<String>,
        media: Ipv4Addr,
        ports: RangeInclusive<u16>,
        [grpc, ops]: [SocketAddr; 2],
    ) -> Self {
        Self {
            name: name.into(),
            media,
            ports,
            backend: "auto".to_owned(),
            steering: "auto",
            xdp_sockets: "off",
            kernel: "auto",
            calls_max: 1_000,
            lease: Duration::from_secs(60),
            grace: Duration::from_secs(5),
            quarantine: Duration::from_secs(5),
            log_filter: "info",
            grpc,
            ops,
        }
    }

    pub(super) fn file(&self) -> String {
        format!(
            r#"node_id = "{}"
state_directory = "{STATE}"

[grpc]
listen = "{}"

[ops]
listen = "{}"

[log]
filter = "{}"

[workers]
count = 1
backend = "{}"

[io]
steering = "{}"
xdp_sockets = "{}"

[kernel]
mode = "{}"
pin_directory = ""

[limits]
calls_max = {}
lease_default_ms = {}
port_quarantine_ms = {}

[shutdown]
grace_ms = {}

[[interface]]
name = "public"
ports = "{}-{}"
addresses = [{{ local = "{}" }}]
"#,
            self.name,
            self.grpc,
            self.ops,
            self.log_filter,
            self.backend,
            self.steering,
            self.xdp_sockets,
            self.kernel,
            self.calls_max,
            self.lease.as_millis(),
            self.quarantine.as_millis(),
            self.grace.as_millis(),
            self.ports.start(),
            self.ports.end(),
            self.media,
        )
    }
}
