use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// `sun_path` has 108 bytes, the last one a zero (unix(7)).
const UNIX_PATH_MAX: usize = 107;

/// How control planes reach the node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// Where the node listens: `127.0.0.1:7100`, `[::1]:7100` or `unix:/run/ringpath/media.sock`.
    pub listen: ListenAddress,
    /// Absent: no encryption.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Connections at once; more are closed at once and counted.
    #[serde(default = "Grpc::connections_max")]
    pub connections_max: usize,
    /// Requests and streams at once on one connection; HTTP/2 tells the client.
    #[serde(default = "Grpc::streams_max")]
    pub streams_max: u32,
    /// Requests under way at once in one `Exchange`; HTTP/2 makes the client wait.
    #[serde(default = "Grpc::exchange_requests_max")]
    pub exchange_requests_max: usize,
    /// Statistics watchers at once, on all connections; one more is refused. Each has the workers report again and again.
    #[serde(default = "Grpc::statistics_watchers_max")]
    pub statistics_watchers_max: usize,
    /// The largest message that is taken, in bytes. The report on a call of many lines must find room in one.
    #[serde(default = "Grpc::message_bytes_max")]
    pub message_bytes_max: usize,
    /// A request ends after this time, even when its caller would wait longer.
    #[serde(default = "Grpc::request_timeout_ms")]
    pub request_timeout_ms: u64,
}

impl Grpc {
    const fn connections_max() -> usize {
        256
    }

    const fn streams_max() -> u32 {
        1024
    }

    const fn exchange_requests_max() -> usize {
        1024
    }

    const fn statistics_watchers_max() -> usize {
        16
    }

    const fn message_bytes_max() -> usize {
        1 << 20
    }

    const fn request_timeout_ms() -> u64 {
        10_000
    }
}

/// Files in PEM format.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The node's certificate chain.
    pub certificate: PathBuf,
    /// The key of its first certificate.
    pub key: PathBuf,
    /// When given, clients must show a certificate that one of these authorities signed (mutual TLS).
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ListenAddress {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.is_empty() || path.len() > UNIX_PATH_MAX => Err(format!(
                "the path behind \"unix:\" must have 1 to {UNIX_PATH_MAX} bytes"
            )),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("\"{text}\" is neither an IP address with a port nor \"unix:\" and a path")
            }),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

impl Validate for Grpc {
    fn validate(&self, problems: &mut Problems) {
        problems.range("connections_max", self.connections_max, 1..=65_536);
        problems.range("streams_max", self.streams_max, 1..=65_536);
        problems.range("exchange_requests_max", self.exchange_requests_max, 1..=65_536);
        problems.range("statistics_watchers_max", self.statistics_watchers_max, 0..=1_024);
        problems.range("message_bytes_max", self.message_bytes_max, 65_536..=64 << 20);
        problems.range("request_timeout_ms", self.request_timeout_ms, 10..=600_000);
        let Some(tls) = &self.tls else { return };
        if matches!(self.listen, ListenAddress::Unix(_)) {
            problems.push(
                "tls",
                "is for TCP: a Unix socket is guarded by the rights of its path",
            );
        }
        let files = [
            ("tls.certificate", Some(&tls.certificate)),
            ("tls.key", Some(&tls.key)),
            ("tls.client_ca", tls.client_ca.as_ref()),
        ];
        for (key, path) in files {
            let Some(path) = path else { continue };
            if let Err(error) = std::fs::read(path) {
                problems.push(key, format!("{} cannot be read: {error}", path.display()));
            }
        }
    }
}
