//! TLS 1.2 and 1.3 by rustls with aws-lc-rs: credentials that can be replaced while connections stand, and who the
//! peer must be (RFC 5922).

mod credentials;
mod handshake;
mod identity;
mod verifier;
mod watch;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Semaphore;

pub(crate) use credentials::Credentials;
pub use credentials::{ClientAuth, Files, LoadError};
pub(crate) use identity::proves;
pub(crate) use watch::watch;

/// What TLS connections share.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    /// For handshakes that begin from now on. Connections that stand keep theirs.
    credentials: RwLock<Arc<Credentials>>,
    /// Held while they are read, so that what is read last is what stays.
    reading: Mutex<()>,
    /// Handshakes that may still begin.
    pub(crate) handshakes: Arc<Semaphore>,
}

impl Tls {
    pub(crate) fn new(files: Files, handshakes_max: usize) -> Result<Self, LoadError> {
        let credentials = Credentials::load(&files)?;
        Ok(Self {
            files,
            credentials: RwLock::new(Arc::new(credentials)),
            reading: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(handshakes_max.min(Semaphore::MAX_PERMITS))),
        })
    }

    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        self.credentials
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the files again. When they cannot be used the credentials stay.
    fn reload(&self) -> Result<(), LoadError> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let credentials = Arc::new(Credentials::load(&self.files)?);
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
        Ok(())
    }
}
