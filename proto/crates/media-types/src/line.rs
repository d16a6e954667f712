use std::net::SocketAddr;

use crate::{Codec, DtlsSpec, IceSpec, SrtpSpec};

/// What a media line carries: the `<media>` of an `m=` line (RFC 8866 §5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// Anything else that runs over RTP.
    Other,
}

/// Which way media flows, from the view of the *party* at the far end of the leg: the attribute in the SDP that this
/// party sent (RFC 3264 §5.1). A party that is `SendOnly` sends to us and wants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// The party sends and receives.
    #[default]
    SendRecv,
    /// The party sends only.
    SendOnly,
    /// The party receives only.
    RecvOnly,
    /// Neither; RTCP still flows.
    Inactive,
}

impl Direction {
    /// Whether the party may send RTP to us.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the party wants RTP from us.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// Which source address a media line learns (symmetric RTP, RFC 4961 and RFC 7362), before it locks on it.
///
/// Whatever the policy, the learned source stays until a new offer/answer changes the remote address or asks for
/// `relearn`; packets from elsewhere are dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Latching {
    /// Only the signalled address and port are accepted.
    Off,
    /// The signalled IP address with any port: a NAT that keeps the address. The default.
    #[default]
    SameAddress,
    /// Any address, learned from the first valid packets in the learning window: a party behind NAT. For parties
    /// that are known to need it.
    AnyAddress,
}

/// One media line of one leg, as the control plane wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSpec {
    /// What it carries.
    pub kind: MediaKind,
    /// False for a line that was rejected or disabled (port 0, RFC 3264 §6): it keeps its place, has no ports and
    /// forwards nothing.
    pub enabled: bool,
    /// The party's direction.
    pub direction: Direction,
    /// Where the party wants RTP; `None` until it has said so.
    pub remote: Option<SocketAddr>,
    /// Where the party wants RTCP, if that is neither the next port nor the RTP port (RFC 3605).
    pub remote_rtcp: Option<SocketAddr>,
    /// RTP and RTCP share the RTP port with this party (RFC 5761).
    pub rtcp_mux: bool,
    /// Which source address is learned.
    pub latching: Latching,
    /// Forget the learned source and learn again. An update without it keeps the lock unless `remote` changed.
    pub relearn: bool,
    /// The payload formats agreed, or offered until an answer has come. The first gives the clock rate of payload
    /// types that are not listed.
    pub codecs: Vec<Codec>,
    /// SRTP between node and party with keys that were signalled; `None` for RTP in clear, or with DTLS.
    pub srtp: Option<SrtpSpec>,
    /// SRTP between node and party with keys of a handshake. Not beside `srtp`, and with `rtcp_mux` alone.
    pub dtls: Option<Box<DtlsSpec>>,
    /// ICE between node and party; with `rtcp_mux` alone.
    pub ice: Option<Box<IceSpec>>,
}
