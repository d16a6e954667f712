use media_types::{DtlsReport, DtlsRole, DtlsSpec, DtlsState, Fingerprint, FingerprintError};

use super::field::{FieldError, Problem, counted};
use super::label::label;
use crate::media_v1 as wire;

/// Certificates that a party may name.
pub const FINGERPRINTS_MAX: usize = 8;
/// The longest `a=tls-id` (RFC 8842 §5.2).
pub const TLS_ID_LEN_MAX: usize = 255;

pub(super) fn dtls_to_wire(dtls: &DtlsSpec) -> wire::Dtls {
    wire::Dtls {
        role: role_to_wire(dtls.role).into(),
        fingerprints: dtls.fingerprints.iter().map(fingerprint_to_wire).collect(),
        tls_id: dtls.tls_id.clone(),
    }
}

pub(super) fn dtls_from_wire(dtls: wire::Dtls) -> Result<DtlsSpec, FieldError> {
    counted("fingerprints", dtls.fingerprints.len(), 0, FINGERPRINTS_MAX)?;
    let is_text = dtls.tls_id.bytes().all(|byte| byte.is_ascii_graphic());
    if dtls.tls_id.len() > TLS_ID_LEN_MAX || !is_text {
        return Err(FieldError::new("tls_id", Problem::Text { max: TLS_ID_LEN_MAX }));
    }
    Ok(DtlsSpec {
        role: role_from_wire(dtls.role)?,
        fingerprints: dtls
            .fingerprints
            .iter()
            .enumerate()
            .map(|(index, it)| fingerprint_from_wire(it).map_err(|e| e.within_item("fingerprints", index)))
            .collect::<Result<_, _>>()?,
        tls_id: dtls.tls_id,
    })
}

/// A fingerprint as it goes over the wire.
pub fn fingerprint_to_wire(fingerprint: &Fingerprint) -> wire::Fingerprint {
    wire::Fingerprint {
        hash_function: fingerprint.function().name().to_owned(),
        hash: fingerprint.hash().to_vec(),
    }
}

/// A fingerprint as it came.
pub fn fingerprint_from_wire(fingerprint: &wire::Fingerprint) -> Result<Fingerprint, FieldError> {
    let error = |name: &str| {
        let name = name.to_owned();
        move |error: FingerprintError| FieldError::new(name, Problem::Fingerprint(error))
    };
    let function = fingerprint
        .hash_function
        .parse()
        .map_err(error("hash_function"))?;
    Fingerprint::new(function, &fingerprint.hash).map_err(error("hash"))
}

fn role_to_wire(role: DtlsRole) -> wire::DtlsRole {
    match role {
        DtlsRole::Active => wire::DtlsRole::Active,
        DtlsRole::Passive => wire::DtlsRole::Passive,
    }
}

fn role_from_wire(role: i32) -> Result<DtlsRole, FieldError> {
    match wire::DtlsRole::try_from(role) {
        Ok(wire::DtlsRole::Active) => Ok(DtlsRole::Active),
        Ok(wire::DtlsRole::Passive) => Ok(DtlsRole::Passive),
        Ok(wire::DtlsRole::Unspecified) | Err(_) => Err(FieldError::new("role", Problem::Enumeration(role))),
    }
}

pub(super) fn dtls_status_to_wire(dtls: &DtlsReport) -> wire::DtlsStatus {
    let state = match dtls.state {
        DtlsState::New => wire::DtlsState::New,
        DtlsState::Handshaking => wire::DtlsState::Handshaking,
        DtlsState::Connected => wire::DtlsState::Connected,
        DtlsState::Failed => wire::DtlsState::Failed,
    };
    wire::DtlsStatus {
        state: state.into(),
        version: dtls.version.to_owned(),
        failure: dtls.failure.to_owned(),
    }
}

pub(super) fn dtls_status_from_wire(status: &wire::DtlsStatus) -> Result<DtlsReport, FieldError> {
    let state = match wire::DtlsState::try_from(status.state) {
        Ok(wire::DtlsState::New) => DtlsState::New,
        Ok(wire::DtlsState::Handshaking) => DtlsState::Handshaking,
        Ok(wire::DtlsState::Connected) => DtlsState::Connected,
        Ok(wire::DtlsState::Failed) => DtlsState::Failed,
        Ok(wire::DtlsState::Unspecified) | Err(_) => {
            return Err(FieldError::new("dtls.state", Problem::Enumeration(status.state)));
        }
    };
    Ok(DtlsReport {
        state,
        version: label(&status.version, "other"),
        failure: label(&status.failure, "other"),
    })
}
