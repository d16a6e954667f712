use std::ops::Range;

use crate::hmac_sha1::{Code, HmacSha1};

/// An encrypted RTP packet that has no tag yet, if its suite authenticates by HMAC.
#[must_use = "the packet has no tag"]
pub struct Unsigned {
    /// Bytes of the packet with its tag.
    total: usize,
    wanted: Option<Wanted>,
}

/// A tag that is to be made.
struct Wanted {
    hmac: HmacSha1,
    /// Bytes of the RTP packet.
    len: usize,
    roc: u32,
    tag: Range<usize>,
}

impl Unsigned {
    pub(crate) fn new(hmac: &HmacSha1, len: usize, roc: u32, tag: Range<usize>) -> Self {
        Self {
            total: tag.end,
            wanted: Some(Wanted {
                hmac: hmac.clone(),
                len,
                roc,
                tag,
            }),
        }
    }

    /// Has its tag already.
    pub(crate) fn signed(total: usize) -> Self {
        Self { total, wanted: None }
    }

    /// Puts the tag into the packet's buffer, and returns the length of the packet. Does not allocate.
    #[inline]
    pub fn sign(self, buffer: &mut [u8]) -> usize {
        if let Some(wanted) = &self.wanted {
            let code = wanted.hmac.code(&buffer[..wanted.len], wanted.roc.to_be_bytes());
            wanted.put(&code, buffer);
        }
        self.total
    }

    /// The same for two packets of whatever streams and keys. Does not allocate.
    #[inline]
    pub fn sign_two(packets: [Self; 2], buffers: [&mut [u8]; 2]) -> [usize; 2] {
        let [first, second] = packets;
        let [first_buffer, second_buffer] = buffers;
        match (&first.wanted, &second.wanted) {
            (Some(one), Some(other)) => {
                let codes = HmacSha1::two(
                    [&one.hmac, &other.hmac],
                    [&first_buffer[..one.len], &second_buffer[..other.len]],
                    [one.roc, other.roc].map(u32::to_be_bytes),
                );
                one.put(&codes[0], first_buffer);
                other.put(&codes[1], second_buffer);
                [first.total, second.total]
            }
            _ => [first.sign(first_buffer), second.sign(second_buffer)],
        }
    }
}

impl Wanted {
    #[inline]
    fn put(&self, code: &Code, buffer: &mut [u8]) {
        let tag = &mut buffer[self.tag.clone()];
        tag.copy_from_slice(&code[..tag.len()]);
    }
}
