use std::path::PathBuf;
use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip_transport::TlsFiles;

/// The `[sip.tls]` section. Its connections have the limits of `[sip.tcp]`, too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of our certificate, then those between it and its CA. Shown to clients, and to servers that ask.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the CAs that may have signed the certificates of peers. Needed to connect and to ask clients.
    pub ca: Option<PathBuf>,
    /// Whether clients have to show a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// A handshake must be complete within this time, or its connection is closed.
    #[serde(default = "Tls::handshake_timeout_ms")]
    pub handshake_timeout_ms: u64,
    /// Handshakes of clients under way; one more connection is closed at once.
    #[serde(default = "Tls::handshakes_max")]
    pub handshakes_max: usize,
    /// Those of one IPv4 address or IPv6 /64 among them; one more connection is closed at once.
    #[serde(default = "Tls::handshakes_per_source_max")]
    pub handshakes_per_source_max: usize,
    /// How often to look whether the files have changed. They are taken at SIGHUP, too.
    #[serde(default = "Tls::watch_interval_ms")]
    pub watch_interval_ms: u64,
}

/// See [`Tls::client_auth`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one without is taken, one with a wrong certificate is not.
    Accept,
    /// Only those with a certificate of the CA are taken.
    Require,
}

impl Tls {
    const fn handshake_timeout_ms() -> u64 {
        5_000
    }

    const fn handshakes_max() -> usize {
        500
    }

    const fn handshakes_per_source_max() -> usize {
        50
    }

    const fn watch_interval_ms() -> u64 {
        5_000
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            ca: self.ca.clone(),
            client_auth: match self.client_auth {
                ClientAuth::Off => sip_transport::ClientAuth::Off,
                ClientAuth::Accept => sip_transport::ClientAuth::Accept,
                ClientAuth::Require => sip_transport::ClientAuth::Require,
            },
        }
    }

    /// How the transport shall speak TLS with these `peers`.
    pub fn transport(&self, peers: Vec<String>) -> sip_transport::Tls {
        sip_transport::Tls {
            files: self.files(),
            peers,
            handshake_timeout: Duration::from_millis(self.handshake_timeout_ms),
            handshakes_max: self.handshakes_max,
            handshakes_per_source_max: self.handshakes_per_source_max,
            watch_interval: Duration::from_millis(self.watch_interval_ms),
        }
    }
}

impl Validate for Tls {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = self.files().check() {
            problems.push("certificate", format!("cannot be used: {error}"));
        }
        problems.range("handshake_timeout_ms", self.handshake_timeout_ms, 100..=60_000);
        problems.range("handshakes_max", self.handshakes_max, 1..=1_000_000);
        problems.range(
            "handshakes_per_source_max",
            self.handshakes_per_source_max,
            1..=1_000_000,
        );
        problems.range("watch_interval_ms", self.watch_interval_ms, 100..=86_400_000);
    }
}
