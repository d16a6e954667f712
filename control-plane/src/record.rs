//! The B2BUA's record of a call, for the store: monotonic times become wall-clock times.

use std::time::UNIX_EPOCH;

use call::{Cdr, LegQuality, Released};
use ops::clock::MonotonicClock;
use sans_io::Timestamp;
use store::{CallRecord, Party, ReleasedBy};

/// Converts `cdr`, whose times are on `clock`.
pub fn of(cdr: &Cdr, clock: &MonotonicClock) -> CallRecord {
    let wall = |at: Timestamp| unix_ms(clock, at);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let cause = cdr.cause.as_ref();
    CallRecord {
        call_id: cdr.call.to_string(),
        node: cdr.node.as_ref().map(ToString::to_string),
        started_at_ms: Some(wall(cdr.times.setup)),
        ringing_at_ms: cdr.times.ringing.map(wall),
        answered_at_ms: cdr.times.answered.map(wall),
        ended_at_ms: cdr.times.ended.map(wall),
        request_uri: text(&cdr.request_uri),
        status: cause
            .map(|cause| cause.sip_status)
            .or(cdr.times.answered.map(|_| 200)),
        q850: cause.map(|cause| cause.q850),
        cause: cause.map(|cause| cause.text.to_string()),
        released_by: cause.map(|cause| released_by(cause.released)),
        transferred_by: cdr.transferred.as_ref().map(|it| released_by(it.by)),
        transferred_to: cdr.transferred.as_ref().and_then(|it| text(&it.to)),
        codec: cdr.codec.as_deref().map(str::to_owned),
        caller: Party {
            user: text(&cdr.caller),
            sip_call_id: text(&cdr.caller_call_id),
            address: Some(cdr.source.to_string()),
            quality: cdr.quality.map(|quality| leg(quality.caller)),
        },
        callee: Party {
            user: text(&cdr.callee),
            sip_call_id: cdr.callee_call_id.clone(),
            address: cdr.next_hop.map(|next_hop| next_hop.to_string()),
            quality: cdr.quality.map(|quality| leg(quality.callee)),
        },
    }
}

/// The store's word for who ended a call.
pub fn released_by(released: Released) -> ReleasedBy {
    match released {
        Released::Caller => ReleasedBy::Caller,
        Released::Callee => ReleasedBy::Callee,
        Released::Us => ReleasedBy::System,
    }
}

fn leg(quality: LegQuality) -> store::LegQuality {
    store::LegQuality {
        packets: quality.packets,
        bytes: quality.bytes,
        lost: quality.lost,
        jitter_us_max: quality.jitter_us_max,
        mos_x100: quality.mos_x100,
    }
}

/// Milliseconds since the Unix epoch; a clock before 1970 counts as 1970.
fn unix_ms(clock: &MonotonicClock, at: Timestamp) -> i64 {
    let since = clock.wall_time(at).duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
