use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ops::config::{Problems, Validate};
use serde::Deserialize;

use crate::token::Token;

/// The `[admin]` section: how operators reach the control plane over gRPC. Without it there is no such server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, over TCP; port 0 takes a free one. Anything but a loopback address needs `tls`, and `client_ca`
    /// in it or `token_file`: whoever is let in may hang up calls.
    pub listen: SocketAddr,
    /// Absent: no encryption.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// A file with a word that every request must carry as `authorization: Bearer <word>`: 16 to 512 printable ASCII
    /// characters without spaces; a line end behind them is ignored. Read once, at the start.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Connections at once; more are closed at once and counted.
    #[serde(default = "Config::connections_max")]
    pub connections_max: usize,
    /// Requests and streams at once on one connection; HTTP/2 tells the client.
    #[serde(default = "Config::streams_max")]
    pub streams_max: u32,
    /// Lists and watches of calls at once, over all connections; one more gets `RESOURCE_EXHAUSTED`.
    #[serde(default = "Config::watchers_max")]
    pub watchers_max: usize,
    /// A request that is no stream ends after this time, in milliseconds.
    #[serde(default = "Config::request_timeout_ms")]
    pub request_timeout_ms: u64,
}

/// Files in PEM format.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Our certificate chain.
    pub certificate: PathBuf,
    /// The key of its first certificate.
    pub key: PathBuf,
    /// When given, clients must show a certificate that one of these authorities signed (mutual TLS).
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl Config {
    const fn connections_max() -> usize {
        32
    }

    const fn streams_max() -> u32 {
        64
    }

    const fn watchers_max() -> usize {
        16
    }

    const fn request_timeout_ms() -> u64 {
        5_000
    }

    fn is_guarded(&self) -> bool {
        let Some(tls) = &self.tls else { return false };
        tls.client_ca.is_some() || self.token_file.is_some()
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.range("connections_max", self.connections_max, 1..=65_536);
        problems.range("streams_max", self.streams_max, 1..=65_536);
        problems.range("watchers_max", self.watchers_max, 1..=1_024);
        problems.range("request_timeout_ms", self.request_timeout_ms, 10..=600_000);
        if !self.listen.ip().is_loopback() && !self.is_guarded() {
            problems.push(
                "listen",
                "is no loopback address: that takes tls, and tls.client_ca or token_file",
            );
        }
        if let Some(path) = &self.token_file
            && let Err(reason) = Token::read(path)
        {
            problems.push("token_file", reason);
        }
        let Some(tls) = &self.tls else { return };
        let check = |key: &str, path: &Path, problems: &mut Problems| {
            if let Err(error) = std::fs::read(path) {
                problems.push(key, format!("{} cannot be read: {error}", path.display()));
            }
        };
        check("tls.certificate", &tls.certificate, problems);
        check("tls.key", &tls.key, problems);
        if let Some(path) = &tls.client_ca {
            check("tls.client_ca", path, problems);
        }
    }
}
