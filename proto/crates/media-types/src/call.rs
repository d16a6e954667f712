use std::time::Duration;

use crate::{CallId, InterfaceName, LegId, LineSpec};

/// A call as the control plane wants it on a media node: two legs, and line *n* of one is relayed to line *n* of the
/// other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSpec {
    /// The call's name, unique on the node, and its correlation id.
    pub id: CallId,
    /// Exactly two legs today; conferences will have more.
    pub legs: Vec<LegSpec>,
    /// The call ends if its lease is not renewed for this long. Zero takes the node's default.
    pub lease: Duration,
    /// A media-timeout event is given when an enabled line that should carry media has been silent for this long.
    /// Zero takes the node's default.
    pub media_timeout: Duration,
}

/// One party's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegSpec {
    /// The leg's name within its call.
    pub id: LegId,
    /// The interface that faces the party; `None` takes the node's first of the right address family.
    pub interface: Option<InterfaceName>,
    /// Local addresses shall be IPv6. With an interface named, that interface must have such an address.
    pub ipv6: bool,
    /// Lines in the order of the session description.
    pub lines: Vec<LineSpec>,
}
