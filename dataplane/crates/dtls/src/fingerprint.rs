use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;

/// A hash function that a fingerprint may be made with. MD5 and SHA-1 are no longer (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashFunction {
    /// `sha-256`, which everybody has.
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl HashFunction {
    /// Its name in `a=fingerprint`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Bytes of its result.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn hash(self, bytes: &[u8]) -> Box<[u8]> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).as_slice().into(),
            Self::Sha384 => Sha384::digest(bytes).as_slice().into(),
            Self::Sha512 => Sha512::digest(bytes).as_slice().into(),
        }
    }
}

impl FromStr for HashFunction {
    type Err = FingerprintError;

    /// By the name in SDP, in any case.
    fn from_str(name: &str) -> Result<Self, FingerprintError> {
        let all = [Self::Sha256, Self::Sha384, Self::Sha512];
        let found = all
            .into_iter()
            .find(|function| function.name().eq_ignore_ascii_case(name));
        found.ok_or(FingerprintError::HashFunction)
    }
}

/// The hash of a certificate, as descriptions have it (RFC 8122 §5): `sha-256 4A:AD:…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    function: HashFunction,
    hash: Box<[u8]>,
}

/// Why a fingerprint was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FingerprintError {
    /// A hash function that is unknown or broken.
    #[error("the hash function is not sha-256, sha-384 or sha-512")]
    HashFunction,
    /// Not pairs of hexadecimal digits with colons between, as many as the function gives.
    #[error("not as many pairs of hexadecimal digits as the hash function gives")]
    Bytes,
}

impl Fingerprint {
    /// Of a hash that was made elsewhere.
    pub fn new(function: HashFunction, hash: &[u8]) -> Result<Self, FingerprintError> {
        match hash.len() == function.size() {
            true => Ok(Self {
                function,
                hash: hash.into(),
            }),
            false => Err(FingerprintError::Bytes),
        }
    }

    /// Of a certificate in DER.
    pub fn of(function: HashFunction, certificate: &[u8]) -> Self {
        Self {
            function,
            hash: function.hash(certificate),
        }
    }

    /// The function that it was made with.
    pub fn function(&self) -> HashFunction {
        self.function
    }

    /// The hash.
    pub fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// Whether it is that of a certificate in DER.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        *self == Self::of(self.function, certificate)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// The value of `a=fingerprint`. Lower-case digits are read too, as some write them.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let (name, digits) = text.trim().split_once(' ').ok_or(FingerprintError::Bytes)?;
        let function: HashFunction = name.parse()?;
        let mut hash = Vec::with_capacity(function.size());
        for pair in digits.trim().split(':') {
            let is_pair = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_pair || hash.len() == function.size() {
                return Err(FingerprintError::Bytes);
            }
            hash.push(u8::from_str_radix(pair, 16).map_err(|_| FingerprintError::Bytes)?);
        }
        Self::new(function, &hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name())?;
        for (place, byte) in self.hash.iter().enumerate() {
            let before = if place == 0 { ' ' } else { ':' };
            write!(f, "{before}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for function in [HashFunction::Sha256, HashFunction::Sha384, HashFunction::Sha512] {
            let fingerprint = Fingerprint::of(function, b"certificate");
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(
                fingerprint.to_string().to_ascii_lowercase().parse(),
                Ok(fingerprint.clone())
            );
            assert!(fingerprint.is_of(b"certificate"));
            assert!(!fingerprint.is_of(b"another"));
        }
    }

    #[test]
    fn the_empty_input_has_the_hash_of_fips_180() {
        let fingerprint = Fingerprint::of(HashFunction::Sha256, b"");
        let text = fingerprint.to_string();
        assert!(text.starts_with("sha-256 E3:B0:C4:42:98:FC:1C:14:"), "{text}");
    }

    #[test]
    fn broken_ones_are_refused() {
        let good = Fingerprint::of(HashFunction::Sha256, b"").to_string();
        let sha1 = "sha-1 DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09";
        for (text, error) in [
            (sha1.to_owned(), FingerprintError::HashFunction),
            (good.replace("sha-256", "sha-512"), FingerprintError::Bytes),
            (good.replace(':', ""), FingerprintError::Bytes),
            (format!("{good}:00"), FingerprintError::Bytes),
            (good.replace("E3", "+3"), FingerprintError::Bytes),
            (good.replace("E3", "ä"), FingerprintError::Bytes),
            ("sha-256".to_owned(), FingerprintError::Bytes),
            (String::new(), FingerprintError::Bytes),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(error), "{text}");
        }
    }
}
