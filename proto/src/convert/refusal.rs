use media_types::Refusal;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::label::label;
use crate::media_v1::CallFailure;

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

/// What stands for a status in an answer of `Exchange`.
pub fn status_to_failure(status: &Status) -> CallFailure {
    let refusal = status.metadata().get(REFUSAL_METADATA);
    CallFailure {
        code: i32::from(status.code()).unsigned_abs(),
        refusal: refusal
            .and_then(|label| label.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        message: status.message().to_owned(),
    }
}

/// The status that an answer of `Exchange` stands for. A code or a label that is none is `UNKNOWN`.
pub fn status_from_failure(failure: CallFailure) -> Status {
    let code = i32::try_from(failure.code).map_or(Code::Unknown, Code::from_i32);
    // An answer that says that it failed did not succeed.
    let code = if code == Code::Ok { Code::Unknown } else { code };
    let mut status = Status::new(code, failure.message);
    if !failure.refusal.is_empty()
        && let Ok(label) = failure.refusal.parse()
    {
        status.metadata_mut().insert(REFUSAL_METADATA, label);
    }
    status
}

/// A status marked with a refusal's label.
pub(super) fn status(reason: &'static str, code: Code, text: String) -> Status {
    let mut status = Status::new(code, text);
    status
        .metadata_mut()
        .insert(REFUSAL_METADATA, MetadataValue::from_static(reason));
    status
}
