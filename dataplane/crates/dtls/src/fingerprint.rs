use media_types::{Fingerprint, HashFunction};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The fingerprint of a certificate in DER (RFC 8122 §5).
///
/// # Panics
/// Never: a hash is as long as its function makes it.
pub fn fingerprint(function: HashFunction, certificate: &[u8]) -> Fingerprint {
    let hash: Box<[u8]> = match function {
        HashFunction::Sha256 => Sha256::digest(certificate).as_slice().into(),
        HashFunction::Sha384 => Sha384::digest(certificate).as_slice().into(),
        HashFunction::Sha512 => Sha512::digest(certificate).as_slice().into(),
    };
    Fingerprint::new(function, &hash).expect("a hash is as long as its function makes it")
}

/// Whether a fingerprint is that of a certificate in DER.
pub(crate) fn is_of(fingerprint: &Fingerprint, certificate: &[u8]) -> bool {
    *fingerprint == self::fingerprint(fingerprint.function(), certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_input_has_the_hashes_of_fips_180() {
        for (function, begins) in [
            (HashFunction::Sha256, "sha-256 E3:B0:C4:42:98:FC:1C:14:"),
            (HashFunction::Sha384, "sha-384 38:B0:60:A7:51:AC:96:38:"),
            (HashFunction::Sha512, "sha-512 CF:83:E1:35:7E:EF:B8:BD:"),
        ] {
            let made = fingerprint(function, b"");
            assert!(made.to_string().starts_with(begins), "{made}");
            assert!(is_of(&made, b"") && !is_of(&made, b"another"));
        }
    }
}
