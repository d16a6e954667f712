use ghash::GHash;
use ghash::universal_hash::UniversalHash;

use crate::counter_mode::CounterMode;

/// AES-GCM with a nonce of 96 bits (NIST SP 800-38D) over a cipher whose key is set once. The powers of the hash key
/// are made with it and wiped with it.
pub(crate) struct Gcm {
    cipher: CounterMode,
    hash: GHash,
}

impl Gcm {
    pub(crate) fn new(key: &[u8]) -> Self {
        let cipher = CounterMode::new(key);
        let hash = GHash::new((&*cipher.block(0)).into());
        Self { cipher, hash }
    }

    /// Encrypts or decrypts; the counter starts at two.
    #[inline]
    pub(crate) fn apply(&self, nonce: u128, data: &mut [u8]) {
        self.cipher.apply((nonce << 32) | 2, data);
    }

    /// The tag over two parts of associated data and the ciphertext.
    ///
    /// `associated` is followed by `trailer`, which has at most 16 bytes; no packet comes near the limits of GCM.
    #[inline]
    pub(crate) fn tag(&self, nonce: u128, associated: &[u8], trailer: &[u8], ciphertext: &[u8]) -> [u8; 16] {
        let mut hash = self.hash.clone();
        if trailer.is_empty() {
            hash.update_padded(associated);
        } else {
            // SRTCP: the header, or all of a packet in clear, and the word with the index (RFC 7714 §9.2 and §9.3).
            let (whole, rest) = associated.split_at(associated.len() / 16 * 16);
            hash.update_padded(whole);
            let mut last = [0; 32];
            let end = rest.len() + trailer.len();
            last[..rest.len()].copy_from_slice(rest);
            last[rest.len()..end].copy_from_slice(trailer);
            hash.update_padded(&last[..end]);
        }
        hash.update_padded(ciphertext);
        let bits = |len: usize| 8 * len as u128;
        let lengths = (bits(associated.len() + trailer.len()) << 64) | bits(ciphertext.len());
        hash.update(&[lengths.to_be_bytes().into()]);
        let mask = u128::from_be_bytes(*self.cipher.block((nonce << 32) | 1));
        (u128::from_be_bytes(hash.finalize().0) ^ mask).to_be_bytes()
    }
}
