use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Aes256Enc, Block};
use zeroize::{Zeroizing, zeroize_bytes};

#[cfg(target_arch = "x86_64")]
use crate::aes_ni::AesNi;

/// Blocks of keystream made at once: a packet of 20 ms of G.711 takes ten.
const BLOCKS: usize = 12;

/// AES in counter mode (RFC 3711 §4.1.1). The key schedule is wiped when dropped.
pub(crate) enum CounterMode {
    #[cfg(target_arch = "x86_64")]
    AesNi(Box<AesNi>),
    Aes128(Box<Aes128Enc>),
    Aes256(Box<Aes256Enc>),
}

impl CounterMode {
    /// `key` has 16 or 32 bytes; the suite saw to that.
    pub(crate) fn new(key: &[u8]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(keys) = AesNi::new(key) {
            return Self::AesNi(Box::new(keys));
        }
        match <&[u8; 16]>::try_from(key) {
            Ok(key) => Self::Aes128(Box::new(Aes128Enc::new(key.into()))),
            Err(_) => {
                let key: &[u8; 32] = key.try_into().expect("a key of 32 bytes");
                Self::Aes256(Box::new(Aes256Enc::new(key.into())))
            }
        }
    }

    /// XORs `data` with the keystream that starts at the counter block `first`. Does not allocate.
    #[inline]
    pub(crate) fn apply(&self, first: u128, data: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(keys) => keys.apply(first, data),
            Self::Aes128(cipher) => apply(first, data, |blocks| cipher.encrypt_blocks(blocks)),
            Self::Aes256(cipher) => apply(first, data, |blocks| cipher.encrypt_blocks(blocks)),
        }
    }

    /// One block, encrypted: secret, as it is a hash key or the mask of a tag.
    #[inline]
    pub(crate) fn block(&self, block: u128) -> Zeroizing<[u8; 16]> {
        // The keystream over zeros.
        let mut out = Zeroizing::new([0; 16]);
        self.apply(block, &mut out[..]);
        out
    }
}

/// XORs `data` with the keystream of a block cipher, and wipes the keystream.
#[inline]
fn apply(first: u128, data: &mut [u8], encrypt: impl Fn(&mut [Block])) {
    let mut counter = first;
    for part in data.chunks_mut(BLOCKS * 16) {
        let mut blocks = [Block::default(); BLOCKS];
        let used = &mut blocks[..part.len().div_ceil(16)];
        for block in used.iter_mut() {
            *block = counter.to_be_bytes().into();
            counter = counter.wrapping_add(1);
        }
        encrypt(used);
        let (whole, rest) = part.as_chunks_mut::<16>();
        for (chunk, block) in whole.iter_mut().zip(used.iter()) {
            let mixed = u128::from_ne_bytes(*chunk) ^ u128::from_ne_bytes(block.0);
            *chunk = mixed.to_ne_bytes();
        }
        if let Some(last) = used.last() {
            for (byte, key) in rest.iter_mut().zip(last.iter()) {
                *byte ^= key;
            }
        }
        zeroize_bytes(Block::cast_slice_to_core_mut(used).as_flattened_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.2: the first blocks, and those across the carry of the low byte.
    #[test]
    fn keystream_is_that_of_rfc_3711_appendix_b2() {
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        check(&CounterMode::new(&key));
        check(&CounterMode::Aes128(Box::new(Aes128Enc::new((&key).into()))));
    }

    fn check(cipher: &CounterMode) {
        let mut data = vec![0; 16 * 0xff02];
        cipher.apply(0xf0f1_f2f3_f4f5_f6f7_f8f9_fafb_fcfd_0000, &mut data);
        let block = |at: usize| u128::from_be_bytes(data[at * 16..][..16].try_into().expect("a block"));
        assert_eq!(block(0), 0xe03e_ad09_35c9_5e80_e166_b16d_d92b_4eb4);
        assert_eq!(block(1), 0xd235_1316_2b02_d0f7_2a43_a2fe_4a5f_97ab);
        assert_eq!(block(2), 0x41e9_5b3b_b0a2_e8dd_4779_01e4_fca8_94c0);
        assert_eq!(block(0xfeff), 0xec8c_df73_9860_7cb0_f2d2_1675_ea9e_a1e4);
        assert_eq!(block(0xff00), 0x362b_7c3c_6773_5163_18a0_77d7_fc50_73ae);
        assert_eq!(block(0xff01), 0x6a2c_c378_7889_374f_beb4_c81b_17ba_6c44);
    }
}
