//! SRTP once more, slowly and from the text of the RFCs: a block at a time, GHASH a bit at a time, plain HMAC.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use srtp::Suite;

pub struct Oracle {
    suite: Suite,
    /// Encryption key, authentication key, salt: of SRTP, of SRTCP.
    keys: [[Vec<u8>; 3]; 2],
    mki: Vec<u8>,
}

impl Oracle {
    pub fn new(suite: Suite, material: &[u8], mki: &[u8]) -> Self {
        let (key, salt) = material.split_at(suite.key_len());
        let derive = |label: u8, len: usize| {
            let mut x = salt.to_vec();
            x.resize(14, 0);
            x[7] ^= label;
            let mut out = Vec::new();
            for counter in 0u16.. {
                if out.len() >= len {
                    break;
                }
                let block: Vec<u8> = x.iter().copied().chain(counter.to_be_bytes()).collect();
                out.extend(aes(key, &block));
            }
            out.truncate(len);
            out
        };
        let set = |label| {
            [
                derive(label, key.len()),
                derive(label + 1, 20),
                derive(label + 2, salt.len()),
            ]
        };
        Self {
            suite,
            keys: [set(0), set(3)],
            mki: mki.to_vec(),
        }
    }

    pub fn rtp(&self, packet: &[u8], clear: usize, index: u64) -> Vec<u8> {
        let ssrc = &packet[8..12];
        let (mut out, tag) = if self.suite.is_aead() {
            self.gcm(0, packet, clear, &[], ssrc, index)
        } else {
            self.cm(
                0,
                packet,
                clear,
                &((index >> 16) as u32).to_be_bytes(),
                ssrc,
                index,
            )
        };
        let tag = &tag[..self.suite.rtp_tag_len()];
        if self.suite.is_aead() {
            out.extend(tag);
            out.extend(&self.mki);
        } else {
            out.extend(&self.mki);
            out.extend(tag);
        }
        out
    }

    pub fn rtcp(&self, packet: &[u8], index: u32) -> Vec<u8> {
        let ssrc = &packet[4..8];
        let word = (index | 0x8000_0000).to_be_bytes();
        if self.suite.is_aead() {
            let (mut out, tag) = self.gcm(1, packet, 8, &word, ssrc, u64::from(index));
            out.extend(tag);
            out.extend(word);
            out.extend(&self.mki);
            out
        } else {
            let (mut out, tag) = self.cm(1, packet, 8, &word, ssrc, u64::from(index));
            out.extend(word);
            out.extend(&self.mki);
            out.extend(&tag[..10]);
            out
        }
    }

    /// With the E flag at zero: authenticated and not encrypted (RFC 3711 §3.4, RFC 7714 §9.3).
    pub fn rtcp_in_clear(&self, packet: &[u8], index: u32) -> Vec<u8> {
        let ssrc = &packet[4..8];
        let word = index.to_be_bytes();
        if self.suite.is_aead() {
            let (mut out, tag) = self.gcm(1, packet, packet.len(), &word, ssrc, u64::from(index));
            out.extend(tag);
            out.extend(word);
            out
        } else {
            let (mut out, tag) = self.cm(1, packet, packet.len(), &word, ssrc, u64::from(index));
            out.extend(word);
            out.extend(&tag[..10]);
            out
        }
    }

    fn cm(
        &self,
        set: usize,
        packet: &[u8],
        clear: usize,
        suffix: &[u8],
        ssrc: &[u8],
        index: u64,
    ) -> (Vec<u8>, Vec<u8>) {
        let [key, auth, salt] = &self.keys[set];
        let mut iv = [0; 14];
        iv.copy_from_slice(salt);
        mix(&mut iv[4..8], ssrc);
        mix(&mut iv[8..14], &index.to_be_bytes()[2..]);
        let mut out = packet.to_vec();
        for (number, chunk) in out[clear..].chunks_mut(16).enumerate() {
            let block: Vec<u8> = iv.iter().copied().chain((number as u16).to_be_bytes()).collect();
            mix(chunk, &aes(key, &block));
        }
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(auth).expect("a key");
        mac.update(&out);
        mac.update(suffix);
        (out, mac.finalize().into_bytes().to_vec())
    }

    fn gcm(
        &self,
        set: usize,
        packet: &[u8],
        clear: usize,
        suffix: &[u8],
        ssrc: &[u8],
        index: u64,
    ) -> (Vec<u8>, Vec<u8>) {
        let [key, _, salt] = &self.keys[set];
        let mut iv = [0; 12];
        iv.copy_from_slice(salt);
        mix(&mut iv[2..6], ssrc);
        mix(&mut iv[6..12], &index.to_be_bytes()[2..]);
        let keystream = |counter: u32| {
            let block: Vec<u8> = iv.iter().copied().chain(counter.to_be_bytes()).collect();
            aes(key, &block)
        };
        let mut out = packet.to_vec();
        for (number, chunk) in out[clear..].chunks_mut(16).enumerate() {
            mix(chunk, &keystream(number as u32 + 2));
        }
        let associated = [&packet[..clear], suffix].concat();
        let h = u128::from_be_bytes(aes(key, &[0; 16]).try_into().expect("a block"));
        let mut hash = 0;
        for part in [&associated[..], &out[clear..]] {
            for chunk in part.chunks(16) {
                let mut block = [0; 16];
                block[..chunk.len()].copy_from_slice(chunk);
                hash = multiply(hash ^ u128::from_be_bytes(block), h);
            }
        }
        let lengths = ((associated.len() as u128 * 8) << 64) | ((out.len() - clear) as u128 * 8);
        hash = multiply(hash ^ lengths, h);
        let mut tag = hash.to_be_bytes().to_vec();
        mix(&mut tag, &keystream(1));
        (out, tag)
    }
}

/// NIST SP 800-38D §6.3, algorithm 1.
fn multiply(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            z ^= v;
        }
        v = if v & 1 == 1 {
            (v >> 1) ^ (0xe1 << 120)
        } else {
            v >> 1
        };
    }
    z
}

fn mix(data: &mut [u8], key: &[u8]) {
    data.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

fn aes(key: &[u8], block: &[u8]) -> Vec<u8> {
    let mut block = aes::Block::try_from(block).expect("a block");
    match key.len() {
        16 => aes::Aes128Enc::new_from_slice(key)
            .expect("a key")
            .encrypt_block(&mut block),
        _ => aes::Aes256Enc::new_from_slice(key)
            .expect("a key")
            .encrypt_block(&mut block),
    }
    block.to_vec()
}
