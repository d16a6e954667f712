use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::counter_mode::CounterMode;
use crate::{KeyError, Suite};

/// The longest MKI in bytes; RFC 4568 §6.1 would allow 128, nobody uses more than 4.
pub const MKI_LEN_MAX: usize = 16;
/// SRTP packets under one master key at most (RFC 3711 §9.2).
pub const RTP_LIFETIME_MAX: u64 = 1 << 48;
/// SRTCP packets under one master key at most (RFC 3711 §9.2).
pub const RTCP_LIFETIME_MAX: u64 = 1 << 31;

/// The longest key and salt together, in bytes.
const MATERIAL_LEN_MAX: usize = 32 + 14;

/// A master key with its salt, its MKI and its lifetime. Wiped when dropped, absent from `Debug`.
pub struct MasterKey {
    suite: Suite,
    material: [u8; MATERIAL_LEN_MAX],
    mki: Mki,
    lifetime: u64,
}

impl MasterKey {
    /// From the key followed by the salt, as `inline:` has them (RFC 4568 §6.1).
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Result<Self, KeyError> {
        let expected = suite.key_len() + suite.salt_len();
        if key_and_salt.len() != expected {
            return Err(KeyError::Length {
                expected,
                actual: key_and_salt.len(),
            });
        }
        let mut material = [0; MATERIAL_LEN_MAX];
        material[..expected].copy_from_slice(key_and_salt);
        Ok(Self {
            suite,
            material,
            mki: Mki::default(),
            lifetime: RTP_LIFETIME_MAX,
        })
    }

    /// With a master key identifier; an empty one is none.
    pub fn with_mki(mut self, mki: &[u8]) -> Result<Self, KeyError> {
        if mki.len() > MKI_LEN_MAX {
            return Err(KeyError::MkiTooLong(mki.len()));
        }
        self.mki.bytes[..mki.len()].copy_from_slice(mki);
        self.mki.len = mki.len();
        Ok(self)
    }

    /// With a lifetime in SRTP packets; SRTCP packets are limited by it and by [`RTCP_LIFETIME_MAX`].
    pub fn with_lifetime(mut self, packets: u64) -> Result<Self, KeyError> {
        if packets == 0 || packets > RTP_LIFETIME_MAX {
            return Err(KeyError::Lifetime(packets));
        }
        self.lifetime = packets;
        Ok(self)
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn mki(&self) -> Mki {
        self.mki
    }

    pub(crate) fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// The key derivation of RFC 3711 §4.3 with a key derivation rate of zero; a salt of 96 bits is padded with zeros
    /// on the right (RFC 7714 §11).
    pub(crate) fn derive(&self, label: u8, out: &mut [u8]) {
        let key_len = self.suite.key_len();
        let (key, salt) = self.material[..key_len + self.suite.salt_len()].split_at(key_len);
        let mut iv = [0; 16];
        iv[..salt.len()].copy_from_slice(salt);
        iv[7] ^= label;
        out.fill(0);
        CounterMode::new(key).apply(u128::from_be_bytes(iv), out);
        iv.zeroize();
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.material.zeroize();
    }
}

impl ZeroizeOnDrop for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

/// A master key identifier; public, as it is sent in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mki {
    bytes: [u8; MKI_LEN_MAX],
    len: usize,
}

impl Mki {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suite;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn keys_are_derived_as_in_rfc_3711_appendix_b3() {
        let material = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
        let key = MasterKey::new(Suite::AesCm128HmacSha1_80, &material).expect("a key");
        let mut out = [0; 94];
        key.derive(0, &mut out[..16]);
        assert_eq!(out[..16], hex("c61e7a93744f39ee10734afe3ff7a087"));
        key.derive(2, &mut out[..14]);
        assert_eq!(out[..14], hex("30cbbc08863d8c85d49db34a9ae1"));
        key.derive(1, &mut out);
        let auth = "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad175578ef72270\
                    986371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2";
        assert_eq!(out[..], hex(auth));
    }

    /// RFC 6188 §7.2.
    #[test]
    fn keys_are_derived_as_in_rfc_6188_section_7() {
        let material = hex(
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b63b04803de51ee7c96423ab5b78d2",
        );
        let key = MasterKey::new(Suite::AesCm256HmacSha1_80, &material).expect("a key");
        let mut out = [0; 32];
        key.derive(0, &mut out);
        assert_eq!(
            out[..],
            hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
        );
        key.derive(2, &mut out[..14]);
        assert_eq!(out[..14], hex("fa31791685ca444a9e07c6c64e93"));
        key.derive(1, &mut out[..20]);
        assert_eq!(out[..20], hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = MasterKey::new(Suite::AeadAes128Gcm, &[0xa7; 28]).expect("a key");
        assert_eq!(format!("{key:?}"), "MasterKey { suite: AeadAes128Gcm, .. }");
    }

    #[test]
    fn what_the_rfcs_forbid_is_refused() {
        let error = MasterKey::new(Suite::AeadAes128Gcm, &[0; 30]).expect_err("two bytes too many");
        assert_eq!(
            error,
            KeyError::Length {
                expected: 28,
                actual: 30
            }
        );
        let key = || MasterKey::new(Suite::AeadAes128Gcm, &[0; 28]).expect("a key");
        assert!(key().with_mki(&[0; MKI_LEN_MAX + 1]).is_err());
        assert!(key().with_lifetime(0).is_err());
        assert!(key().with_lifetime(RTP_LIFETIME_MAX + 1).is_err());
    }
}
