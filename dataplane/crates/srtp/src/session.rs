use std::sync::atomic::{AtomicU64, Ordering};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::counter_mode::CounterMode;
use crate::gcm::Gcm;
use crate::hmac_sha1::{Code, HmacSha1};
use crate::key::Mki;
use crate::{MasterKey, RTCP_LIFETIME_MAX, Suite};

/// Names the session keys of one master key within the process; never used again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyNumber(u64);

impl KeyNumber {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The session keys of one master key, and how many packets they were used for.
pub(crate) struct Session {
    pub(crate) number: KeyNumber,
    pub(crate) suite: Suite,
    pub(crate) mki: Mki,
    pub(crate) rtp: Transform,
    pub(crate) rtcp: Transform,
    pub(crate) rtp_used: u64,
    pub(crate) rtcp_used: u64,
    pub(crate) rtp_lifetime: u64,
    pub(crate) rtcp_lifetime: u64,
}

impl Session {
    pub(crate) fn new(key: &MasterKey) -> Self {
        let suite = key.suite();
        Self {
            number: KeyNumber::next(),
            suite,
            mki: key.mki(),
            rtp: Transform::new(key, 0, suite.rtp_tag_len()),
            rtcp: Transform::new(key, 3, suite.rtcp_tag_len()),
            rtp_used: 0,
            rtcp_used: 0,
            rtp_lifetime: key.lifetime(),
            rtcp_lifetime: key.lifetime().min(RTCP_LIFETIME_MAX),
        }
    }
}

/// Encryption and authentication of one kind of packet. One lives in a context's key for SRTP, one for SRTCP.
pub(crate) struct Transform {
    /// Secret too (RFC 3711 §9.1), hence wiped.
    salt: Zeroizing<u128>,
    tag_len: usize,
    cipher: Cipher,
}

enum Cipher {
    Cm {
        counter_mode: CounterMode,
        hmac: HmacSha1,
    },
    Gcm(Box<Gcm>),
}

impl Transform {
    /// `label`: that of the encryption key; authentication and salt follow it (RFC 3711 §4.3.1 and §4.3.2).
    fn new(key: &MasterKey, label: u8, tag_len: usize) -> Self {
        let suite = key.suite();
        let mut encryption = Zeroizing::new([0; 32]);
        let encryption = &mut encryption[..suite.key_len()];
        key.derive(label, encryption);
        let mut authentication = Zeroizing::new([0; 20]);
        key.derive(label + 1, &mut authentication[..]);
        let mut salt = Zeroizing::new([0; 16]);
        key.derive(label + 2, &mut salt[16 - suite.salt_len()..]);
        Self::from_session_keys(suite, encryption, &authentication[..], *salt, tag_len)
    }

    /// `salt` is aligned to the right.
    fn from_session_keys(
        suite: Suite,
        key: &[u8],
        authentication: &[u8],
        salt: [u8; 16],
        tag_len: usize,
    ) -> Self {
        let cipher = if suite.is_aead() {
            Cipher::Gcm(Box::new(Gcm::new(key)))
        } else {
            Cipher::Cm {
                counter_mode: CounterMode::new(key),
                hmac: HmacSha1::new(authentication),
            }
        };
        Self {
            salt: Zeroizing::new(u128::from_be_bytes(salt)),
            tag_len,
            cipher,
        }
    }

    pub(crate) fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Salt, SSRC and index in their common order: the 112 bits of RFC 3711 §4.1.1 above the block counter, or the
    /// nonce of RFC 7714 §8.1 and §9.1.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> u128 {
        *self.salt ^ (u128::from(ssrc) << 48) ^ u128::from(index)
    }

    /// Encrypts or decrypts.
    #[inline]
    pub(crate) fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let nonce = self.nonce(ssrc, index);
        match &self.cipher {
            Cipher::Cm { counter_mode, .. } => counter_mode.apply(nonce << 16, data),
            Cipher::Gcm(gcm) => gcm.apply(nonce, data),
        }
    }

    /// The tag of an encrypted packet whose first `clear` bytes are not encrypted; only the first `tag_len` bytes count.
    ///
    /// `suffix` is the rollover counter, which only HMAC is given as GCM has it in the nonce, or the SRTCP index.
    #[inline]
    pub(crate) fn tag(&self, ssrc: u32, index: u64, clear: usize, packet: &[u8], suffix: Suffix) -> Code {
        match (&self.cipher, suffix) {
            (Cipher::Cm { hmac, .. }, Suffix::Roc(word) | Suffix::RtcpIndex(word)) => {
                hmac.code(packet, word.to_be_bytes())
            }
            (Cipher::Gcm(gcm), suffix) => {
                let (associated, ciphertext) = packet.split_at(clear);
                let nonce = self.nonce(ssrc, index);
                let tag = match suffix {
                    Suffix::Roc(_) => gcm.tag(nonce, associated, &[], ciphertext),
                    Suffix::RtcpIndex(word) => gcm.tag(nonce, associated, &word.to_be_bytes(), ciphertext),
                };
                let mut out = [0; 20];
                out[..16].copy_from_slice(&tag);
                out
            }
        }
    }

    /// What makes tags by HMAC, and may do so for two packets at once; `None` with GCM.
    #[inline]
    pub(crate) fn hmac(&self) -> Option<&HmacSha1> {
        match &self.cipher {
            Cipher::Cm { hmac, .. } => Some(hmac),
            Cipher::Gcm(_) => None,
        }
    }

    /// Compares in constant time.
    #[inline]
    pub(crate) fn matches(&self, computed: &Code, received: &[u8]) -> bool {
        computed[..self.tag_len].ct_eq(received).into()
    }
}

/// What is authenticated after the packet.
#[derive(Clone, Copy)]
pub(crate) enum Suffix {
    Roc(u32),
    RtcpIndex(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    }

    fn transform(suite: Suite) -> Transform {
        let key: Vec<u8> = (0..suite.key_len() as u8).collect();
        let mut salt = [0; 16];
        salt[4..].copy_from_slice(b"Quid pro quo");
        Transform::from_session_keys(suite, &key, &[], salt, 16)
    }

    /// RFC 7714 §16.1 and §16.2: the session keys are given.
    #[test]
    fn srtp_is_that_of_rfc_7714_section_16() {
        let cases = [
            (
                Suite::AeadAes128Gcm,
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                Suite::AeadAes256Gcm,
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        for (suite, expected) in cases {
            let transform = transform(suite);
            let mut packet = hex("8040f17b8041f8d35501a0b2");
            packet.extend(b"Gallia est omnis divisa in partes tres");
            let plain = packet.clone();
            transform.apply(0x5501_a0b2, 0xf17b, &mut packet[12..]);
            let tag = transform.tag(0x5501_a0b2, 0xf17b, 12, &packet, Suffix::Roc(0));
            assert_eq!(
                [&packet[12..], &tag[..16]].concat(),
                hex(expected),
                "{}",
                suite.name()
            );
            transform.apply(0x5501_a0b2, 0xf17b, &mut packet[12..]);
            assert_eq!(packet, plain);
        }
    }

    /// RFC 7714 §17.1 and §17.2.
    #[test]
    fn srtcp_is_that_of_rfc_7714_section_17() {
        let cases = [
            (
                Suite::AeadAes128Gcm,
                "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade",
            ),
            (
                Suite::AeadAes256Gcm,
                "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be",
            ),
        ];
        for (suite, expected) in cases {
            let transform = transform(suite);
            let mut packet = hex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61");
            packet.extend([0xde, 0xad, 0xbe, 0xef].repeat(5));
            transform.apply(0x4d61_7273, 0x5d4, &mut packet[8..]);
            let tag = transform.tag(0x4d61_7273, 0x5d4, 8, &packet, Suffix::RtcpIndex(0x8000_05d4));
            assert_eq!(
                [&packet[8..], &tag[..16]].concat(),
                hex(expected),
                "{}",
                suite.name()
            );
        }
    }
}
