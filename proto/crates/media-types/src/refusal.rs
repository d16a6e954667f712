/// Why a media node did not do what it was asked. Each has a label for metrics and one mapping to a gRPC status in
/// `proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No free port pair on the interface that was asked for.
    #[error("no free port pair on the interface")]
    NoPorts,
    /// The node, or the worker that would own the call, has its configured number of calls.
    #[error("the node has as many calls as it is configured for")]
    NoCapacity,
    /// The worker's command ring is full: it is overloaded.
    #[error("the worker cannot take a command now")]
    Busy,
    /// The node is being drained and takes no new calls.
    #[error("the node is draining")]
    Draining,
    /// No call of this name.
    #[error("no such call")]
    UnknownCall,
    /// The call exists and was made with another idempotency key.
    #[error("a call of this name exists")]
    CallExists,
    /// No interface of this name, or none with an address of the family that was asked for.
    #[error("no such interface, or no address of this family on it")]
    UnknownInterface,
    /// The call has no leg of this name.
    #[error("no such leg")]
    UnknownLeg,
    /// The specification contradicts itself or exceeds a limit; the text says where.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Refusal {
    /// The label of the refusal counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoPorts => "no_ports",
            Self::NoCapacity => "no_capacity",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::UnknownCall => "unknown_call",
            Self::CallExists => "call_exists",
            Self::UnknownInterface => "unknown_interface",
            Self::UnknownLeg => "unknown_leg",
            Self::Invalid(_) => "invalid",
        }
    }

    /// Whether another node, or the same one later, may do what this one refused.
    pub const fn is_capacity(self) -> bool {
        matches!(
            self,
            Self::NoPorts | Self::NoCapacity | Self::Busy | Self::Draining
        )
    }
}
