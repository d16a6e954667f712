use crate::Window;

/// What a context knows of one SSRC, without any secret: enough to go on in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The SSRC.
    pub ssrc: u32,
    /// Indexes of SRTP: 32 bits of rollover counter, 16 of sequence number.
    pub rtp: Window,
    /// Indexes of SRTCP, 31 bits.
    pub rtcp: Window,
}

impl StreamState {
    /// Skips SRTCP indexes. A sender that goes on from a state that is older than its last packet must skip more than
    /// it may have sent since, or it uses a keystream twice (RFC 3711 §9.1).
    pub fn skip_rtcp(&mut self, packets: u32) {
        let next = self.rtcp.highest.map_or(0, |highest| highest + 1) + u64::from(packets);
        self.rtcp = match next.checked_sub(1) {
            Some(highest) => Window {
                highest: Some(highest),
                seen: u128::MAX,
            },
            None => Window::default(),
        };
    }
}
