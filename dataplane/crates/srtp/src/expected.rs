use crate::hmac_sha1::{Code, HmacSha1};
use crate::session::{KeyNumber, Session};

/// What the tag of a received RTP packet is made of, as its context expects it.
pub struct Expected<'a> {
    hmac: &'a HmacSha1,
    of: Of,
}

/// A code that was made of an [`Expected`] and its packet.
pub struct ExpectedCode {
    of: Of,
    code: Code,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Of {
    key: KeyNumber,
    /// Bytes of the RTP packet.
    len: usize,
    roc: u32,
}

impl<'a> Expected<'a> {
    /// `None` with GCM.
    #[inline]
    pub(crate) fn new(session: &'a Session, len: usize, roc: u32) -> Option<Self> {
        Some(Self {
            hmac: session.rtp.hmac()?,
            of: Of {
                key: session.number,
                len,
                roc,
            },
        })
    }

    /// The codes of two packets, which are those that were asked about. Does not allocate.
    #[inline]
    pub fn two(expected: [Self; 2], packets: [&[u8]; 2]) -> [ExpectedCode; 2] {
        let [first, second] = expected;
        let codes = HmacSha1::two(
            [first.hmac, second.hmac],
            [&packets[0][..first.of.len], &packets[1][..second.of.len]],
            [first.of.roc, second.of.roc].map(u32::to_be_bytes),
        );
        let [code, other] = codes;
        [
            ExpectedCode { of: first.of, code },
            ExpectedCode {
                of: second.of,
                code: other,
            },
        ]
    }
}

impl ExpectedCode {
    /// The code, if it was made by this key for a packet of this length and rollover counter.
    #[inline]
    pub(crate) fn by(&self, session: &Session, len: usize, roc: u32) -> Option<&Code> {
        let wanted = Of {
            key: session.number,
            len,
            roc,
        };
        (self.of == wanted).then_some(&self.code)
    }
}
