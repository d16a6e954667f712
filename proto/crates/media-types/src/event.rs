use crate::{CallId, LegId};

/// Why the node ended a call that it was not asked to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// The lease was not renewed in time.
    LeaseExpired,
    /// The node is stopping.
    Shutdown,
}

/// Something that a media node tells without having been asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The call that it is about.
    pub call: CallId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The first valid RTP packet of a line arrived.
    FirstPacket {
        /// The leg whose party sent it.
        leg: LegId,
        /// The line's place in the description, from 0.
        line: usize,
    },
    /// A source was learned and is locked.
    Latched {
        /// The leg whose party it is.
        leg: LegId,
        /// The line's place, from 0.
        line: usize,
        /// The source.
        source: std::net::SocketAddr,
    },
    /// A line that should carry media has been silent for the call's media timeout. Given once until media resumes.
    MediaTimeout {
        /// The leg whose party is silent.
        leg: LegId,
        /// The line's place, from 0.
        line: usize,
    },
    /// A line's handshake, or its search for a pair of addresses, came to nothing, or its party is silent (RFC 7675): nothing
    /// passes, but for the last.
    SetupFailed {
        /// The leg whose party it is.
        leg: LegId,
        /// The line's place, from 0.
        line: usize,
        /// The label of why.
        reason: &'static str,
    },
    /// The call is gone, and its ports with it.
    Ended {
        /// Why.
        cause: EndCause,
        /// Its last statistics.
        report: Box<crate::CallReport>,
    },
}
