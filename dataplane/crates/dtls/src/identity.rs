use std::fmt;

use dimpl::DtlsCertificate;
use media_types::{Fingerprint, HashFunction};
use thiserror::Error;
use zeroize::Zeroize;

/// The certificate that a node shows in its handshakes, and the key to it. The key is not in `Debug`, and is wiped when
/// the identity is dropped; each association has a copy while it lives.
pub struct Identity {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The system gave no random numbers, or no certificate could be made.
    #[error("no certificate could be made")]
    Generation,
}

impl Identity {
    /// A key on P-256 and a certificate that it signs itself, good for a year: parties look at its fingerprint alone
    /// (RFC 8122 §6.2).
    pub fn generate() -> Result<Self, IdentityError> {
        let made = dimpl::certificate::generate_self_signed_certificate();
        let made = made.map_err(|_| IdentityError::Generation)?;
        Ok(Self::of(made.certificate, made.private_key))
    }

    /// Of a certificate and its key, an ECDSA key on P-256 or P-384 in PKCS #8, both in DER.
    pub fn of(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        Self {
            fingerprint: crate::fingerprint(HashFunction::Sha256, &certificate),
            certificate: DtlsCertificate {
                certificate,
                private_key,
            },
        }
    }

    /// What descriptions say of it, with SHA-256.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate.certificate
    }

    pub(crate) fn copy(&self) -> DtlsCertificate {
        self.certificate.clone()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.certificate.private_key.zeroize();
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}
