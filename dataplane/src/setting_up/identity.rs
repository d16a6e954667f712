use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dtls::Identity;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// In PEM.
    pub certificate: PathBuf,
    /// In PEM, PKCS #8.
    pub key: PathBuf,
}

/// What the node shows in its handshakes: what the files have, else what the process before had, else a certificate that is made
/// now.
///
/// # Errors
/// When a file cannot be read, or what is in it cannot be used.
pub fn load(files: Option<&IdentityFiles>, inherited: Option<Identity>) -> anyhow::Result<Identity> {
    match (files, inherited) {
        (Some(files), _) => read(&files.certificate, &files.key),
        (None, Some(inherited)) => Ok(inherited),
        (None, None) => Ok(Identity::generate()?),
    }
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<Identity> {
    let shown = CertificateDer::from_pem_file(certificate)
        .with_context(|| format!("dtls.certificate: {}", certificate.display()))?;
    let secret =
        PrivatePkcs8KeyDer::from_pem_file(key).with_context(|| format!("dtls.key: {}", key.display()))?;
    Identity::checked(shown.to_vec(), secret.secret_pkcs8_der().to_vec())
        .with_context(|| format!("dtls: {} and {}", certificate.display(), key.display()))
}

/// One that is nobody's.
#[cfg(test)]
pub fn no_fingerprint() -> media_types::Fingerprint {
    let function = media_types::HashFunction::Sha256;
    media_types::Fingerprint::new(function, &[7; 32]).expect("as long as it has to be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_before_what_was_inherited_and_bad_ones_are_named() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(["node".to_owned()])?;
        let files = IdentityFiles {
            certificate: folder.path().join("certificate.pem"),
            key: folder.path().join("key.pem"),
        };
        let missing = load(Some(&files), None).expect_err("nothing there");
        assert!(
            format!("{missing:#}").starts_with("dtls.certificate: "),
            "{missing:#}"
        );
        std::fs::write(&files.certificate, made.cert.pem())?;
        std::fs::write(&files.key, made.signing_key.serialize_pem())?;
        let loaded = load(Some(&files), Some(Identity::generate()?))?;
        assert_eq!(loaded.certificate(), made.cert.der().as_ref());
        let another = rcgen::generate_simple_self_signed(["node".to_owned()])?;
        std::fs::write(&files.key, another.signing_key.serialize_pem())?;
        let error = load(Some(&files), None).expect_err("another's key");
        assert!(
            format!("{error:#}").contains("the certificate is not the key's"),
            "{error:#}"
        );

        let inherited = Identity::generate()?;
        let fingerprint = inherited.fingerprint().clone();
        assert_eq!(load(None, Some(inherited))?.fingerprint(), &fingerprint);
        assert_ne!(load(None, None)?.fingerprint(), &fingerprint);
        Ok(())
    }
}
