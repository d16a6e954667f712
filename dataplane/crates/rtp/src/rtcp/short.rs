use crate::Ssrc;

/// Some streams have ended (RFC 3550 §6.6).
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a>(pub(super) &'a [u8]);

impl<'a> Bye<'a> {
    /// Which, at most 31.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let end = self.sources_end();
        self.0[4..end].chunks_exact(4).map(|w| Ssrc(word(w, 0)))
    }

    /// Why, if it says so and the text fits.
    pub fn reason(&self) -> Option<&'a [u8]> {
        let (&len, text) = self.0[self.sources_end()..].split_first()?;
        text.get(..usize::from(len))
    }

    fn sources_end(&self) -> usize {
        4 + 4 * usize::from(self.0[0] & 0x1f)
    }
}

/// An application's own packet (RFC 3550 §6.7).
#[derive(Clone, Copy, Debug)]
pub struct App<'a>(pub(super) &'a [u8]);

impl<'a> App<'a> {
    /// Who sent it.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(word(self.0, 4))
    }

    /// The application, in ASCII according to the RFC.
    pub fn name(&self) -> [u8; 4] {
        word(self.0, 8).to_be_bytes()
    }

    /// Whole 32-bit words.
    pub fn data(&self) -> &'a [u8] {
        &self.0[12..]
    }
}

/// Transport or payload feedback (RFC 4585 §6.1): NACK, PLI, FIR and the like, by `format`.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a>(pub(super) &'a [u8]);

impl<'a> Feedback<'a> {
    /// The feedback message type, 0 to 31.
    pub fn format(&self) -> u8 {
        self.0[0] & 0x1f
    }

    /// Who sent it.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(word(self.0, 4))
    }

    /// The stream that it is about; 0 where the format names streams itself.
    pub fn media_ssrc(&self) -> Ssrc {
        Ssrc(word(self.0, 8))
    }

    /// The feedback control information.
    pub fn control_information(&self) -> &'a [u8] {
        &self.0[12..]
    }
}

/// The big-endian 32 bits at `at`; the caller's length was checked when the compound was parsed.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
