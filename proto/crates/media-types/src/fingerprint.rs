use std::fmt;
use std::str::FromStr;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
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

    /// The function that it was made with.
    pub fn function(&self) -> HashFunction {
        self.function
    }

    /// The hash.
    pub fn hash(&self) -> &[u8] {
        &self.hash
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

    fn made(function: HashFunction) -> Fingerprint {
        let hash: Vec<u8> = (0xa0..).take(function.size()).collect();
        Fingerprint::new(function, &hash).expect("as long as the function's")
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for function in [HashFunction::Sha256, HashFunction::Sha384, HashFunction::Sha512] {
            let fingerprint = made(function);
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            let lower = fingerprint.to_string().to_ascii_lowercase();
            assert_eq!(lower.parse(), Ok(fingerprint.clone()));
            assert!(Fingerprint::new(function, &fingerprint.hash()[1..]).is_err());
        }
        assert!(
            made(HashFunction::Sha256)
                .to_string()
                .starts_with("sha-256 A0:A1:A2:")
        );
    }

    #[test]
    fn broken_ones_are_refused() {
        let good = made(HashFunction::Sha256).to_string();
        let sha1 = "sha-1 DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09";
        for (text, error) in [
            (sha1.to_owned(), FingerprintError::HashFunction),
            (good.replace("sha-256", "sha-512"), FingerprintError::Bytes),
            (good.replace(':', ""), FingerprintError::Bytes),
            (format!("{good}:00"), FingerprintError::Bytes),
            (good.replace("A1", "+1"), FingerprintError::Bytes),
            (good.replace("A1", "ä"), FingerprintError::Bytes),
            ("sha-256".to_owned(), FingerprintError::Bytes),
            (String::new(), FingerprintError::Bytes),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(error), "{text}");
        }
    }
}
