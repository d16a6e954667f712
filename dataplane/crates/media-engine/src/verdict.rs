use std::net::SocketAddr;

use crate::{DropReason, PortId};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It leaves unchanged from `port` to `to`.
    Forward {
        /// The local port that it leaves from.
        port: PortId,
        /// Where it goes.
        to: SocketAddr,
    },
    /// It is freed; the engine has counted why.
    Drop(DropReason),
}
