use std::fmt;

use dimpl::DtlsCertificate;
use dimpl::crypto::{Buf, SignatureAlgorithm};
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
    /// The key is not one that handshakes can sign with.
    #[error("the key is not an ECDSA key on P-256 or P-384")]
    Key,
    /// The certificate is none, or another key's.
    #[error("the certificate is not the key's")]
    Certificate,
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
    ///
    /// # Errors
    /// When they cannot be used together.
    pub fn checked(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<Self, IdentityError> {
        const PROOF: &[u8] = b"what the key signs, the certificate's key has to verify";
        let identity = Self::of(certificate, private_key);
        let provider = dimpl::crypto::aws_lc_rs::default_provider();
        let mut key = provider
            .key_provider
            .load_private_key(&identity.certificate.private_key)
            .map_err(|_| IdentityError::Key)?;
        let mut signature = Buf::new();
        let hash = key.hash_algorithm();
        key.sign(PROOF, hash, &mut signature)
            .map_err(|_| IdentityError::Key)?;
        provider
            .signature_verification
            .verify_signature(
                identity.certificate(),
                PROOF,
                &signature,
                hash,
                SignatureAlgorithm::ECDSA,
            )
            .map_err(|_| IdentityError::Certificate)?;
        Ok(identity)
    }

    fn of(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
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

    /// Its key in PKCS #8 and DER, for another process of the same node.
    pub fn private_key(&self) -> &[u8] {
        &self.certificate.private_key
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_goes_with_its_own_key_alone() {
        let (one, other) = (
            Identity::generate().expect("one"),
            Identity::generate().expect("other"),
        );
        let parts = |certificate: &Identity, key: &Identity| {
            let (certificate, key) = (certificate.certificate().to_vec(), key.private_key().to_vec());
            Identity::checked(certificate, key)
        };
        let again = parts(&one, &one).expect("its own");
        assert_eq!(again.fingerprint(), one.fingerprint());
        assert_eq!(parts(&one, &other).err(), Some(IdentityError::Certificate));
        let no_key = Identity::checked(one.certificate().to_vec(), vec![1, 2, 3]);
        assert_eq!(no_key.err(), Some(IdentityError::Key));
        let no_certificate = Identity::checked(vec![1, 2, 3], one.private_key().to_vec());
        assert_eq!(no_certificate.err(), Some(IdentityError::Certificate));
        assert!(!format!("{one:?}").contains("private"));
    }
}
