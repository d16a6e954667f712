use crate::Error;

/// Bytes of an RTCP header with its SSRC, which SRTCP leaves in clear.
pub(crate) const RTCP_HEADER: usize = 8;
/// Bytes of the word with the E flag and the SRTCP index.
pub(crate) const RTCP_INDEX: usize = 4;
/// The E flag (RFC 3711 §3.4).
pub(crate) const ENCRYPTED: u32 = 1 << 31;

/// What SRTP needs of an RTP header.
#[derive(Clone, Copy)]
pub(crate) struct RtpHeader {
    /// Bytes in clear: fixed header, CSRCs and extension.
    pub(crate) len: usize,
    pub(crate) seq: u16,
    pub(crate) ssrc: u32,
}

/// Reads an RTP header (RFC 3550 §5.1). What follows it may be ciphertext, so neither payload nor padding is looked at.
#[inline]
pub(crate) fn rtp_header(packet: &[u8]) -> Result<RtpHeader, Error> {
    let fixed = packet.first_chunk::<12>().ok_or(Error::TooShort)?;
    if fixed[0] >> 6 != 2 {
        return Err(Error::Version);
    }
    let mut len = 12 + 4 * usize::from(fixed[0] & 0x0f);
    if fixed[0] & 0x10 != 0 {
        let extension = packet.get(len..len + 4).ok_or(Error::TooShort)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
    }
    if len > packet.len() {
        return Err(Error::TooShort);
    }
    Ok(RtpHeader {
        len,
        seq: u16::from_be_bytes([fixed[2], fixed[3]]),
        ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
    })
}

/// The SSRC of the sender of a compound RTCP packet.
#[inline]
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, Error> {
    let fixed = packet.first_chunk::<RTCP_HEADER>().ok_or(Error::TooShort)?;
    if fixed[0] >> 6 != 2 {
        return Err(Error::Version);
    }
    Ok(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]))
}
