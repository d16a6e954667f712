//! Between the generated types and the plain types of `media-types`, both ways.
//!
//! Towards the wire nothing can fail. From the wire everything is checked here, once, so that what leaves this module
//! is in range: a bad value is a [`FieldError`] that names the field as the protocol has it.

mod call;
mod dtls;
mod event;
mod field;
mod ice;
mod label;
mod line;
mod refusal;
mod report;
mod srtp;

pub use call::{
    CODECS_PER_LINE_MAX, LEASE_MS_MAX, LEASE_MS_MIN, LEGS_MAX, LINES_PER_LEG_MAX, RENEW_MAX,
    call_id_from_wire, create_from_wire, create_to_wire, delete_from_wire, delete_to_wire, renew_from_wire,
    renew_to_wire, update_from_wire, update_to_wire,
};
pub use dtls::{FINGERPRINTS_MAX, TLS_ID_LEN_MAX, fingerprint_from_wire, fingerprint_to_wire};
pub use event::{event_from_wire, event_to_wire};
pub use field::{FieldError, Problem};
pub use ice::{ICE_CANDIDATE_LEN_MAX, ICE_CANDIDATES_MAX};
pub use refusal::{
    REFUSAL_METADATA, refusal_from_status, refusal_to_status, status_from_failure, status_to_failure,
};
pub use report::{report_from_wire, report_to_wire};
pub use srtp::{
    MKI_LEN_MAX, SRTP_KEYS_MAX, srtp_key_from_wire, srtp_key_to_wire, suite_from_wire, suite_to_wire,
};

#[cfg(test)]
mod tests;
