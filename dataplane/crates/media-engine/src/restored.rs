use std::net::SocketAddr;
use std::time::Duration;

use media_types::{CallId, IdempotencyKey, LegSpec};

use crate::{Drops, SecurityState, SetupState, StreamState};

/// A call of an earlier process, for [`crate::Engine::restore`].
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its name.
    pub id: CallId,
    /// What its control plane said of the legs last. `interface` is looked at for legs without an enabled line only.
    pub legs: [LegSpec; 2],
    /// What was learned and counted.
    pub state: CallState,
}

/// What a call has beyond its description: what [`crate::Engine::state`] says and [`crate::Engine::restore`] takes.
/// Timestamps in it are of a clock that goes on over processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallState {
    /// The key that it was made with.
    pub created_with: IdempotencyKey,
    /// The key of its latest update.
    pub updated_with: Option<IdempotencyKey>,
    /// How long it has existed.
    pub age: Duration,
    /// What its lease is renewed for.
    pub lease: Duration,
    /// What is left of it; more than all of it counts as all of it.
    pub lease_left: Duration,
    /// Silence after which a line is told of; zero: never.
    pub media_timeout: Duration,
    /// The lines of each leg, in the order of the description.
    pub lines: [Vec<LineState>; 2],
}

/// What a line has beyond its description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineState {
    /// The bound address of its RTP port; that of RTCP, unless they share it, is the next. `None` for a disabled line.
    pub local: Option<SocketAddr>,
    /// Where the party wants RTP. Not what the description says while the party holds with an unspecified address.
    pub signalled: Option<SocketAddr>,
    /// The source that RTP is locked on.
    pub source: Option<SocketAddr>,
    /// The source that RTCP is locked on, when it has a port of its own.
    pub rtcp_source: Option<SocketAddr>,
    /// Whether its first packet has been told of.
    pub has_received: bool,
    /// RTCP datagrams forwarded in user space, and by flows that are gone.
    pub rtcp_forwarded: u64,
    /// Packets dropped in user space, and by flows that are gone.
    pub drops: Drops,
    /// The streams, oldest first. Those of a flow that is still in the kernel's table are taken from there.
    pub streams: Vec<StreamState>,
    /// Of a line that is or was secured.
    pub security: Option<SecurityState>,
    /// How far the setting up of a line with DTLS or ICE was.
    pub setup: SetupState,
}
