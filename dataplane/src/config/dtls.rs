use std::path::PathBuf;

use ops::config::{Problems, Validate};
use serde::Deserialize;

use crate::setting_up::IdentityFiles;

/// The certificate of handshakes. Parties look at its fingerprint, which signalling tells them, and at nothing else.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dtls {
    /// In PEM; left out, the node makes one when it starts.
    pub certificate: Option<PathBuf>,
    /// Its key in PEM, PKCS #8: ECDSA on P-256 or P-384.
    pub key: Option<PathBuf>,
}

impl Dtls {
    /// Where the certificate and its key are; `None` when the node makes one.
    pub fn files(&self) -> Option<IdentityFiles> {
        Some(IdentityFiles {
            certificate: self.certificate.clone()?,
            key: self.key.clone()?,
        })
    }
}

impl Validate for Dtls {
    fn validate(&self, problems: &mut Problems) {
        match (&self.certificate, &self.key) {
            (Some(_), None) => problems.push("key", "is missing: the certificate needs it"),
            (None, Some(_)) => problems.push("certificate", "is missing: the key is of no use without it"),
            _ => {}
        }
    }
}
