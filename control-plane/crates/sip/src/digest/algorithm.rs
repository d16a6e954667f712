use std::fmt;

use md5::Md5;
use sha2::{Sha256, Sha512_256};

/// A hash algorithm that both sides of digest know (RFC 7616 §6.1, RFC 8760 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `MD5`: broken as a hash, and all that most telephones know.
    Md5,
    /// `SHA-256`
    Sha256,
    /// `SHA-512-256`
    Sha512_256,
}

impl Algorithm {
    /// All algorithms, the strongest first: the order in which they should be offered (RFC 8760 §2.4).
    pub const ALL: [Self; 3] = [Self::Sha512_256, Self::Sha256, Self::Md5];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// Reads a name, without regard to case.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// How many bytes a hash has.
    pub const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 | Self::Sha512_256 => 32,
        }
    }

    /// H(parts joined by colons), as lower-case hexadecimal digits.
    pub(super) fn hash(self, parts: &[&[u8]]) -> String {
        fn of<D: md5::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            for (place, part) in parts.iter().enumerate() {
                if place > 0 {
                    hash.update(b":");
                }
                hash.update(part);
            }
            hash.finalize().to_vec()
        }
        hex(&match self {
            Self::Md5 => of::<Md5>(parts),
            Self::Sha256 => of::<Sha256>(parts),
            Self::Sha512_256 => of::<Sha512_256>(parts),
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|&byte| [digit(byte >> 4), digit(byte)])
        .collect()
}

/// Bytes from hexadecimal digits of either case, into an array of exactly their number.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// H(A1): what a server needs of a password (RFC 7616 §3.4.2). It is as good as the password itself in its realm, so
/// it is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ha1 {
    algorithm: Algorithm,
    bytes: [u8; 32],
}

impl Ha1 {
    /// Of a password.
    pub fn new(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Self {
        let digits = algorithm.hash(&[username.as_bytes(), realm.as_bytes(), password.as_bytes()]);
        Self::from_hex(algorithm, &digits).expect("a hash has the digits of its algorithm")
    }

    /// From the hexadecimal digits that a user table holds; `None` when they are not as many as the algorithm has.
    pub fn from_hex(algorithm: Algorithm, digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        match algorithm {
            Algorithm::Md5 => bytes[..16].copy_from_slice(&unhex::<16>(digits)?),
            _ => bytes = unhex(digits)?,
        }
        Some(Self { algorithm, bytes })
    }

    /// Which algorithm it is of.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits, for a user table and for the response; never for a log.
    pub fn to_hex(&self) -> String {
        hex(&self.bytes[..self.algorithm.length()])
    }

    /// One that belongs to nobody, from secret bytes.
    pub(super) const fn of_nobody(algorithm: Algorithm, bytes: [u8; 32]) -> Self {
        Self { algorithm, bytes }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, ***)", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_case() {
        assert_eq!(Algorithm::of("sha-512-256"), Some(Algorithm::Sha512_256));
        assert_eq!(Algorithm::of("MD5-sess"), None);
    }

    #[test]
    fn a_hash_in_a_table_is_read_again_and_not_printed() {
        for algorithm in Algorithm::ALL {
            let ha1 = Ha1::new(algorithm, "alice", "example.com", "wonderland");
            assert_eq!(ha1.to_hex().len(), 2 * algorithm.length());
            assert_eq!(Ha1::from_hex(algorithm, &ha1.to_hex().to_uppercase()), Some(ha1));
            assert!(!format!("{ha1:?}").contains(&ha1.to_hex()[..8]));
            assert_eq!(Ha1::from_hex(algorithm, "00"), None);
        }
        assert_eq!(Ha1::from_hex(Algorithm::Md5, &"0g".repeat(16)), None);
    }
}
