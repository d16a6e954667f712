use std::net::SocketAddr;

use bytes::Bytes;

/// A transport protocol as `Via` names it (RFC 3261 §18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    /// Whether the transport delivers by itself, so that timers A, E and G do not run (RFC 3261 §17.1.1.2).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// The name in a `Via` header field, such as `UDP`.
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// A listening socket (UDP) or a connection (TCP) that messages come and go through. Numbered by the transport,
/// never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The protocol.
    pub transport: Transport,
    /// The socket or connection.
    pub flow: FlowId,
    /// The sender.
    pub remote: SocketAddr,
    /// Our address that it was sent to.
    pub local: SocketAddr,
}

/// Where a message shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The protocol.
    pub transport: Transport,
    /// The receiver.
    pub remote: SocketAddr,
    /// The socket or connection to use while it exists: responses return on the connection of their request
    /// (RFC 3261 §18.2.2). Without it, or when it is gone, the transport chooses or connects.
    pub flow: Option<FlowId>,
}

impl From<Source> for Destination {
    fn from(source: Source) -> Self {
        Self {
            transport: source.transport,
            remote: source.remote,
            flow: Some(source.flow),
        }
    }
}

/// A message to be sent: the whole wire image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: Destination,
    /// What.
    pub bytes: Bytes,
}
