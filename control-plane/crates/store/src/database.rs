use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::{CallRecord, LegQuality, Party, StoreError};

/// How long a statement waits for another process that writes, such as an operator's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const UPSERT: &str = "\
INSERT INTO cdr (call_id, node, started_at_ms, ringing_at_ms, answered_at_ms, ended_at_ms,
    request_uri, status, q850, cause, released_by, codec,
    caller_user, caller_sip_call_id, caller_address, caller_packets, caller_bytes, caller_lost, caller_jitter_us_max, caller_mos_x100,
    callee_user, callee_sip_call_id, callee_address, callee_packets, callee_bytes, callee_lost, callee_jitter_us_max, callee_mos_x100)
VALUES (?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (call_id) DO UPDATE SET
    node = COALESCE(excluded.node, node),
    started_at_ms = COALESCE(excluded.started_at_ms, started_at_ms),
    ringing_at_ms = COALESCE(excluded.ringing_at_ms, ringing_at_ms),
    answered_at_ms = COALESCE(excluded.answered_at_ms, answered_at_ms),
    ended_at_ms = COALESCE(excluded.ended_at_ms, ended_at_ms),
    request_uri = COALESCE(excluded.request_uri, request_uri),
    status = COALESCE(excluded.status, status),
    q850 = COALESCE(excluded.q850, q850),
    cause = COALESCE(excluded.cause, cause),
    released_by = COALESCE(excluded.released_by, released_by),
    codec = COALESCE(excluded.codec, codec),
    caller_user = COALESCE(excluded.caller_user, caller_user),
    caller_sip_call_id = COALESCE(excluded.caller_sip_call_id, caller_sip_call_id),
    caller_address = COALESCE(excluded.caller_address, caller_address),
    caller_packets = COALESCE(excluded.caller_packets, caller_packets),
    caller_bytes = COALESCE(excluded.caller_bytes, caller_bytes),
    caller_lost = COALESCE(excluded.caller_lost, caller_lost),
    caller_jitter_us_max = COALESCE(excluded.caller_jitter_us_max, caller_jitter_us_max),
    caller_mos_x100 = COALESCE(excluded.caller_mos_x100, caller_mos_x100),
    callee_user = COALESCE(excluded.callee_user, callee_user),
    callee_sip_call_id = COALESCE(excluded.callee_sip_call_id, callee_sip_call_id),
    callee_address = COALESCE(excluded.callee_address, callee_address),
    callee_packets = COALESCE(excluded.callee_packets, callee_packets),
    callee_bytes = COALESCE(excluded.callee_bytes, callee_bytes),
    callee_lost = COALESCE(excluded.callee_lost, callee_lost),
    callee_jitter_us_max = COALESCE(excluded.callee_jitter_us_max, callee_jitter_us_max),
    callee_mos_x100 = COALESCE(excluded.callee_mos_x100, callee_mos_x100)";

const CLOSE_OPEN: &str = "\
UPDATE cdr SET ended_at_ms = ?, cause = ?, released_by = 'system' WHERE ended_at_ms IS NULL";

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// The SQLite database. One connection: one writer is all that SQLite has, and readers bring their own.
#[derive(Debug)]
pub struct Database {
    connection: SqliteConnection,
}

impl Database {
    /// Opens the file at `path`, makes it when there is none, and brings its schema up to date.
    ///
    /// WAL, so that a reader does not hold up the drain, and a disk flush a transaction (`synchronous = FULL`): what
    /// the journal forgets must be on the disk.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::migrate!("./migrations").run(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Merges `records` into the table, in order, all or none.
    pub async fn store(&mut self, records: &[CallRecord]) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin().await?;
        for record in records {
            transaction.execute(upsert(record)).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Gives every call without an end the end `at_ms` and `cause`. Returns how many there were.
    pub async fn close_open(&mut self, at_ms: i64, cause: &'static str) -> Result<u64, StoreError> {
        let done = self
            .connection
            .execute(sqlx::query(CLOSE_OPEN).bind(at_ms).bind(cause))
            .await?;
        Ok(done.rows_affected())
    }

    /// Checkpoints and closes the file.
    pub async fn close(self) -> Result<(), StoreError> {
        self.connection.close().await?;
        Ok(())
    }
}

fn upsert(record: &CallRecord) -> Query {
    let query = sqlx::query(UPSERT)
        .bind(record.call_id.clone())
        .bind(record.node.clone())
        .bind(record.started_at_ms)
        .bind(record.ringing_at_ms)
        .bind(record.answered_at_ms)
        .bind(record.ended_at_ms)
        .bind(record.request_uri.clone())
        .bind(record.status)
        .bind(record.q850)
        .bind(record.cause.clone())
        .bind(record.released_by.map(|by| by.as_str()))
        .bind(record.codec.clone());
    bind_party(bind_party(query, &record.caller), &record.callee)
}

fn bind_party(query: Query, party: &Party) -> Query {
    let quality = party.quality.as_ref();
    let count = |of: fn(&LegQuality) -> u64| quality.map(|q| i64::try_from(of(q)).unwrap_or(i64::MAX));
    query
        .bind(party.user.clone())
        .bind(party.sip_call_id.clone())
        .bind(party.address.clone())
        .bind(count(|q| q.packets))
        .bind(count(|q| q.bytes))
        .bind(count(|q| q.lost))
        .bind(count(|q| u64::from(q.jitter_us_max)))
        .bind(quality.map(|q| i64::from(q.mos_x100)))
}
