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

/// A listener or one of its connections, which messages come and go through. Numbered by the transport, never used
/// again within a process.
///
/// The upper 16 bits are the place of the listener among [`crate::transaction::Config::listeners`]; the lower 48 are the
/// number of a connection that it accepted or that was made from its address, 0 for the listener itself. At 100,000
/// connections a second they last 89 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

impl FlowId {
    const CONNECTION_BITS: u32 = 48;

    /// The listener at that place: to a UDP peer its socket, to others any connection with the peer that belongs to it.
    pub const fn of_listener(place: u16) -> Self {
        Self((place as u64) << Self::CONNECTION_BITS)
    }

    /// A connection of the listener at that place. Of `number` only the lower 48 bits count.
    pub const fn of_connection(place: u16, number: u64) -> Self {
        Self(Self::of_listener(place).0 | (number & ((1 << Self::CONNECTION_BITS) - 1)))
    }

    /// The place of the listener.
    pub const fn listener(self) -> usize {
        (self.0 >> Self::CONNECTION_BITS) as usize
    }

    /// Whether this is one connection and not a listener.
    pub const fn is_connection(self) -> bool {
        self.0 & ((1 << Self::CONNECTION_BITS) - 1) != 0
    }
}

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
    /// The listener or connection to use while it exists: responses return on the connection of their request
    /// (RFC 3261 §18.2.2). When a connection is gone, another of its listener is used or made; without a flow the
    /// listener is the first of the protocol and the address family.
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
