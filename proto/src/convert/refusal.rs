use media_types::Refusal;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::label::label;

/// The metadata key whose value is the label ([`Refusal::reason`]) of the refusal, for programs.
pub const REFUSAL_METADATA: &str = "ringpath-refusal";

/// The gRPC status of a refusal: the one place where a code is chosen. The text is for people, the label in
/// [`REFUSAL_METADATA`] for programs.
pub fn refusal_to_status(refusal: Refusal) -> Status {
    let code = match refusal {
        Refusal::NoPorts | Refusal::NoCapacity => Code::ResourceExhausted,
        Refusal::Busy | Refusal::Draining => Code::Unavailable,
        Refusal::UnknownCall => Code::NotFound,
        Refusal::CallExists => Code::AlreadyExists,
        Refusal::UnknownInterface | Refusal::UnknownLeg => Code::FailedPrecondition,
        Refusal::Invalid(_) => Code::InvalidArgument,
    };
    status(refusal.reason(), code, refusal.to_string())
}

/// The refusal in a status, or `None` for a status that a node did not give as a refusal (no connection, deadline,
/// a request that it could not read).
pub fn refusal_from_status(status: &Status) -> Option<Refusal> {
    match status.metadata().get(REFUSAL_METADATA)?.to_str().ok()? {
        "no_ports" => Some(Refusal::NoPorts),
        "no_capacity" => Some(Refusal::NoCapacity),
        "busy" => Some(Refusal::Busy),
        "draining" => Some(Refusal::Draining),
        "unknown_call" => Some(Refusal::UnknownCall),
        "call_exists" => Some(Refusal::CallExists),
        "unknown_interface" => Some(Refusal::UnknownInterface),
        "unknown_leg" => Some(Refusal::UnknownLeg),
        "invalid" => Some(Refusal::Invalid(label(
            status.message(),
            "the node finds the request invalid",
        ))),
        _ => None,
    }
}

/// A status marked with a refusal's label.
pub(super) fn status(reason: &'static str, code: Code, text: String) -> Status {
    let mut status = Status::new(code, text);
    status
        .metadata_mut()
        .insert(REFUSAL_METADATA, MetadataValue::from_static(reason));
    status
}
