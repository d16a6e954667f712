use std::net::IpAddr;
use std::time::Duration;

use media_types::{InterfaceName, Path};

/// What an engine is told when it is made. Every limit of the engine is here.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The interfaces that parties are reached by, in order of preference.
    pub interfaces: Vec<Interface>,
    /// Calls at once; one more is refused with `NoCapacity`.
    pub calls_max: usize,
    /// Lease of a call that names none.
    pub lease_default: Duration,
    /// The longest lease that a call may ask for; a longer one is refused as invalid.
    pub lease_max: Duration,
    /// Media timeout of a call that names none. A node's configuration gives at least 100 ms.
    /// Zero, for users of the crate: no media timeouts unless a call asks for them.
    pub media_timeout_default: Duration,
    /// How long a port pair rests after its line is gone, so that packets still on their way to the old call do not
    /// reach a new one.
    pub quarantine: Duration,
    /// How a source is learned.
    pub learning: Learning,
    /// Limits that seldom need changing.
    pub limits: Limits,
    /// The path that packets take that the engine handles, for reports.
    pub path: Path,
    /// Why they take it, for people. Reports have it while `kernel` is off.
    pub path_reason: &'static str,
    /// Whether lines that are plain relays shall be forwarded by the table of flows.
    pub kernel: bool,
}

/// A named interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The name that [`media_types::LegSpec::interface`] asks for.
    pub name: InterfaceName,
    /// At most one of a family is used for a leg: the first.
    pub addresses: Vec<Address>,
    /// This worker's share of the RTP ports on each address. RTCP takes the port after; odd numbers, zero and
    /// repetitions are left out.
    pub ports: Vec<u16>,
}

/// An address that the node binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Bound.
    pub local: IpAddr,
    /// What parties are told to send to: another address behind 1:1 NAT, else the same.
    pub advertised: IpAddr,
}

/// How symmetric RTP learns a source other than the signalled one. The signalled address itself is taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    /// Consistent RTP packets from one source before it is locked: same SSRC, sequence numbers close to each other,
    /// a payload type of the line. 1 locks at the first.
    pub packets: u8,
    /// They must come within this time, else the source starts anew.
    pub window: Duration,
}

/// Limits that seldom need changing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Media lines of a leg; more are refused as invalid.
    pub lines_max: usize,
    /// Payload formats of a line; more are refused as invalid.
    pub codecs_max: usize,
    /// Streams (SSRCs) that a line keeps statistics of; a new one takes the place of the one silent for longest.
    pub streams_per_line_max: usize,
    /// SSRCs that a secured line keeps SRTP indexes of in each direction, 1 to 256; packets of further ones are dropped. None
    /// gives way to another: a sender that forgot one could use a keystream twice (RFC 3711 §9.1).
    pub srtp_ssrcs_per_line_max: usize,
    /// Keys that a secured line may have had in each direction; an update with another one is refused. None is forgotten, for the
    /// same reason.
    pub srtp_keys_per_line_max: usize,
    /// Datagrams of ICE and DTLS that a line takes in a second; more are dropped and counted.
    pub setup_datagrams_per_second_max: u32,
    /// Ports tried for one line when others hold them; then the answer is `NoPorts`.
    pub open_tries_max: usize,
    /// How long a port that another process holds is left alone.
    pub set_aside: Duration,
    /// Deleted calls whose last report is kept for a repeated delete; the oldest goes first.
    pub tombstones_max: usize,
    /// How long such a report is kept.
    pub tombstone_time: Duration,
    /// Events waiting to be polled; further ones are counted as missed.
    pub events_max: usize,
}

impl EngineConfig {
    /// The defaults of the node's configuration, on these interfaces.
    pub fn new(interfaces: Vec<Interface>, path: Path, path_reason: &'static str) -> Self {
        Self {
            interfaces,
            calls_max: 10_000,
            lease_default: Duration::from_secs(60),
            lease_max: Duration::from_secs(3_600),
            media_timeout_default: Duration::from_secs(30),
            quarantine: Duration::from_secs(5),
            learning: Learning::default(),
            limits: Limits::default(),
            path,
            path_reason,
            kernel: false,
        }
    }
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            packets: 3,
            window: Duration::from_secs(2),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lines_max: 8,
            codecs_max: 32,
            streams_per_line_max: 4,
            srtp_ssrcs_per_line_max: 16,
            srtp_keys_per_line_max: 256,
            setup_datagrams_per_second_max: 200,
            open_tries_max: 16,
            set_aside: Duration::from_secs(60),
            tombstones_max: 1_024,
            tombstone_time: Duration::from_secs(60),
            events_max: 1_024,
        }
    }
}
