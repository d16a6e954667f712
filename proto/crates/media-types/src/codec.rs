/// One payload format that a media line may carry, as `a=rtpmap` and `a=ptime` have it (RFC 8866 §6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as registered, such as `PCMU`; compared without case.
    pub name: String,
    /// RTP clock rate in Hz; never zero.
    pub clock_rate_hz: u32,
    /// Channels, 1 or more.
    pub channels: u8,
    /// Media time in a packet, in milliseconds; zero when the description does not say.
    pub ptime_ms: u16,
}
