use rtp::rtcp::RtcpError;
use rtp::{Class, PacketError};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// Why a packet was dropped. Each has a counter on the line and one on the node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The label of the counter.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

reasons! {
    /// The port is not of this engine, or its call is gone.
    UnknownPort => "unknown_port",
    /// STUN by its first byte (RFC 7983).
    Stun => "stun",
    /// ZRTP by its first byte.
    Zrtp => "zrtp",
    /// DTLS by its first byte.
    Dtls => "dtls",
    /// TURN channel data by its first byte.
    TurnChannel => "turn_channel",
    /// Nothing that belongs on a media port, or an empty datagram.
    NotMedia => "not_media",
    /// RTP shorter than its header.
    RtpTruncated => "rtp_truncated",
    /// RTP of another version than 2.
    RtpVersion => "rtp_version",
    /// RTP whose header extension runs beyond the end.
    RtpExtension => "rtp_extension",
    /// RTP whose padding does not fit.
    RtpPadding => "rtp_padding",
    /// RTCP shorter than a header.
    RtcpTruncated => "rtcp_truncated",
    /// RTCP of another version than 2.
    RtcpVersion => "rtcp_version",
    /// A compound with a packet type outside 192 to 223.
    RtcpPacketType => "rtcp_packet_type",
    /// RTCP whose length runs beyond the end.
    RtcpLength => "rtcp_length",
    /// RTCP too short for its contents.
    RtcpContents => "rtcp_contents",
    /// RTCP whose padding does not fit.
    RtcpPadding => "rtcp_padding",
    /// RTP that came to the RTCP port.
    RtpOnRtcpPort => "rtp_on_rtcp_port",
    /// RTCP on the RTP port of a party that does not multiplex (RFC 5761).
    RtcpNotMuxed => "rtcp_not_muxed",
    /// From another source than the one that is locked.
    SourceLocked => "source_locked",
    /// From a source that the latching policy does not allow.
    SourceRefused => "source_refused",
    /// From a source that may be learned and has not sent enough yet.
    SourceLearning => "source_learning",
    /// From a source that could be learned, with a payload type that the line does not have.
    PayloadType => "payload_type",
    /// RTCP from elsewhere than the party.
    RtcpSource => "rtcp_source",
    /// RTP from a party that said that it would not send (`recvonly`, `inactive`).
    PartyNotSending => "party_not_sending",
    /// RTP for a party that does not want any (`sendonly`, `inactive`, on hold).
    PeerNotReceiving => "peer_not_receiving",
    /// The other party has not said where it wants media, and nothing was learned.
    NoDestination => "no_destination",
    /// SRTP or SRTCP of a party, or for one, whose key is not known yet.
    NoKey => "no_key",
    /// SRTP or SRTCP whose tag is wrong: forged, changed, or in clear.
    SrtpAuthentication => "srtp_authentication",
    /// SRTP or SRTCP that came before, or is older than the replay window.
    SrtpReplayed => "srtp_replayed",
    /// SRTP or SRTCP too short for its tag, with an unknown MKI, or not encrypted.
    SrtpMalformed => "srtp_malformed",
    /// Under a key that has protected all that it may.
    SrtpLifetime => "srtp_lifetime",
    /// Of one more SSRC than the line keeps indexes of.
    SrtpStreams => "srtp_streams",
    /// No room in the packet for what encryption adds.
    SrtpRoom => "srtp_room",
    /// STUN or DTLS beyond what a line may have in a second.
    SetupRate => "setup_rate",
    /// STUN or DTLS longer than [`crate::SETUP_DATAGRAM_MAX`].
    SetupTooLong => "setup_too_long",
    /// STUN or DTLS that found no place in the queue of whoever sets lines up.
    SetupQueue => "setup_queue",
    /// STUN that is no well-formed message of a check.
    StunMalformed => "stun_malformed",
    /// STUN for another agent.
    StunStranger => "stun_stranger",
    /// STUN whose integrity is not proven by the password.
    StunIntegrity => "stun_integrity",
    /// STUN from yet another address of a party that has shown too many.
    StunTooManySources => "stun_too_many_sources",
    /// STUN that answers no check of ours.
    StunUnasked => "stun_unasked",
    /// DTLS from elsewhere than the party, or from more places than may try.
    DtlsSource => "dtls_source",
    /// DTLS whose record says that it is longer than its datagram.
    DtlsTruncated => "dtls_truncated",
    /// DTLS whose record is longer than any may be.
    DtlsOversized => "dtls_oversized",
    /// An alert in clear, which anybody can send.
    DtlsAlert => "dtls_alert",
    /// DTLS that belongs to no handshake: none has begun, or it is over.
    DtlsStray => "dtls_stray",
    /// DTLS of a handshake that showed another certificate than the description names.
    DtlsFingerprint => "dtls_fingerprint",
    /// DTLS that would begin one handshake more than the node makes at once.
    DtlsLimit => "dtls_limit",
    /// DTLS that would begin one handshake more than an address may in a second.
    DtlsSourceRate => "dtls_source_rate",
    // What the kernel path refuses beyond that.
    /// Shorter than the flow takes.
    TooShort => "too_short",
    /// Longer than the flow takes.
    TooLong => "too_long",
    /// UDP over IPv6 without a checksum (RFC 8200 §8.1).
    UdpChecksumZero => "udp_checksum_zero",
    /// UDP over IPv4 without a checksum that would leave over IPv6.
    UdpChecksumAbsent => "udp_checksum_absent",
    /// The hop limit is used up.
    HopLimit => "hop_limit",
    /// The kernel has no route to the destination.
    NoRoute => "no_route",
    /// The next hop's link-layer address is not known.
    NoNeighbour => "no_neighbour",
    /// Larger than the next link takes.
    Mtu => "mtu",
    /// More packets a second than the flow may have.
    PacketRate => "packet_rate",
    /// More bytes a second than the flow may have.
    ByteRate => "byte_rate",
    /// The frame has no room for the new headers.
    Headroom => "headroom",
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason to drop what is neither RTP nor RTCP; `None` for those two.
    pub(crate) const fn of_class(class: Class) -> Option<Self> {
        match class {
            Class::Stun => Some(Self::Stun),
            Class::Zrtp => Some(Self::Zrtp),
            Class::Dtls => Some(Self::Dtls),
            Class::TurnChannel => Some(Self::TurnChannel),
            Class::Unknown => Some(Self::NotMedia),
            Class::Rtp | Class::Rtcp => None,
        }
    }
}

impl From<PacketError> for DropReason {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Truncated => Self::RtpTruncated,
            PacketError::Version => Self::RtpVersion,
            PacketError::Extension => Self::RtpExtension,
            PacketError::Padding => Self::RtpPadding,
        }
    }
}

impl From<srtp::Error> for DropReason {
    fn from(error: srtp::Error) -> Self {
        match error {
            srtp::Error::AuthenticationFailed => Self::SrtpAuthentication,
            srtp::Error::Replayed | srtp::Error::TooOld => Self::SrtpReplayed,
            srtp::Error::TooShort
            | srtp::Error::Version
            | srtp::Error::UnknownMki
            | srtp::Error::NotEncrypted => Self::SrtpMalformed,
            srtp::Error::KeyExpired | srtp::Error::IndexExhausted => Self::SrtpLifetime,
            srtp::Error::TooManySsrcs => Self::SrtpStreams,
            srtp::Error::NoRoom => Self::SrtpRoom,
        }
    }
}

impl From<RtcpError> for DropReason {
    fn from(error: RtcpError) -> Self {
        match error {
            RtcpError::Truncated => Self::RtcpTruncated,
            RtcpError::Version => Self::RtcpVersion,
            RtcpError::PacketType => Self::RtcpPacketType,
            RtcpError::Length => Self::RtcpLength,
            RtcpError::Contents => Self::RtcpContents,
            RtcpError::Padding => Self::RtcpPadding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_list_and_labels_are_distinct() {
        let mut labels = Vec::new();
        for (number, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            labels.push(reason.reason());
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
    }

    #[test]
    fn parse_errors_keep_their_labels() {
        use rtp::{PacketError as P, rtcp::RtcpError as R};
        for error in [P::Truncated, P::Version, P::Extension, P::Padding] {
            assert_eq!(DropReason::from(error).reason(), error.reason());
        }
        for error in [
            R::Truncated,
            R::Version,
            R::PacketType,
            R::Length,
            R::Contents,
            R::Padding,
        ] {
            assert_eq!(DropReason::from(error).reason(), error.reason());
        }
    }
}
