use std::net::SocketAddr;
use std::time::Duration;

use crate::{CallId, DtlsReport, IceReport, LegId, SrtpSuite};

/// What the node says of a call: its local addresses, what was learned, and the statistics so far.
#[derive(Clone, Debug, PartialEq)]
pub struct CallReport {
    /// The call.
    pub id: CallId,
    /// How long the call has existed on the node.
    pub age: Duration,
    /// What remains of the lease.
    pub lease_left: Duration,
    /// In the order of the specification.
    pub legs: Vec<LegReport>,
}

/// One leg of a [`CallReport`].
#[derive(Clone, Debug, PartialEq)]
pub struct LegReport {
    /// The leg.
    pub id: LegId,
    /// In the order of the specification.
    pub lines: Vec<LineReport>,
}

/// The addresses that a party shall send to, as advertised (behind 1:1 NAT they are not the bound ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalLine {
    /// For RTP; the port is even.
    pub rtp: SocketAddr,
    /// For RTCP: the next port, or the RTP port when the two are multiplexed.
    pub rtcp: SocketAddr,
}

/// Which way packets of a flow take through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// The kernel forwards them itself (XDP).
    Kernel,
    /// AF_XDP sockets.
    Xsk,
    /// io_uring.
    Uring,
    /// recvmmsg and sendmmsg.
    Socket,
    /// A simulated network, in tests.
    Simulated,
}

/// One media line of a [`LegReport`].
#[derive(Clone, Debug, PartialEq)]
pub struct LineReport {
    /// `None` for a disabled line.
    pub local: Option<LocalLine>,
    /// The source that RTP was learned from and is locked on.
    pub learned: Option<SocketAddr>,
    /// The path that this line's RTP takes.
    pub path: Path,
    /// Why they take this path, for people.
    pub path_reason: &'static str,
    /// The same of RTCP; `None` where it has no port of its own and goes with RTP.
    pub rtcp_path: Option<(Path, &'static str)>,
    /// Packets that came in on this line and were dropped, by the label of the reason.
    pub drops: Vec<(&'static str, u64)>,
    /// RTCP packets (datagrams) that came in and were forwarded.
    pub rtcp_forwarded: u64,
    /// The streams that came in from the party, oldest first.
    pub streams: Vec<StreamReport>,
    /// The suites of a line that is secured; `None` for one in clear.
    pub srtp: Option<SrtpReport>,
    /// Its handshake; `None` for a line without one.
    pub dtls: Option<DtlsReport>,
    /// Its search for a pair of addresses; `None` for a line without ICE.
    pub ice: Option<IceReport>,
}

/// What protects the packets of a secured line: no key is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SrtpReport {
    /// What the party protects with; `None` while its key is not known.
    pub receive: Option<SrtpSuite>,
    /// What the node protects with; `None` while that is not agreed.
    pub send: Option<SrtpSuite>,
}

/// RFC 3550 statistics of one stream (one SSRC in one direction) as received by the node from the party.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StreamReport {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload type of the latest packet.
    pub payload_type: u8,
    /// Packets received, duplicates included.
    pub packets: u64,
    /// Bytes of RTP received, headers included, UDP and IP excluded.
    pub bytes: u64,
    /// Packets expected less distinct packets received (RFC 3550 §A.3), never below zero.
    pub lost: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets whose sequence number had been received already.
    pub duplicates: u64,
    /// Interarrival jitter in microseconds (RFC 3550 §A.8, converted by the clock rate).
    pub jitter_us: u32,
    /// The highest jitter seen, in microseconds.
    pub jitter_us_max: u32,
    /// Time since the stream's latest packet.
    pub idle: Duration,
    /// Estimated mean opinion score × 100 (ITU-T G.107 from loss, delay and codec); 0 when not yet known.
    pub mos_x100: u16,
    /// The same for the latest whole second alone; 0 when nothing came in it.
    pub mos_x100_second: u16,
    /// Losses in bursts and between them.
    pub bursts: BurstReport,
}

/// Bursts and gaps of loss (RFC 3611 §4.7.2, Gmin 16). A late packet counts as lost here, as for a player that doesn't
/// wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BurstReport {
    /// Bursts that have ended.
    pub bursts: u32,
    /// Packets lost of a thousand within bursts.
    pub burst_loss_permille: u16,
    /// Packets lost of a thousand within gaps.
    pub gap_loss_permille: u16,
    /// Mean length of a burst, in packets.
    pub burst_packets: u32,
    /// Mean length of a gap, in packets.
    pub gap_packets: u32,
}
