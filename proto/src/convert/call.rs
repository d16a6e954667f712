use std::time::Duration;

use media_types::{CallId, CallSpec, IdempotencyKey, InterfaceName, LegId, LegSpec};

use super::field::{FieldError, Problem, counted, ranged};
use super::line::{line_from_wire, line_to_wire};
use crate::media_v1 as wire;

/// Legs of a call.
pub const LEGS_MAX: usize = 2;
/// Media lines of a leg.
pub const LINES_PER_LEG_MAX: usize = 16;
/// Codecs of a media line.
pub const CODECS_PER_LINE_MAX: usize = 32;
/// The shortest lease or media timeout that is taken, in milliseconds; shorter ones would only keep timers busy.
pub const LEASE_MS_MIN: u64 = 100;
/// The longest lease or media timeout that is taken, in milliseconds: a week. A node's configuration may allow less.
pub const LEASE_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Calls of one [`wire::RenewLeasesRequest`].
pub const RENEW_MAX: usize = 10_000;

/// The request that creates `spec`.
pub fn create_to_wire(key: &IdempotencyKey, spec: &CallSpec) -> wire::CreateCallRequest {
    wire::CreateCallRequest {
        call_id: spec.id.to_string(),
        idempotency_key: key.to_string(),
        legs: spec.legs.iter().map(leg_to_wire).collect(),
        lease_ms: millis(spec.lease),
        media_timeout_ms: millis(spec.media_timeout),
    }
}

/// What a request to create asks for.
pub fn create_from_wire(request: wire::CreateCallRequest) -> Result<(IdempotencyKey, CallSpec), FieldError> {
    let key = key_from_wire(&request.idempotency_key)?;
    let id = call_id_from_wire(&request.call_id)?;
    counted("legs", request.legs.len(), LEGS_MAX, LEGS_MAX)?;
    let spec = CallSpec {
        id,
        legs: legs_from_wire(request.legs)?,
        lease: time_from_wire("lease_ms", request.lease_ms)?,
        media_timeout: time_from_wire("media_timeout_ms", request.media_timeout_ms)?,
    };
    Ok((key, spec))
}

/// Zero takes the node's default.
fn time_from_wire(name: &'static str, ms: u64) -> Result<Duration, FieldError> {
    let ms = match ms {
        0 => 0,
        ms => ranged(name, ms, LEASE_MS_MIN, LEASE_MS_MAX)?,
    };
    Ok(Duration::from_millis(ms))
}

/// The request that gives the legs named in `legs` new media.
pub fn update_to_wire(key: &IdempotencyKey, call: &CallId, legs: &[LegSpec]) -> wire::UpdateCallRequest {
    wire::UpdateCallRequest {
        call_id: call.to_string(),
        idempotency_key: key.to_string(),
        legs: legs.iter().map(leg_to_wire).collect(),
    }
}

/// What a request to update asks for.
pub fn update_from_wire(
    request: wire::UpdateCallRequest,
) -> Result<(IdempotencyKey, CallId, Vec<LegSpec>), FieldError> {
    let key = key_from_wire(&request.idempotency_key)?;
    let call = call_id_from_wire(&request.call_id)?;
    counted("legs", request.legs.len(), 1, LEGS_MAX)?;
    Ok((key, call, legs_from_wire(request.legs)?))
}

/// The request that removes a call.
pub fn delete_to_wire(key: &IdempotencyKey, call: &CallId) -> wire::DeleteCallRequest {
    wire::DeleteCallRequest {
        call_id: call.to_string(),
        idempotency_key: key.to_string(),
    }
}

/// What a request to delete asks for.
pub fn delete_from_wire(request: &wire::DeleteCallRequest) -> Result<(IdempotencyKey, CallId), FieldError> {
    Ok((
        key_from_wire(&request.idempotency_key)?,
        call_id_from_wire(&request.call_id)?,
    ))
}

/// The request that renews the leases of `calls`, at most [`RENEW_MAX`] of them.
pub fn renew_to_wire<'a>(calls: impl IntoIterator<Item = &'a CallId>) -> wire::RenewLeasesRequest {
    wire::RenewLeasesRequest {
        call_ids: calls.into_iter().map(CallId::to_string).collect(),
    }
}

/// The calls whose leases shall be renewed.
pub fn renew_from_wire(request: &wire::RenewLeasesRequest) -> Result<Vec<CallId>, FieldError> {
    counted("call_ids", request.call_ids.len(), 0, RENEW_MAX)?;
    let id = |(index, id): (usize, &String)| {
        CallId::new(id).map_err(|problem| FieldError::new(format!("call_ids[{index}]"), problem))
    };
    request.call_ids.iter().enumerate().map(id).collect()
}

/// A `call_id` field.
pub fn call_id_from_wire(id: &str) -> Result<CallId, FieldError> {
    CallId::new(id).map_err(|problem| FieldError::new("call_id", problem))
}

pub(super) fn leg_id_from_wire(id: &str) -> Result<LegId, FieldError> {
    LegId::new(id).map_err(|problem| FieldError::new("leg_id", problem))
}

fn key_from_wire(key: &str) -> Result<IdempotencyKey, FieldError> {
    IdempotencyKey::new(key).map_err(|problem| FieldError::new("idempotency_key", problem))
}

fn leg_to_wire(leg: &LegSpec) -> wire::Leg {
    wire::Leg {
        leg_id: leg.id.to_string(),
        interface: leg
            .interface
            .as_ref()
            .map(InterfaceName::to_string)
            .unwrap_or_default(),
        ipv6: leg.ipv6,
        lines: leg.lines.iter().map(line_to_wire).collect(),
    }
}

fn legs_from_wire(legs: Vec<wire::Leg>) -> Result<Vec<LegSpec>, FieldError> {
    let mut specs: Vec<LegSpec> = Vec::with_capacity(legs.len());
    for (index, leg) in legs.into_iter().enumerate() {
        let spec = leg_from_wire(leg).map_err(|e| e.within_item("legs", index))?;
        if specs.iter().any(|other| other.id == spec.id) {
            return Err(FieldError::new("leg_id", Problem::Duplicate).within_item("legs", index));
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn leg_from_wire(leg: wire::Leg) -> Result<LegSpec, FieldError> {
    let id = leg_id_from_wire(&leg.leg_id)?;
    let interface = match leg.interface.as_str() {
        "" => None,
        name => Some(InterfaceName::new(name).map_err(|problem| FieldError::new("interface", problem))?),
    };
    counted("lines", leg.lines.len(), 0, LINES_PER_LEG_MAX)?;
    let lines = leg
        .lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| line_from_wire(line).map_err(|e| e.within_item("lines", index)))
        .collect::<Result<_, _>>()?;
    Ok(LegSpec {
        id,
        interface,
        ipv6: leg.ipv6,
        lines,
    })
}

/// Whole milliseconds, cut off below and saturated above.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
