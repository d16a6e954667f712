use std::fmt;
use std::time::Duration;

use media_types::NodeName;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How often an idle connection is probed, and how long a probe may take: a peer that vanished without a word is
/// noticed by the event stream, which otherwise would wait for ever.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How a certificate begins (RFC 7468 §5).
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How the client behaves towards all nodes.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long one attempt at one node may take.
    pub attempt_timeout: Duration,
    /// How long a request may take in all, its attempts at several nodes together.
    pub deadline: Duration,
    /// The lease that calls are made with; renewed at a third of it.
    pub lease: Duration,
    /// A node whose address refuses connections for so long is gone, and its calls with it: they are not kept for the
    /// rest of their lease. One that is silent is not gone, since its media may flow.
    pub gone_after: Duration,
    /// How often a node that is well is asked how it is.
    pub poll_interval: Duration,
    /// Requests under way at most; more are refused. Creates are refused already when a quarter is left, so that
    /// calls that exist go on and end while new ones are too many.
    pub requests_max: usize,
    /// Reports waiting at most; when they are not taken, the tasks that have more wait.
    pub reports_max: usize,
    /// What a caller shall wait before trying again when no node is left.
    pub retry_after: Duration,
    /// Random, different in each process: part of the idempotency keys that the client makes itself.
    pub instance: u64,
}

/// One media node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name.
    pub name: NodeName,
    /// `http://host:port`, `https://host:port` or `unix:/path`.
    pub address: String,
    /// For `https`.
    pub tls: Option<Tls>,
}

/// What proves the node to us and us to the node; PEM. The private key is not printed.
#[derive(Clone)]
pub struct Tls {
    /// Who may have signed the node's certificate.
    pub ca: Vec<u8>,
    /// Our certificate and its private key, for mutual TLS.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name in the node's certificate, when it is not the host of the address.
    pub domain: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("identity", &self.identity.is_some())
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// Why a node cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum NodeConfigError {
    /// The address has no form that is known.
    #[error("must be http://host:port, https://host:port or unix:/path")]
    Address,
    /// TLS was asked for where there is none.
    #[error("has TLS settings but is not https://")]
    TlsWithoutHttps,
    /// `https` without settings: there is no list of public authorities to fall back on.
    #[error("is https:// and needs the ca of the node's certificate")]
    HttpsWithoutTls,
    /// The file of authorities has none.
    #[error("has a tls.ca without a PEM certificate in it")]
    NoAuthority,
    /// A certificate or key could not be read.
    #[error("has unusable TLS settings: {0}")]
    Tls(#[source] tonic::transport::Error),
}

impl NodeConfig {
    /// A channel that connects when first used, and again when it broke. Must run within a Tokio runtime.
    pub(crate) fn channel(&self, connect_timeout: Duration) -> Result<Channel, NodeConfigError> {
        Ok(self
            .endpoint()?
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy())
    }

    fn endpoint(&self) -> Result<Endpoint, NodeConfigError> {
        let known = ["http://", "https://", "unix:/"];
        if !known.iter().any(|form| self.address.starts_with(form)) {
            return Err(NodeConfigError::Address);
        }
        let mut endpoint =
            Endpoint::from_shared(self.address.clone()).map_err(|_| NodeConfigError::Address)?;
        match (&self.tls, self.address.starts_with("https://")) {
            (Some(tls), true) => {
                // A list of authorities without any is taken by the TLS library, and then trusts nobody.
                if !tls
                    .ca
                    .windows(PEM_CERTIFICATE.len())
                    .any(|window| window == PEM_CERTIFICATE)
                {
                    return Err(NodeConfigError::NoAuthority);
                }
                endpoint = endpoint.tls_config(tls.client()).map_err(NodeConfigError::Tls)?;
            }
            (Some(_), false) => return Err(NodeConfigError::TlsWithoutHttps),
            (None, true) => return Err(NodeConfigError::HttpsWithoutTls),
            (None, false) => {}
        }
        Ok(endpoint)
    }

    /// Whether the node could be used, without connecting.
    pub fn check(&self) -> Result<(), NodeConfigError> {
        self.endpoint().map(drop)
    }
}

impl Tls {
    fn client(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(domain) = &self.domain {
            config = config.domain_name(domain);
        }
        config
    }
}
