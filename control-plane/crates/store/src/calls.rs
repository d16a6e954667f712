use crate::{LegQuality, Party};

/// Merges one call into the table. Both databases take numbered parameters.
pub(crate) const UPSERT: &str = "\
INSERT INTO cdr (call_id, node, started_at_ms, ringing_at_ms, answered_at_ms, ended_at_ms,
    request_uri, status, q850, cause, released_by, codec,
    caller_user, caller_sip_call_id, caller_address, caller_packets, caller_bytes, caller_lost, caller_jitter_us_max, caller_mos_x100,
    callee_user, callee_sip_call_id, callee_address, callee_packets, callee_bytes, callee_lost, callee_jitter_us_max, callee_mos_x100)
VALUES ($1, $2, $3, $4, $5, $6,  $7, $8, $9, $10, $11, $12,  $13, $14, $15, $16, $17, $18, $19, $20,  $21, $22, $23, $24, $25, $26, $27, $28)
ON CONFLICT (call_id) DO UPDATE SET
    node = COALESCE(excluded.node, cdr.node),
    started_at_ms = COALESCE(excluded.started_at_ms, cdr.started_at_ms),
    ringing_at_ms = COALESCE(excluded.ringing_at_ms, cdr.ringing_at_ms),
    answered_at_ms = COALESCE(excluded.answered_at_ms, cdr.answered_at_ms),
    ended_at_ms = COALESCE(excluded.ended_at_ms, cdr.ended_at_ms),
    request_uri = COALESCE(excluded.request_uri, cdr.request_uri),
    status = COALESCE(excluded.status, cdr.status),
    q850 = COALESCE(excluded.q850, cdr.q850),
    cause = COALESCE(excluded.cause, cdr.cause),
    released_by = COALESCE(excluded.released_by, cdr.released_by),
    codec = COALESCE(excluded.codec, cdr.codec),
    caller_user = COALESCE(excluded.caller_user, cdr.caller_user),
    caller_sip_call_id = COALESCE(excluded.caller_sip_call_id, cdr.caller_sip_call_id),
    caller_address = COALESCE(excluded.caller_address, cdr.caller_address),
    caller_packets = COALESCE(excluded.caller_packets, cdr.caller_packets),
    caller_bytes = COALESCE(excluded.caller_bytes, cdr.caller_bytes),
    caller_lost = COALESCE(excluded.caller_lost, cdr.caller_lost),
    caller_jitter_us_max = COALESCE(excluded.caller_jitter_us_max, cdr.caller_jitter_us_max),
    caller_mos_x100 = COALESCE(excluded.caller_mos_x100, cdr.caller_mos_x100),
    callee_user = COALESCE(excluded.callee_user, cdr.callee_user),
    callee_sip_call_id = COALESCE(excluded.callee_sip_call_id, cdr.callee_sip_call_id),
    callee_address = COALESCE(excluded.callee_address, cdr.callee_address),
    callee_packets = COALESCE(excluded.callee_packets, cdr.callee_packets),
    callee_bytes = COALESCE(excluded.callee_bytes, cdr.callee_bytes),
    callee_lost = COALESCE(excluded.callee_lost, cdr.callee_lost),
    callee_jitter_us_max = COALESCE(excluded.callee_jitter_us_max, cdr.callee_jitter_us_max),
    callee_mos_x100 = COALESCE(excluded.callee_mos_x100, cdr.callee_mos_x100)";

/// Ends every call that has none.
pub(crate) const CLOSE_OPEN: &str = "\
UPDATE cdr SET ended_at_ms = $1, cause = $2, released_by = 'system' WHERE ended_at_ms IS NULL";

/// A query of [`UPSERT`] with all its parameters, for whichever database the place where it stands wants.
macro_rules! upsert {
    ($record:expr) => {{
        let record: &$crate::CallRecord = $record;
        let (caller, callee) = (&record.caller, &record.callee);
        let (heard, said) = ($crate::calls::counts(caller), $crate::calls::counts(callee));
        sqlx::query($crate::calls::UPSERT)
            .bind(record.call_id.clone())
            .bind(record.node.clone())
            .bind(record.started_at_ms)
            .bind(record.ringing_at_ms)
            .bind(record.answered_at_ms)
            .bind(record.ended_at_ms)
            .bind(record.request_uri.clone())
            .bind(record.status.map(i64::from))
            .bind(record.q850.map(i64::from))
            .bind(record.cause.clone())
            .bind(record.released_by.map(|by| by.as_str()))
            .bind(record.codec.clone())
            .bind(caller.user.clone())
            .bind(caller.sip_call_id.clone())
            .bind(caller.address.clone())
            .bind(heard[0])
            .bind(heard[1])
            .bind(heard[2])
            .bind(heard[3])
            .bind(heard[4])
            .bind(callee.user.clone())
            .bind(callee.sip_call_id.clone())
            .bind(callee.address.clone())
            .bind(said[0])
            .bind(said[1])
            .bind(said[2])
            .bind(said[3])
            .bind(said[4])
    }};
}
pub(crate) use upsert;

/// Packets, bytes, lost, jitter and score of a party, in the order of the columns.
pub(crate) fn counts(party: &Party) -> [Option<i64>; 5] {
    let quality = party.quality.as_ref();
    let count = |of: fn(&LegQuality) -> u64| quality.map(|q| i64::try_from(of(q)).unwrap_or(i64::MAX));
    [
        count(|q| q.packets),
        count(|q| q.bytes),
        count(|q| q.lost),
        count(|q| u64::from(q.jitter_us_max)),
        count(|q| u64::from(q.mos_x100)),
    ]
}
