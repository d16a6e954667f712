use media_types::{IceCredentials, IceCredentialsError, IceMode, IceReport, IceSpec, IceState};

use super::field::{FieldError, Problem, counted};
use super::label::label;
use super::line::{endpoint_from_wire, endpoint_to_wire};
use crate::media_v1 as wire;

/// Candidates that a party may name.
pub const ICE_CANDIDATES_MAX: usize = 32;
/// The longest candidate, in bytes.
pub const ICE_CANDIDATE_LEN_MAX: usize = 512;

pub(super) fn ice_to_wire(ice: &IceSpec) -> wire::Ice {
    let mode = match ice.mode {
        IceMode::Lite => wire::IceMode::Lite,
        IceMode::Controlling => wire::IceMode::Controlling,
        IceMode::Controlled => wire::IceMode::Controlled,
    };
    wire::Ice {
        mode: mode.into(),
        local: Some(credentials_to_wire(&ice.local)),
        remote: ice.remote.as_ref().map(credentials_to_wire),
        candidates: ice.candidates.clone(),
    }
}

pub(super) fn ice_from_wire(ice: wire::Ice) -> Result<IceSpec, FieldError> {
    let mode = match wire::IceMode::try_from(ice.mode) {
        Ok(wire::IceMode::Unspecified | wire::IceMode::Lite) => IceMode::Lite,
        Ok(wire::IceMode::Controlling) => IceMode::Controlling,
        Ok(wire::IceMode::Controlled) => IceMode::Controlled,
        Err(_) => return Err(FieldError::new("mode", Problem::Enumeration(ice.mode))),
    };
    counted("candidates", ice.candidates.len(), 0, ICE_CANDIDATES_MAX)?;
    for (index, candidate) in ice.candidates.iter().enumerate() {
        let is_text = candidate.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if candidate.is_empty() || candidate.len() > ICE_CANDIDATE_LEN_MAX || !is_text {
            let max = ICE_CANDIDATE_LEN_MAX;
            return Err(FieldError::new(
                format!("candidates[{index}]"),
                Problem::Line { max },
            ));
        }
    }
    let local = ice
        .local
        .ok_or_else(|| FieldError::new("local", Problem::Missing))?;
    Ok(IceSpec {
        mode,
        local: credentials_from_wire(&local).map_err(|e| e.within("local"))?,
        remote: ice
            .remote
            .map(|it| credentials_from_wire(&it).map_err(|e| e.within("remote")))
            .transpose()?,
        candidates: ice.candidates,
    })
}

fn credentials_to_wire(credentials: &IceCredentials) -> wire::IceCredentials {
    wire::IceCredentials {
        ufrag: credentials.ufrag().to_owned(),
        password: credentials.password().to_owned(),
    }
}

fn credentials_from_wire(credentials: &wire::IceCredentials) -> Result<IceCredentials, FieldError> {
    IceCredentials::new(&credentials.ufrag, &credentials.password).map_err(|error| {
        let name = match error {
            IceCredentialsError::Ufrag => "ufrag",
            IceCredentialsError::Password => "password",
        };
        FieldError::new(name, Problem::IceCredentials(error))
    })
}

pub(super) fn ice_status_to_wire(ice: &IceReport) -> wire::IceStatus {
    let state = match ice.state {
        IceState::Checking => wire::IceState::Checking,
        IceState::Connected => wire::IceState::Connected,
        IceState::Silent => wire::IceState::Silent,
        IceState::Failed => wire::IceState::Failed,
    };
    wire::IceStatus {
        state: state.into(),
        selected: ice.selected.map(endpoint_to_wire),
        failure: ice.failure.to_owned(),
    }
}

pub(super) fn ice_status_from_wire(status: wire::IceStatus) -> Result<IceReport, FieldError> {
    let state = match wire::IceState::try_from(status.state) {
        Ok(wire::IceState::Checking) => IceState::Checking,
        Ok(wire::IceState::Connected) => IceState::Connected,
        Ok(wire::IceState::Silent) => IceState::Silent,
        Ok(wire::IceState::Failed) => IceState::Failed,
        Ok(wire::IceState::Unspecified) | Err(_) => {
            return Err(FieldError::new("ice.state", Problem::Enumeration(status.state)));
        }
    };
    Ok(IceReport {
        state,
        selected: status
            .selected
            .map(|e| endpoint_from_wire("ice.selected", e, 1))
            .transpose()?,
        failure: label(&status.failure, "other"),
    })
}
