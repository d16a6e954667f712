/// Declares the reasons with their numbers in `enum ringpath_reason` and their labels.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// Why a packet was not forwarded in the kernel. In the order of `enum ringpath_reason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
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
    /// Not IPv4 or IPv6, or more than two VLAN tags.
    NotIp => "not_ip",
    /// Another protocol than UDP.
    NotUdp => "not_udp",
    /// An IP header that is cut short or contradicts itself.
    IpHeader => "ip_header",
    /// IPv4 options.
    IpOptions => "ip_options",
    /// A fragment, of either version.
    IpFragment => "ip_fragment",
    /// An IPv6 extension header.
    IpExtension => "ip_extension",
    /// A wrong IPv4 header checksum.
    IpChecksum => "ip_checksum",
    /// A UDP header that is cut short or another length than IP's.
    UdpLength => "udp_length",
    /// Not for the relay.
    NotOurs => "not_ours",
    /// A port of the relay that no flow has.
    UnownedPort => "unowned_port",
    /// A port whose packets user space takes.
    UserSpace => "user_space",
    /// From another source than the verified one, or of the other IP version.
    Source => "source",
    /// A payload below the flow's minimum.
    TooShort => "too_short",
    /// A payload above the flow's maximum.
    TooLong => "too_long",
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
    /// RTCP whose first packet runs beyond the end.
    RtcpLength => "rtcp_length",
    /// RTP that came to an RTCP port.
    RtpOnRtcpPort => "rtp_on_rtcp_port",
    /// RTCP on the RTP port of a party that does not multiplex (RFC 5761).
    RtcpNotMuxed => "rtcp_not_muxed",
    /// A payload type that the flow does not have.
    PayloadType => "payload_type",
    /// UDP over IPv6 without a checksum (RFC 8200 §8.1).
    UdpChecksumZero => "udp_checksum_zero",
    /// UDP over IPv4 without a checksum that would leave over IPv6.
    UdpChecksumAbsent => "udp_checksum_absent",
    /// The hop limit is used up.
    HopLimit => "hop_limit",
    /// The routing table has no way, and the flow has no neighbour.
    NoRoute => "no_route",
    /// The next hop's link-layer address is not known.
    NoNeighbour => "no_neighbour",
    /// Larger than the next link takes.
    Mtu => "mtu",
    /// The flow's packet bucket is empty.
    PacketRate => "packet_rate",
    /// The flow's byte bucket is empty.
    ByteRate => "byte_rate",
    /// The frame has no room for the new headers. Counted among the forwarded as well.
    Headroom => "headroom",
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in the arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a flow counts it too, and says whether such packets go up.
    pub const fn is_of_flow(self) -> bool {
        self as u32 >= Self::Source as u32
    }
}

const _: () = assert!(Reason::COUNT <= crate::layout::REASONS);

/// A set of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReasonSet(u64);

impl ReasonSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);
    /// What user space can do something with: sessions of other protocols on the port, and packets that need a
    /// route, a neighbour, fragments or a checksum made from the whole payload.
    pub const USER_SPACE_CAN: Self = Self::EMPTY
        .with(Reason::Stun)
        .with(Reason::Zrtp)
        .with(Reason::Dtls)
        .with(Reason::TurnChannel)
        .with(Reason::UdpChecksumAbsent)
        .with(Reason::NoRoute)
        .with(Reason::NoNeighbour)
        .with(Reason::Mtu);

    /// The set with `reason` as well.
    #[must_use]
    pub const fn with(self, reason: Reason) -> Self {
        Self(self.0 | 1 << reason as u32)
    }

    /// Whether it is in the set.
    pub const fn contains(self, reason: Reason) -> bool {
        self.0 >> reason as u32 & 1 == 1
    }

    /// One bit a reason, by its number.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_differ_and_a_set_holds_what_was_put_in() {
        let mut labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.reason()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reason::COUNT);
        let set = ReasonSet::EMPTY.with(Reason::NotIp).with(Reason::Headroom);
        let held: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| set.contains(**reason))
            .collect();
        assert_eq!(held, [&Reason::NotIp, &Reason::Headroom]);
    }
}
