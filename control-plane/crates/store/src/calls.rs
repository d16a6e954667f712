use std::sync::LazyLock;

use crate::insert::Insert;
use crate::{LegQuality, Party};

const COLUMNS: [&str; 30] = [
    "call_id",
    "node",
    "started_at_ms",
    "ringing_at_ms",
    "answered_at_ms",
    "ended_at_ms",
    "request_uri",
    "status",
    "q850",
    "cause",
    "released_by",
    "codec",
    "caller_user",
    "caller_sip_call_id",
    "caller_address",
    "caller_packets",
    "caller_bytes",
    "caller_lost",
    "caller_jitter_us_max",
    "caller_mos_x100",
    "callee_user",
    "callee_sip_call_id",
    "callee_address",
    "callee_packets",
    "callee_bytes",
    "callee_lost",
    "callee_jitter_us_max",
    "callee_mos_x100",
    "transferred_by",
    "transferred_to",
];

/// Merges calls into the table: a column that a record has nothing for stays as it is.
pub(crate) static UPSERT: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new("cdr", &COLUMNS, |column| {
        format!("COALESCE(excluded.{column}, cdr.{column})")
    })
});

/// Ends every call that has none.
pub(crate) const CLOSE_OPEN: &str = "\
UPDATE cdr SET ended_at_ms = $1, cause = $2, released_by = 'system' WHERE ended_at_ms IS NULL";

/// Binds a row of [`UPSERT`] to a query, for whichever database the place where it stands wants.
macro_rules! bind_call {
    ($query:expr, $record:expr) => {{
        let record: &$crate::CallRecord = $record;
        let (caller, callee) = (&record.caller, &record.callee);
        let (heard, said) = ($crate::calls::counts(caller), $crate::calls::counts(callee));
        $query
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
            .bind(record.transferred_by.map(|by| by.as_str()))
            .bind(record.transferred_to.clone())
    }};
}
pub(crate) use bind_call;

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
