use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, Ticketer};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::verifier::SipVerifier;

/// RFC 9325 §3.1.1: nothing older.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// The PEM files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Our certificate, then those between it and the CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who may have signed the certificates of peers. Without it no connection can be made, and client certificates are
    /// not asked for.
    pub ca: Option<PathBuf>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
}

impl Files {
    /// Reads them, and says what is wrong with them.
    ///
    /// # Errors
    /// The first reason not to use them.
    pub fn check(&self) -> Result<(), LoadError> {
        Credentials::load(self).map(|_| ())
    }
}

/// Whether clients have to prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and one that has no certificate is taken all the same. A wrong one is not.
    Accept,
    /// Only those with a certificate of the CA are taken.
    Require,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read, or is no PEM.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PemError,
    },
    /// A file has no certificate in it.
    #[error("{} has no certificate in it", .0.display())]
    Empty(PathBuf),
    /// Client certificates are wanted, and nothing says whose.
    #[error("client_auth needs ca, which says who may have signed them")]
    NoCa,
    /// A CA certificate is malformed, or there is none that can be used.
    #[error("ca: {0}")]
    Ca(String),
    /// Certificate and key do not belong together, or cannot be used.
    #[error("certificate and key: {0}")]
    Identity(Error),
    /// The crypto library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(Error),
}

/// What handshakes are made with.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) server: Arc<ServerConfig>,
    /// `None` without a CA.
    pub(crate) client: Option<Arc<ClientConfig>>,
}

impl Credentials {
    pub(crate) fn load(files: &Files) -> Result<Self, LoadError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| LoadError::File {
            path: files.key.clone(),
            error,
        })?;
        let roots = files.ca.as_deref().map(roots).transpose()?.map(Arc::new);
        let server = server(files, &provider, roots.as_ref(), chain.clone(), key.clone_key())?;
        let client = roots
            .map(|roots| client(&provider, roots, chain, key))
            .transpose()?;
        Ok(Self {
            server: Arc::new(server),
            client: client.map(Arc::new),
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let wrong = |error| LoadError::File {
        path: path.into(),
        error,
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let all = all.map_err(wrong)?;
    match all.is_empty() {
        true => Err(LoadError::Empty(path.into())),
        false => Ok(all),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| LoadError::Ca(error.to_string()))?;
    }
    Ok(roots)
}

fn server(
    files: &Files,
    provider: &Arc<CryptoProvider>,
    roots: Option<&Arc<RootCertStore>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, LoadError> {
    let verifier = || {
        let roots = roots.ok_or(LoadError::NoCa)?.clone();
        Ok::<_, LoadError>(WebPkiClientVerifier::builder_with_provider(
            roots,
            provider.clone(),
        ))
    };
    let refused = |error: VerifierBuilderError| LoadError::Ca(error.to_string());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&VERSIONS)
        .map_err(LoadError::Setup)?;
    let authenticated = match files.client_auth {
        ClientAuth::Off => versions.with_no_client_auth(),
        ClientAuth::Accept => {
            versions.with_client_cert_verifier(verifier()?.allow_unauthenticated().build().map_err(refused)?)
        }
        ClientAuth::Require => versions.with_client_cert_verifier(verifier()?.build().map_err(refused)?),
    };
    let mut config = authenticated
        .with_single_cert(chain, key)
        .map_err(LoadError::Identity)?;
    // Resumption without memory a client. New keys at each load: what was proven to an older CA is not resumed.
    config.ticketer = Ticketer::new().map_err(LoadError::Setup)?;
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, LoadError> {
    ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&VERSIONS)
        .map_err(LoadError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(SipVerifier::new(roots, provider)))
        // Given to servers that ask.
        .with_client_auth_cert(chain, key)
        .map_err(LoadError::Identity)
}
