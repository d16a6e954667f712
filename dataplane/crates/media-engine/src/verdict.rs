use std::net::SocketAddr;

use crate::{DropReason, PortId, SetupId};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It leaves from `port` to `to`.
    Forward {
        /// The local port that it leaves from.
        port: PortId,
        /// Where it goes.
        to: SocketAddr,
        /// Its bytes, from the beginning of the buffer: as it came, unless it was or is to be encrypted.
        len: usize,
    },
    /// It is for whoever sets this line up: a copy goes there, and it is freed.
    SetUp(SetupId),
    /// It is freed; the engine has counted why.
    Drop(DropReason),
}
