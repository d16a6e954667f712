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
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP (RFC 7118). A client alone can begin a connection.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether the transport delivers by itself, so that timers A, E and G do not run (RFC 3261 §17.1.1.2).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether nobody on the way can read what it carries.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The name in a `Via` header field, such as `UDP`.
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Whether it is WebSocket: whoever is behind it is reached over the connection that it has made, and in no other way
    /// (RFC 7118 §5).
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The value of a URI's `transport` parameter, such as `tcp`; that of WebSocket says nothing of TLS (RFC 7118 §5.2.3).
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }

    /// The transport that a URI's `transport` parameter names (RFC 3261 §19.1.1), without case. `tls` is what peers write,
    /// though the RFC would have a `sips:` URI. `None` for one that we do not speak.
    pub fn of_uri_param(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|transport| transport.via_name().eq_ignore_ascii_case(name))
    }

    /// The port of a URI or a sent-by without one (RFC 3261 §18.2.2, §19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Tls => 5061,
            Self::Udp | Self::Tcp => 5060,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// A listener or one of its connections, which messages come and go through. Numbered by the transport, never used
/// again within a process.
///
/// The upper 16 bits are the place of the listener among [`crate::transaction::Config::listeners`]; the lower 48 are the
/// number of a connection that it accepted or that was made from its address, 0 for the listener itself. Of those the
/// upper half are the peers that have to prove a name. At 100,000 connections a second the rest lasts 44 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

impl FlowId {
    const CONNECTION_BITS: u32 = 48;
    const PEER: u64 = 1 << (Self::CONNECTION_BITS - 1);

    /// The listener at that place: to a UDP peer its socket, to others any connection with the peer that belongs to it.
    pub const fn of_listener(place: u16) -> Self {
        Self((place as u64) << Self::CONNECTION_BITS)
    }

    /// A connection of the listener at that place. Of `number` only the lower 47 bits count.
    pub const fn of_connection(place: u16, number: u64) -> Self {
        Self(Self::of_listener(place).0 | (number & (Self::PEER - 1)))
    }

    /// Any connection of the listener at that place whose peer has proven the name with that number: a domain of ours to
    /// reach over TLS may share its address with others (RFC 5922 §7.3).
    pub const fn of_peer(place: u16, name: u32) -> Self {
        Self(Self::of_listener(place).0 | Self::PEER | name as u64)
    }

    /// The number of the name that the peer has to prove.
    pub const fn peer(self) -> Option<u32> {
        match self.0 & Self::PEER {
            0 => None,
            _ => Some(self.0 as u32),
        }
    }

    /// The place of the listener.
    pub const fn listener(self) -> usize {
        (self.0 >> Self::CONNECTION_BITS) as usize
    }

    /// Whether this is one connection and not a listener.
    pub const fn is_connection(self) -> bool {
        self.peer().is_none() && self.0 & (Self::PEER - 1) != 0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_tells_its_listener_and_its_kind() {
        for place in [0, 1, u16::MAX] {
            let flows = [
                FlowId::of_listener(place),
                FlowId::of_connection(place, 1),
                FlowId::of_connection(place, u64::MAX),
                FlowId::of_peer(place, 0),
                FlowId::of_peer(place, u32::MAX),
            ];
            let told = flows.map(|flow| (flow.listener(), flow.is_connection(), flow.peer()));
            let place = usize::from(place);
            assert_eq!(
                told,
                [
                    (place, false, None),
                    (place, true, None),
                    (place, true, None),
                    (place, false, Some(0)),
                    (place, false, Some(u32::MAX)),
                ]
            );
        }
    }

    #[test]
    fn a_transport_is_found_by_its_parameter() {
        assert_eq!(Transport::of_uri_param("tLs"), Some(Transport::Tls));
        assert_eq!(Transport::of_uri_param("udp"), Some(Transport::Udp));
        assert_eq!(Transport::of_uri_param("sctp"), None);
    }
}
