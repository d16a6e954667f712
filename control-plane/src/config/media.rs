use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media_client::{NodeConfig, Tls as ClientTls};
use media_types::{InterfaceName, Latching as Policy, NodeName, SrtpSuite};
use ops::config::{Problems, Validate};
use proto::convert::LEASE_MS_MAX;
use serde::Deserialize;

/// What is offered without a word from the configuration: suites that authenticate by what encrypts first, then those that every
/// peer has.
const SUITES: [SrtpSuite; 6] = [
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AeadAes256Gcm,
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm256HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
    SrtpSuite::AesCm256HmacSha1_32,
];

/// The `[media]` section: how media nodes are used.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Media goes through media nodes. Else each party is told the other's addresses, and no node is used.
    pub anchored: bool,
    /// How long one attempt at one node may take before the next node is tried.
    pub attempt_timeout_ms: u64,
    /// How long a request may take in all.
    pub deadline_ms: u64,
    /// How long a node keeps a call that we do not renew: how long calls survive a control plane that died.
    pub lease_ms: u64,
    /// A node whose address refuses connections for so long is gone, and its calls are hung up.
    pub gone_after_ms: u64,
    /// How often a node is asked how it is.
    pub poll_interval_ms: u64,
    /// Requests under way at most; one more gets its call 503.
    pub requests_max: usize,
    /// `Retry-After` of a 503 for want of a node, in seconds.
    pub retry_after_s: u64,
    /// The silence of a line after which a call counts as without media; 0 takes the node's.
    pub timeout_ms: u64,
    /// What then happens.
    pub timeout_action: TimeoutAction,
    /// Suites of SRTP that may be used, by their names in descriptions (RFC 4568 §6.2), in the order in which they are offered.
    pub srtp_suites: Vec<String>,
    /// RTP header extensions that parties may agree on, by URI (RFC 8285); absent, all.
    pub header_extensions: Option<Vec<String>>,
    /// The nodes' interface that faces callers; absent, their first.
    pub caller_interface: Option<String>,
    /// The nodes' interface that faces callees; absent, their first.
    pub callee_interface: Option<String>,
    /// Which media sources of callers are learned.
    pub caller_latching: Latching,
    /// Which media sources of callees are learned.
    pub callee_latching: Latching,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            anchored: true,
            attempt_timeout_ms: 500,
            deadline_ms: 2_000,
            lease_ms: 60_000,
            gone_after_ms: 3_000,
            poll_interval_ms: 1_000,
            requests_max: 1_024,
            retry_after_s: 5,
            timeout_ms: 0,
            timeout_action: TimeoutAction::EndCall,
            srtp_suites: SUITES.map(|suite| suite.name().to_owned()).to_vec(),
            header_extensions: None,
            caller_interface: None,
            callee_interface: None,
            caller_latching: Latching::default(),
            callee_latching: Latching::default(),
        }
    }
}

/// See [`Media::timeout_action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeoutAction {
    /// Both parties are hung up.
    EndCall,
    /// It is logged.
    Ignore,
}

/// See [`media_types::Latching`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latching {
    /// Only the signalled address and port.
    Off,
    /// The signalled address with any port.
    #[default]
    SameAddress,
    /// Any address, from the first valid packets.
    AnyAddress,
}

impl From<Latching> for Policy {
    fn from(latching: Latching) -> Self {
        match latching {
            Latching::Off => Self::Off,
            Latching::SameAddress => Self::SameAddress,
            Latching::AnyAddress => Self::AnyAddress,
        }
    }
}

impl Media {
    /// The suites of SRTP that calls may use: none where no node is there to do it.
    pub fn suites(&self) -> Vec<SrtpSuite> {
        let named = self.srtp_suites.iter().filter_map(|name| SrtpSuite::named(name));
        named.filter(|_| self.anchored).collect()
    }

    /// How the client shall behave. `instance` is random.
    pub fn client(&self, instance: u64) -> media_client::Config {
        media_client::Config {
            attempt_timeout: Duration::from_millis(self.attempt_timeout_ms),
            deadline: Duration::from_millis(self.deadline_ms),
            lease: Duration::from_millis(self.lease_ms),
            gone_after: Duration::from_millis(self.gone_after_ms),
            poll_interval: Duration::from_millis(self.poll_interval_ms),
            requests_max: self.requests_max,
            reports_max: self.requests_max,
            retry_after: Duration::from_secs(self.retry_after_s),
            instance,
        }
    }
}

impl Validate for Media {
    fn validate(&self, problems: &mut Problems) {
        problems.range("attempt_timeout_ms", self.attempt_timeout_ms, 10..=60_000);
        problems.range("deadline_ms", self.deadline_ms, self.attempt_timeout_ms..=120_000);
        problems.range("lease_ms", self.lease_ms, 1_000..=LEASE_MS_MAX);
        problems.range("gone_after_ms", self.gone_after_ms, 100..=LEASE_MS_MAX);
        problems.range("poll_interval_ms", self.poll_interval_ms, 10..=60_000);
        problems.range("requests_max", self.requests_max, 1..=100_000);
        problems.range("retry_after_s", self.retry_after_s, 1..=3_600);
        problems.range("timeout_ms", self.timeout_ms, 0..=LEASE_MS_MAX);
        for (place, name) in self.srtp_suites.iter().enumerate() {
            let suite = SrtpSuite::named(name);
            if suite.is_none() {
                problems.push(
                    "srtp_suites",
                    format!("has no suite of SRTP that is named {name}"),
                );
            } else if self.srtp_suites[..place]
                .iter()
                .any(|it| SrtpSuite::named(it) == suite)
            {
                problems.push("srtp_suites", format!("has {name} twice"));
            }
        }
        // A URI has a scheme and no spaces.
        let is_uri = |text: &String| text.contains(':') && text.bytes().all(|byte| byte.is_ascii_graphic());
        for uri in self.header_extensions.iter().flatten().filter(|uri| !is_uri(uri)) {
            problems.push("header_extensions", format!("{uri:?} is no URI"));
        }
        let interfaces = [
            ("caller_interface", &self.caller_interface),
            ("callee_interface", &self.callee_interface),
        ];
        for (key, name) in interfaces {
            if let Some(Err(reason)) = name.as_deref().map(InterfaceName::new) {
                problems.push(key, reason.to_string());
            }
        }
    }
}

/// One `[[media_node]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaNode {
    /// The node's name in records, metrics and logs.
    pub name: String,
    /// `http://host:port`, `https://host:port` or `unix:/path`.
    pub address: String,
    /// For `https`.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// Files in PEM format. The key's content is never logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who may have signed the node's certificate.
    pub ca: PathBuf,
    /// Our certificate, for mutual TLS.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The name in the node's certificate, when it is not the host of the address.
    #[serde(default)]
    pub domain: Option<String>,
}

impl MediaNode {
    /// What the client takes, with the files read.
    ///
    /// # Errors
    /// The key in this section that is wrong, and why.
    pub fn client(&self) -> Result<NodeConfig, (&'static str, String)> {
        let name = NodeName::new(&self.name).map_err(|reason| ("name", reason.to_string()))?;
        let tls = self.tls.as_ref().map(Tls::read).transpose()?;
        let node = NodeConfig {
            name,
            address: self.address.clone(),
            tls,
        };
        match node.check() {
            Ok(()) => Ok(node),
            Err(error) => Err(("address", error.to_string())),
        }
    }
}

impl Tls {
    fn read(&self) -> Result<ClientTls, (&'static str, String)> {
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some((read("tls.certificate", certificate)?, read("tls.key", key)?))
            }
            (None, None) => None,
            (Some(_), None) => return Err(("tls.certificate", "needs tls.key, too".into())),
            (None, Some(_)) => return Err(("tls.key", "needs tls.certificate, too".into())),
        };
        Ok(ClientTls {
            ca: read("tls.ca", &self.ca)?,
            identity,
            domain: self.domain.clone(),
        })
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, (&'static str, String)> {
    fs::read(path).map_err(|error| (key, format!("{} cannot be read: {error}", path.display())))
}

impl Validate for MediaNode {
    fn validate(&self, problems: &mut Problems) {
        if let Err((key, reason)) = self.client() {
            problems.push(key, reason);
        }
    }
}
