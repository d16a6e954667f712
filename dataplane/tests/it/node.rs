use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proto::media_v1 as wire;
use proto::media_v1::media_node_client::MediaNodeClient;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::process::{PATIENCE, Process};

/// The packet back-end under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Uring,
    Socket,
}

impl Backend {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Socket => "socket",
        }
    }

    /// Whether it works on this machine; if not, says so and, under `STRICT=1`, fails.
    pub fn is_there(self, test: &str) -> bool {
        static AUTO: LazyLock<String> = LazyLock::new(|| {
            let process = Process::start(&Settings::default().toml(), &["--backend", "auto"]);
            process.line()
        });
        if self == Self::Socket || AUTO.starts_with("backend uring") {
            return true;
        }
        let reason = format!("SKIP {test}: {}", *AUTO);
        assert!(
            std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
            "{reason}"
        );
        eprintln!("{reason}");
        false
    }
}

/// Runs an async test on both back-ends.
macro_rules! on_both_backends {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            #[tokio::test]
            async fn uring() {
                let backend = $crate::node::Backend::Uring;
                if backend.is_there(concat!(module_path!(), "::uring")) {
                    super::$name(backend).await;
                }
            }

            #[tokio::test]
            async fn socket() {
                super::$name($crate::node::Backend::Socket).await;
            }
        })*
    };
}
pub(crate) use on_both_backends;

/// What a test changes in the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `grpc.listen`.
    pub listen: String,
    /// More keys of `[grpc]`.
    pub grpc: String,
    /// The media address.
    pub address: std::net::IpAddr,
    /// `interface.ports`.
    pub ports: String,
    /// Keys of `[limits]`.
    pub limits: String,
    /// `io.steering`. Nodes of tests that run beside each other share the host's network.
    pub steering: &'static str,
    /// More keys of `[io]`.
    pub io: &'static str,
    /// Whole sections.
    pub more: String,
    pub workers: usize,
    pub grace_ms: u64,
    /// `state_directory`; empty: nothing is kept.
    pub state: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            grpc: String::new(),
            address: own_address().into(),
            ports: "20000-20999".into(),
            limits: String::new(),
            steering: "off",
            io: "",
            more: String::new(),
            workers: 1,
            grace_ms: 0,
            state: String::new(),
        }
    }
}

impl Settings {
    pub fn toml(&self) -> String {
        let Self {
            listen,
            grpc,
            address,
            ports,
            limits,
            steering,
            io,
            more,
            workers,
            grace_ms,
            state,
        } = self;
        format!(
            "node_id = \"media-it\"\nstate_directory = \"{state}\"\n[grpc]\nlisten = \"{listen}\"\n{grpc}\n[ops]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nfilter = \"info,ringpath_dataplane=debug\"\n[workers]\ncount = {workers}\n[io]\nsteering = \"{steering}\"\n{io}\n[limits]\n{limits}\n[shutdown]\ngrace_ms = {grace_ms}\n{more}\n\
             [[interface]]\nname = \"public\"\nports = \"{ports}\"\naddresses = [{{ local = \"{address}\" }}]\n"
        )
    }
}

/// A loopback address that no other node or party of this run, or of another run, has: their ports never collide.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    // 127.0.0.0/9 is for others; of the 23 bits of the rest, 13 are the process's and 10 count.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 1 << 10, "more addresses than a test run should need");
    Ipv4Addr::from(0x7f80_0000 | (std::process::id() & 0x1fff) << 10 | number)
}

/// A running node and a client of it.
pub struct Node {
    pub process: Process,
    pub client: MediaNodeClient<Channel>,
    pub ops: SocketAddr,
    /// As the node printed it: `tcp 127.0.0.1:1234`.
    pub grpc: String,
    /// What it printed of the kernel path, an interface each: `lo: off: …`.
    pub kernel: Vec<String>,
}

impl Node {
    pub async fn start(backend: Backend) -> Self {
        Self::with(backend, Settings::default()).await
    }

    pub async fn with(backend: Backend, settings: Settings) -> Self {
        let started = Self::start_process(backend, &settings);
        let channel = started.channel().await;
        started.into_node(channel)
    }

    /// Without a client.
    pub fn start_process(backend: Backend, settings: &Settings) -> Started {
        Self::take(
            Process::start(&settings.toml(), &["--backend", backend.name()]),
            backend,
        )
    }

    /// A process that was started otherwise.
    pub fn take(process: Process, backend: Backend) -> Started {
        Self::take_on(process, backend.name())
    }

    /// One that says that it has this back-end.
    pub fn take_on(process: Process, backend: &str) -> Started {
        let next = || loop {
            let line = process.line();
            if !["state", "takeover"].iter().any(|word| line.starts_with(word)) {
                return line;
            }
        };
        let backend_line = next();
        assert!(
            backend_line.starts_with(&format!("backend {backend}: ")),
            "{backend_line}"
        );
        let mut kernel = Vec::new();
        let grpc = loop {
            let line = next();
            match line.strip_prefix("kernel ") {
                Some(interface) => kernel.push(interface.to_owned()),
                None => break line,
            }
        };
        let grpc = grpc
            .strip_prefix("listening grpc ")
            .expect("the gRPC listener")
            .to_owned();
        let ops = next();
        let ops = ops
            .strip_prefix("listening ops http ")
            .expect("the operators' listener")
            .parse()
            .expect("an address");
        assert_eq!(process.line(), "ready");
        Started {
            process,
            grpc,
            ops,
            kernel,
        }
    }

    /// An answer of the operators' endpoint: status line and body.
    pub async fn http(&self, path: &str) -> (String, String) {
        http(self.ops, path).await
    }

    /// The sum of a metric over all label sets that contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> u64 {
        let (_, text) = self.http("/metrics").await;
        let mut found = text
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
                    && line.contains(labels)
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .peekable();
        assert!(
            found.peek().is_some(),
            "no metric {name} with {labels} in\n{text}"
        );
        found.sum::<f64>() as u64
    }

    /// Waits until a metric has this value; for what the node does by itself.
    pub async fn metric_becomes(&self, name: &str, labels: &str, value: u64) {
        let mut last = 0;
        let reached = async {
            loop {
                last = self.metric(name, labels).await;
                if last == value {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, reached).await;
        assert!(result.is_ok(), "{name} with {labels} is {last}, not {value}");
    }

    /// SIGTERM, and a clean end.
    pub async fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0), "{status}, log:\n{}", self.process.log());
    }
}

/// A node that nobody has connected to.
pub struct Started {
    pub process: Process,
    pub grpc: String,
    pub ops: SocketAddr,
    /// What it printed of the kernel path, an interface each: `lo: off: …`.
    pub kernel: Vec<String>,
}

impl Started {
    /// A plain connection.
    pub async fn channel(&self) -> Channel {
        let uri = match self.grpc.split_once(' ').expect("protocol and address") {
            ("unix", path) => format!("unix:{path}"),
            (_, address) => format!("http://{address}"),
        };
        uri.parse::<Endpoint>()
            .expect("a URI")
            .timeout(PATIENCE)
            .connect()
            .await
            .expect("connects")
    }

    pub fn into_node(self, channel: Channel) -> Node {
        let Self {
            process,
            grpc,
            ops,
            kernel,
        } = self;
        Node {
            process,
            client: MediaNodeClient::new(channel),
            ops,
            grpc,
            kernel,
        }
    }
}

pub async fn http(ops: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(ops).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (
        head.lines().next().expect("a status line").to_owned(),
        body.to_owned(),
    )
}

/// A media line of PCMU towards `remote`.
pub fn line(remote: Option<SocketAddr>) -> wire::MediaLine {
    wire::MediaLine {
        kind: wire::MediaKind::Audio.into(),
        remote: remote.map(endpoint),
        codecs: vec![wire::Codec {
            name: "PCMU".into(),
            clock_rate_hz: 8_000,
            channels: 1,
            ptime_ms: 20,
            payload_type: 0,
        }],
        ..Default::default()
    }
}

pub fn endpoint(address: SocketAddr) -> wire::Endpoint {
    wire::Endpoint {
        ip: address.ip().to_string(),
        port: address.port().into(),
    }
}

pub fn socket_address(endpoint: &wire::Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.ip.parse().expect("an address"), endpoint.port as u16)
}

/// A leg with one line.
pub fn leg(id: &str, line: wire::MediaLine) -> wire::Leg {
    let ipv6 = line.remote.as_ref().is_some_and(|remote| remote.ip.contains(':'));
    wire::Leg {
        leg_id: id.into(),
        ipv6,
        lines: vec![line],
        ..Default::default()
    }
}

/// A call of legs `a` and `b` with one line each.
pub fn call(id: &str, a: wire::MediaLine, b: wire::MediaLine) -> wire::CreateCallRequest {
    wire::CreateCallRequest {
        call_id: id.into(),
        idempotency_key: format!("create-{id}"),
        legs: vec![leg("a", a), leg("b", b)],
        ..Default::default()
    }
}

pub fn delete(id: &str) -> wire::DeleteCallRequest {
    wire::DeleteCallRequest {
        call_id: id.into(),
        idempotency_key: format!("delete-{id}"),
    }
}

pub fn query(id: &str) -> wire::QueryCallRequest {
    wire::QueryCallRequest { call_id: id.into() }
}

/// The label of a refusal in a status.
pub fn refusal(status: &tonic::Status) -> &str {
    status
        .metadata()
        .get("ringpath-refusal")
        .and_then(|label| label.to_str().ok())
        .unwrap_or("none")
}
