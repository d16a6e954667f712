use media_types::{EndCause, Event, EventKind, LegId};

use super::call::{LINES_PER_LEG_MAX, call_id_from_wire, leg_id_from_wire};
use super::field::{FieldError, Problem, ranged};
use super::label::label;
use super::line::{endpoint_from_wire, endpoint_to_wire};
use super::report::{report_from_wire, report_to_wire};
use crate::media_v1 as wire;
use wire::call_event::Kind;

/// An event as it goes over the wire.
pub fn event_to_wire(event: &Event) -> wire::CallEvent {
    let place = |leg: &LegId, line: usize| wire::LinePlace {
        leg_id: leg.to_string(),
        line: line as u32,
    };
    let kind = match &event.kind {
        EventKind::FirstPacket { leg, line } => Kind::FirstPacket(place(leg, *line)),
        EventKind::MediaTimeout { leg, line } => Kind::MediaTimeout(place(leg, *line)),
        EventKind::Latched { leg, line, source } => Kind::Latched(wire::Latched {
            leg_id: leg.to_string(),
            line: *line as u32,
            source: Some(endpoint_to_wire(*source)),
        }),
        EventKind::SetupFailed { leg, line, reason } => Kind::SetupFailed(wire::SetupFailed {
            leg_id: leg.to_string(),
            line: *line as u32,
            reason: (*reason).to_owned(),
        }),
        EventKind::Ended { cause, report } => Kind::Ended(wire::Ended {
            cause: match cause {
                EndCause::LeaseExpired => wire::EndCause::LeaseExpired,
                EndCause::Shutdown => wire::EndCause::Shutdown,
            }
            .into(),
            call: Some(report_to_wire(report)),
        }),
    };
    wire::CallEvent {
        call_id: event.call.to_string(),
        kind: Some(kind),
    }
}

/// An event as a node told it.
pub fn event_from_wire(event: wire::CallEvent) -> Result<Event, FieldError> {
    let call = call_id_from_wire(&event.call_id)?;
    let kind = match event
        .kind
        .ok_or_else(|| FieldError::new("kind", Problem::Missing))?
    {
        Kind::FirstPacket(place) => {
            let (leg, line) =
                place_from_wire(&place.leg_id, place.line).map_err(|e| e.within("first_packet"))?;
            EventKind::FirstPacket { leg, line }
        }
        Kind::MediaTimeout(place) => {
            let (leg, line) =
                place_from_wire(&place.leg_id, place.line).map_err(|e| e.within("media_timeout"))?;
            EventKind::MediaTimeout { leg, line }
        }
        Kind::Latched(latched) => latched_from_wire(latched).map_err(|e| e.within("latched"))?,
        Kind::SetupFailed(failed) => {
            let (leg, line) =
                place_from_wire(&failed.leg_id, failed.line).map_err(|e| e.within("setup_failed"))?;
            EventKind::SetupFailed {
                leg,
                line,
                reason: label(&failed.reason, "other"),
            }
        }
        Kind::Ended(ended) => ended_from_wire(ended).map_err(|e| e.within("ended"))?,
    };
    Ok(Event { call, kind })
}

fn place_from_wire(leg: &str, line: u32) -> Result<(LegId, usize), FieldError> {
    Ok((
        leg_id_from_wire(leg)?,
        ranged("line", line, 0, LINES_PER_LEG_MAX as u64 - 1)?,
    ))
}

fn latched_from_wire(latched: wire::Latched) -> Result<EventKind, FieldError> {
    let (leg, line) = place_from_wire(&latched.leg_id, latched.line)?;
    let source = latched
        .source
        .ok_or_else(|| FieldError::new("source", Problem::Missing))?;
    Ok(EventKind::Latched {
        leg,
        line,
        source: endpoint_from_wire("source", source, 0)?,
    })
}

fn ended_from_wire(ended: wire::Ended) -> Result<EventKind, FieldError> {
    let cause = match wire::EndCause::try_from(ended.cause) {
        Ok(wire::EndCause::LeaseExpired) => EndCause::LeaseExpired,
        Ok(wire::EndCause::Shutdown) => EndCause::Shutdown,
        Ok(wire::EndCause::Unspecified) | Err(_) => {
            return Err(FieldError::new("cause", Problem::Enumeration(ended.cause)));
        }
    };
    let call = ended
        .call
        .ok_or_else(|| FieldError::new("call", Problem::Missing))?;
    let report = report_from_wire(call).map_err(|e| e.within("call"))?;
    Ok(EventKind::Ended {
        cause,
        report: Box::new(report),
    })
}
