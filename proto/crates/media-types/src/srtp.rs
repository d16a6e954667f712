use std::fmt;
use std::hash::{Hash, Hasher};

use zeroize::Zeroize;

/// A crypto suite of SRTP, by its name in SDP (RFC 4568 §6.2, RFC 6188 §6, RFC 7714 §14.1). F8 and SEED have no place in it,
/// AES-192 neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// `AES_CM_128_HMAC_SHA1_80`
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: the tag of SRTCP is 80 bits all the same.
    AesCm128HmacSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`
    AesCm256HmacSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`: the tag of SRTCP is 80 bits all the same.
    AesCm256HmacSha1_32,
    /// `AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// Every suite.
    pub const ALL: [Self; 6] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AesCm256HmacSha1_80,
        Self::AesCm256HmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// Its name in an `a=crypto` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of a name, in whatever case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key and of the session's encryption key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt and of the session's salt.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Bytes of the tag of an SRTP packet.
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm256HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 | Self::AesCm256HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of the tag of an SRTCP packet (RFC 4568 §6.2.2: 80 bits for the 32-bit suites too).
    pub const fn rtcp_tag_len(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
    }

    /// Whether it is one of RFC 7714.
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }
}

/// The keys of a line that is secured (RFC 3711): nothing in clear passes between node and party, also while a key is
/// not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct SrtpSpec {
    /// What the party protects with; several while it may use one of several. Empty until its description has said so.
    pub receive: Vec<SrtpKey>,
    /// What the node protects with; `None` until an answer has chosen.
    pub send: Option<SrtpKey>,
}

/// A master key with its salt. Wiped when dropped; `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKey {
    suite: SrtpSuite,
    /// Key and salt, as `inline:` has them.
    material: Vec<u8>,
    mki: Vec<u8>,
    lifetime_packets: u64,
}

impl SrtpKey {
    /// From the key followed by the salt (RFC 4568 §6.1). `None` when they are not as long as the suite wants them.
    pub fn new(suite: SrtpSuite, key_and_salt: &[u8]) -> Option<Self> {
        let fits = key_and_salt.len() == suite.key_len() + suite.salt_len();
        fits.then(|| Self {
            suite,
            material: key_and_salt.to_vec(),
            mki: Vec::new(),
            lifetime_packets: 0,
        })
    }

    /// With a master key identifier as packets have it; an empty one is none.
    #[must_use]
    pub fn with_mki(mut self, mki: &[u8]) -> Self {
        self.mki = mki.to_vec();
        self
    }

    /// With a lifetime in SRTP packets; 0 is as many as the suite allows.
    #[must_use]
    pub fn with_lifetime(mut self, packets: u64) -> Self {
        self.lifetime_packets = packets;
        self
    }

    /// Its suite.
    pub const fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The secret: key and salt.
    pub fn key_and_salt(&self) -> &[u8] {
        &self.material
    }

    /// The master key identifier; empty when there is none.
    pub fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// SRTP packets that it may protect; 0 is as many as the suite allows.
    pub const fn lifetime_packets(&self) -> u64 {
        self.lifetime_packets
    }
}

impl Drop for SrtpKey {
    fn drop(&mut self) {
        self.material.zeroize();
    }
}

impl Hash for SrtpKey {
    /// By what is no secret.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.suite, &self.mki, self.lifetime_packets).hash(state);
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKey")
            .field("suite", &self.suite)
            .field("mki", &self.mki)
            .field("lifetime_packets", &self.lifetime_packets)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_as_long_as_its_suite_wants_and_does_not_show_itself() {
        for suite in SrtpSuite::ALL {
            let len = suite.key_len() + suite.salt_len();
            assert!(SrtpKey::new(suite, &vec![7; len - 1]).is_none());
            assert!(SrtpKey::new(suite, &vec![7; len + 1]).is_none());
            let key = SrtpKey::new(suite, &vec![0xa5; len]);
            let shown = format!("{key:?}");
            assert!(!shown.contains("165") && !shown.contains("a5"), "{shown}");
        }
    }
}
