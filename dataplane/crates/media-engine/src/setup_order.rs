//! What an engine and whoever sets its lines up (ICE, DTLS) say to each other. Both go on at their own pace: an identity is
//! never used again, so that news of a line that is gone find nothing.

use std::net::SocketAddr;

use media_types::{DtlsSpec, IceSpec, Latching, SrtpSpec};

use crate::DropReason;

/// Bytes of the largest datagram of ICE or DTLS that is taken; records and checks are made to fit an Ethernet frame.
pub const SETUP_DATAGRAM_MAX: usize = 1_500;

/// A line of one engine whose addresses, or whose keys, are to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetupId(pub u64);

/// What the engine asks for.
#[derive(Debug)]
pub enum SetupOrder {
    /// Set the line up by these terms from now on.
    Set(SetupId, Box<SetupTerms>),
    /// It is gone, or needs no setting up any more.
    End(SetupId),
    /// The keys of its latest handshake are of no use to it: that counts as one that came to nothing.
    Discard(SetupId),
}

/// How a line is to be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupTerms {
    /// The bound address of its RTP port.
    pub local: SocketAddr,
    /// Where the party's description has it. Nothing with ICE, which finds out.
    pub remote: Option<SocketAddr>,
    /// From where else a handshake may come. Nothing with ICE.
    pub latching: Latching,
    /// Its handshake.
    pub dtls: Option<DtlsSpec>,
    /// Its search for addresses.
    pub ice: Option<IceSpec>,
    /// What an earlier process had come to.
    pub reached: SetupState,
    /// Which search and which handshake this is.
    pub rounds: SetupRounds,
}

/// How often a line's search, and its handshake, have begun anew: what is told of an earlier one comes too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetupRounds {
    /// Searches by ICE before this one.
    pub search: u32,
    /// Handshakes before this one.
    pub handshake: u32,
}

/// What has become of a line.
#[derive(Debug)]
pub struct SetupReport {
    /// In which search and handshake.
    pub rounds: SetupRounds,
    /// What it is.
    pub news: SetupNews,
}

/// How far a line has come, for the next process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetupState {
    /// The party's address of the pair that ICE has selected.
    pub selected: Option<SocketAddr>,
    /// The handshake is done, and its keys are in use.
    pub connected: bool,
}

/// What there is to tell of a line.
#[derive(Debug)]
pub enum SetupNews {
    /// Media takes this address of the party.
    Selected(SocketAddr),
    /// There is no address to send to; the label of why.
    Unreachable(&'static str),
    /// The party no longer says that it wants media, which goes on.
    Silent(&'static str),
    /// A handshake has begun.
    Handshaking,
    /// The handshake is done, the party is who its description says.
    Secured {
        /// What both protect with.
        keys: SrtpSpec,
        /// Such as `DTLS 1.2`.
        version: &'static str,
        /// The party that has proven itself.
        remote: SocketAddr,
    },
    /// The handshake came to nothing; the label of why.
    Failed(&'static str),
    /// A datagram was not taken, and has changed nothing.
    Refused(DropReason),
}
