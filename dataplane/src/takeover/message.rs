//! What two processes of a node say to each other.

use prost::{Message, Oneof};

use super::state::Lines;

/// Of the protocol. A process that is asked by another version refuses.
pub const VERSION: u32 = 3;

/// What the process that takes over says.
#[derive(Clone, PartialEq, Message)]
pub struct Ask {
    #[prost(oneof = "AskKind", tags = "1, 2, 3")]
    pub kind: Option<AskKind>,
}

/// Its steps.
#[derive(Clone, PartialEq, Oneof)]
pub enum AskKind {
    /// Who it is.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// It is ready: stop, and send the calls.
    #[prost(message, tag = "2")]
    Begin(Begin),
    /// It has them all.
    #[prost(message, tag = "3")]
    Taken(Taken),
}

#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(uint32, tag = "2")]
    pub process: u32,
    /// Of the binary.
    #[prost(string, tag = "3")]
    pub build: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Begin {}

#[derive(Clone, PartialEq, Message)]
pub struct Taken {
    #[prost(uint64, tag = "1")]
    pub calls: u64,
}

/// What the process that is replaced says.
#[derive(Clone, PartialEq, Message)]
pub struct Tell {
    #[prost(oneof = "TellKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<TellKind>,
}

/// Its steps.
#[derive(Clone, PartialEq, Oneof)]
pub enum TellKind {
    /// Who it is. With descriptors: the lock of the state directory, the listeners of gRPC and of operators, the
    /// lock of the pins if there are any.
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    /// It does not hand over.
    #[prost(string, tag = "2")]
    Refused(String),
    /// The sockets that all ports of a worker share, one message a worker. With descriptors: IPv4, IPv6, exits.
    #[prost(message, tag = "3")]
    Shared(Shared),
    /// A call. With descriptors: its sockets, when its ports have their own.
    #[prost(message, tag = "4")]
    Call(Call),
    /// There are no more.
    #[prost(message, tag = "5")]
    End(End),
    /// It has let go for good.
    #[prost(message, tag = "6")]
    Done(Done),
}

#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    #[prost(uint32, tag = "1")]
    pub process: u32,
    #[prost(string, tag = "2")]
    pub build: String,
    #[prost(uint32, tag = "3")]
    pub workers: u32,
    /// Whether each worker has shared sockets, which [`Shared`] gives.
    #[prost(bool, tag = "4")]
    pub steers: bool,
    /// Whether there is a lock of pinned kernel flows.
    #[prost(bool, tag = "5")]
    pub pins: bool,
    /// The certificate of handshakes, in DER.
    #[prost(bytes = "vec", tag = "6")]
    pub dtls_certificate: Vec<u8>,
    /// Its key, in DER (PKCS #8).
    #[prost(bytes = "vec", tag = "7")]
    pub dtls_key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Shared {
    #[prost(bool, tag = "1")]
    pub v4: bool,
    #[prost(bool, tag = "2")]
    pub v6: bool,
    /// Addresses of the exits.
    #[prost(string, repeated, tag = "3")]
    pub exits: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Call {
    /// As the journal has it.
    #[prost(bytes = "vec", tag = "1")]
    pub record: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub lines: Option<Lines>,
    /// Addresses of the sockets.
    #[prost(string, repeated, tag = "3")]
    pub sockets: Vec<String>,
    #[prost(uint64, tag = "4")]
    pub lease_left_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct End {
    #[prost(uint64, tag = "1")]
    pub calls: u64,
    /// When receiving stopped, on the machine's monotonic clock.
    #[prost(uint64, tag = "2")]
    pub stopped_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Done {}

impl From<AskKind> for Ask {
    fn from(kind: AskKind) -> Self {
        Self { kind: Some(kind) }
    }
}

impl From<TellKind> for Tell {
    fn from(kind: TellKind) -> Self {
        Self { kind: Some(kind) }
    }
}
