//! What survives: deaths at every byte, replays, full journals, a database that is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Connection as _, Row as _, SqliteConnection};
use store::{
    AppendError, CallRecord, Entry, LegQuality, Options, Party, ReleasedBy, Store, StoreError, open,
};
use tempfile::TempDir;

const NOW_MS: i64 = 1_800_000_000_000;
const JOURNAL_BYTES_MAX: u64 = 16 * 1024 * 1024;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("ringpath.sqlite")
    }

    fn options(&self) -> Options {
        Options {
            path: self.database(),
            postgresql: None,
            journal_bytes_max: JOURNAL_BYTES_MAX,
        }
    }

    /// The lock of a store that died is held on for a moment where another test starts a program meanwhile: its process has our
    /// files until it becomes that program.
    async fn open(&self) -> Store {
        for _ in 0..500 {
            match open(&self.options(), NOW_MS).await {
                Err(StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => return opened.unwrap(),
            }
        }
        panic!("the store is in use for five seconds");
    }

    fn journal_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".journal."))
            .collect();
        files.sort();
        files
    }

    /// Removes all rows.
    async fn forget(&self) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.database());
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("PRAGMA synchronous = OFF")
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query("DELETE FROM cdr")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn rows(&self) -> Vec<(String, Option<i64>, Option<String>, Option<i64>)> {
        rows(&self.database()).await
    }
}

async fn rows(database: &Path) -> Vec<(String, Option<i64>, Option<String>, Option<i64>)> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let rows = sqlx::query("SELECT call_id, ended_at_ms, cause, caller_packets FROM cdr ORDER BY call_id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect()
}

fn answered(call: &str) -> CallRecord {
    CallRecord {
        call_id: call.into(),
        node: Some("media-1".into()),
        started_at_ms: Some(1_000),
        answered_at_ms: Some(2_000),
        status: Some(200),
        codec: Some("PCMU/8000".into()),
        caller: Party {
            user: Some("alice".into()),
            ..Party::default()
        },
        ..CallRecord::default()
    }
}

fn ended(call: &str) -> CallRecord {
    CallRecord {
        call_id: call.into(),
        ended_at_ms: Some(9_000),
        cause: Some("normal".into()),
        released_by: Some(ReleasedBy::Caller),
        ..CallRecord::default()
    }
}

fn quality(call: &str, packets: u64) -> CallRecord {
    let quality = Some(LegQuality {
        packets,
        mos_x100: 441,
        ..LegQuality::default()
    });
    CallRecord {
        call_id: call.into(),
        caller: Party {
            quality,
            ..Party::default()
        },
        ..CallRecord::default()
    }
}

/// A process that dies leaves the files and runs nothing more: the halves are dropped, the drain never ran.
fn die(store: Store) {
    drop(store);
}

#[tokio::test]
async fn an_empty_folder_becomes_a_store_with_the_whole_schema() {
    let folder = Folder::new();
    let store = folder.open().await;
    assert_eq!(store.recovery, store::Recovery::default());
    assert!(folder.rows().await.is_empty());
}

#[tokio::test]
async fn a_record_of_a_killed_process_is_in_the_database_after_the_next_start() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.journal.append(&answered("c1")).unwrap();
    store.journal.append(&ended("c1")).unwrap();
    die(store);
    let store = folder.open().await;
    assert_eq!((store.recovery.records, store.recovery.calls_closed), (2, 0));
    assert_eq!(
        folder.rows().await,
        [("c1".into(), Some(9_000), Some("normal".into()), None)]
    );
}

#[tokio::test]
async fn an_answered_call_that_nobody_ended_is_closed_at_the_next_start() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.journal.append(&answered("left")).unwrap();
    store.journal.append(&answered("over")).unwrap();
    store.journal.append(&ended("over")).unwrap();
    die(store);
    let store = folder.open().await;
    assert_eq!(store.recovery.calls_closed, 1);
    assert_eq!(
        folder.rows().await,
        [
            (
                "left".into(),
                Some(NOW_MS),
                Some("control plane restarted".into()),
                None
            ),
            ("over".into(), Some(9_000), Some("normal".into()), None),
        ]
    );
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_loses_only_the_torn_record() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.journal.append(&ended("c1")).unwrap();
    let first = fs::metadata(&folder.journal_files()[0]).unwrap().len() as usize;
    store.journal.append(&ended("c2")).unwrap();
    die(store);
    let whole = fs::read(&folder.journal_files()[0]).unwrap();
    for length in 0..=whole.len() {
        // In the same folder with its table emptied: a new database for each length would be slow.
        folder.forget().await;
        fs::write(&folder.journal_files()[0], &whole[..length]).unwrap();
        let store = folder.open().await;
        let expected = usize::from(length >= first) + usize::from(length >= whole.len());
        assert_eq!(folder.rows().await.len(), expected, "cut at {length}");
        let torn = match length {
            _ if length < first => length,
            _ if length < whole.len() => length - first,
            _ => 0,
        };
        assert_eq!(store.recovery.torn_bytes, torn as u64, "cut at {length}");
        die(store);
    }
}

#[tokio::test]
async fn replaying_the_same_journal_again_changes_nothing() {
    let folder = Folder::new();
    let store = folder.open().await;
    for record in [answered("c1"), ended("c1"), quality("c1", 7)] {
        store.journal.append(&record).unwrap();
    }
    die(store);
    let journal = fs::read(&folder.journal_files()[0]).unwrap();
    die(folder.open().await);
    let once = folder.rows().await;
    assert_eq!(once, [("c1".into(), Some(9_000), Some("normal".into()), Some(7))]);
    fs::write(&folder.journal_files()[0], &journal).unwrap();
    let store = folder.open().await;
    assert_eq!((store.recovery.records, store.recovery.calls_closed), (3, 0));
    assert_eq!(folder.rows().await, once);
}

#[tokio::test]
async fn the_drain_stores_what_is_appended_and_gives_the_journal_back() {
    let folder = Folder::new();
    let Store { journal, drain, .. } = folder.open().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(drain.run(async {
        let _ = stopped.await;
    }));
    // More than one segment and many batches.
    let padding = "x".repeat(2_000);
    for number in 0..3_000 {
        let mut record = ended(&format!("c{number:05}"));
        record.caller.user = Some(padding.clone());
        journal.append(&record).unwrap();
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let drained = async {
        while journal.counters().snapshot().pending_records > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), drained)
        .await
        .expect("the drain keeps up");
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    let counted = journal.counters().snapshot();
    assert_eq!(
        (counted.appended, counted.stored, counted.journal_bytes),
        (3_000, 3_000, 0)
    );
    assert_eq!(folder.rows().await.len(), 3_000);
    let left: u64 = folder
        .journal_files()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn stopping_stores_what_the_journal_still_has() {
    let folder = Folder::new();
    let Store { journal, drain, .. } = folder.open().await;
    journal.append(&ended("c1")).unwrap();
    drain.run(async {}).await.unwrap();
    assert_eq!(folder.rows().await.len(), 1);
}

#[tokio::test]
async fn a_full_journal_first_asks_for_no_new_calls_and_then_refuses() {
    let folder = Folder::new();
    let options = Options {
        journal_bytes_max: 4_000,
        ..folder.options()
    };
    let store = open(&options, NOW_MS).await.unwrap();
    let (mut taken, mut taken_with_room) = (0, 0);
    loop {
        let room = store.journal.has_room();
        match store.journal.append(&ended("c1")) {
            Ok(()) => taken += 1,
            Err(AppendError::Full) => break,
            Err(other) => panic!("{other}"),
        }
        taken_with_room += u32::from(room);
    }
    assert!(
        taken > taken_with_room,
        "room ends before the journal does: {taken} and {taken_with_room}"
    );
    assert!(!store.journal.has_room());
    let counted = store.journal.counters().snapshot();
    assert_eq!((counted.appended, counted.append_full), (u64::from(taken), 1));
    assert!(counted.journal_bytes <= 4_000);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_the_next_is_taken() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut record = ended("c1");
    record.caller.user = Some("x".repeat(store::RECORD_BYTES_MAX));
    assert!(matches!(
        store.journal.append(&record),
        Err(AppendError::TooLarge { .. })
    ));
    store.journal.append(&ended("c2")).unwrap();
    die(store);
    assert_eq!(folder.open().await.recovery.records, 1);
}

#[tokio::test]
async fn of_entries_written_at_once_only_those_that_fail_are_missing() {
    let folder = Folder::new();
    let options = Options {
        journal_bytes_max: 3_000,
        ..folder.options()
    };
    let store = open(&options, NOW_MS).await.unwrap();
    let call = |name: &str, user_bytes: usize| {
        let mut record = ended(name);
        record.caller.user = Some("x".repeat(user_bytes));
        Entry::Call(Box::new(record))
    };
    let entries = [
        call("c1", 1),
        call("c2", store::RECORD_BYTES_MAX),
        call("c3", 1_000),
        call("c4", 2_000),
        call("c5", 1),
    ];
    let mut failed = Vec::new();
    store.journal.append_all(&entries, |entry, error| {
        failed.push((entry.clone(), error.reason()))
    });
    assert_eq!(
        failed,
        [(entries[1].clone(), "too_large"), (entries[3].clone(), "full")]
    );
    let counted = store.journal.counters().snapshot();
    assert_eq!(
        (
            counted.appended,
            counted.append_too_large,
            counted.append_full,
            counted.pending_records
        ),
        (3, 1, 1, 3)
    );
    die(store);
    let store = folder.open().await;
    assert_eq!((store.recovery.records, store.recovery.torn_bytes), (3, 0));
    let names: Vec<String> = folder.rows().await.into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["c1", "c3", "c5"]);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_in_use() {
    let folder = Folder::new();
    let store = folder.open().await;
    let second = open(&folder.options(), NOW_MS).await;
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
    die(store);
    folder.open().await;
}

#[tokio::test]
async fn records_wait_in_the_journal_while_the_database_is_away() {
    let folder = Folder::new();
    let Store { journal, drain, .. } = folder.open().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.database());
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("ALTER TABLE cdr RENAME TO away")
        .execute(&mut other)
        .await
        .unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(drain.run(async {
        let _ = stopped.await;
    }));
    journal.append(&ended("c1")).unwrap();
    let failed = async {
        while journal.counters().snapshot().database_errors == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), failed)
        .await
        .expect("the failure is counted");
    assert_eq!(journal.counters().snapshot().pending_records, 1);
    sqlx::query("ALTER TABLE away RENAME TO cdr")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    assert_eq!(folder.rows().await.len(), 1);
}

#[tokio::test]
async fn every_field_is_in_its_column() {
    let party = |name: &str, base: u32| Party {
        user: Some(format!("{name}-user")),
        sip_call_id: Some(format!("{name}-id")),
        address: Some(format!("{name}-address")),
        quality: Some(LegQuality {
            packets: u64::from(base + 1),
            bytes: u64::from(base + 2),
            lost: u64::MAX,
            jitter_us_max: base + 4,
            mos_x100: 441,
        }),
    };
    let record = CallRecord {
        transferred_by: Some(store::ReleasedBy::Callee),
        transferred_to: Some("1001".into()),
        call_id: "c1".into(),
        node: Some("media-1".into()),
        started_at_ms: Some(1),
        ringing_at_ms: Some(2),
        answered_at_ms: Some(3),
        ended_at_ms: Some(4),
        request_uri: Some("sip:b@h".into()),
        status: Some(200),
        q850: Some(16),
        cause: Some("normal'; DROP TABLE cdr; --".into()),
        released_by: Some(ReleasedBy::System),
        codec: Some("PCMA/8000".into()),
        caller: party("caller", 10),
        callee: party("callee", 20),
    };
    let folder = Folder::new();
    let Store { journal, drain, .. } = folder.open().await;
    journal.append(&record).unwrap();
    drain.run(async {}).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.database());
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let row = sqlx::query("SELECT * FROM cdr")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let text = |column: &str| {
        let value = row.try_get_unchecked::<String, _>(column);
        value.unwrap_or_else(|error| panic!("{column}: {error}"))
    };
    for (column, expected) in [
        ("call_id", "c1"),
        ("node", "media-1"),
        ("started_at_ms", "1"),
        ("ringing_at_ms", "2"),
        ("answered_at_ms", "3"),
        ("ended_at_ms", "4"),
        ("request_uri", "sip:b@h"),
        ("status", "200"),
        ("q850", "16"),
        ("cause", "normal'; DROP TABLE cdr; --"),
        ("released_by", "system"),
        ("codec", "PCMA/8000"),
        ("caller_user", "caller-user"),
        ("caller_sip_call_id", "caller-id"),
        ("caller_address", "caller-address"),
        ("caller_packets", "11"),
        ("caller_bytes", "12"),
        ("caller_lost", "9223372036854775807"),
        ("caller_jitter_us_max", "14"),
        ("caller_mos_x100", "441"),
        ("callee_user", "callee-user"),
        ("callee_sip_call_id", "callee-id"),
        ("callee_address", "callee-address"),
        ("callee_packets", "21"),
        ("callee_bytes", "22"),
        ("callee_lost", "9223372036854775807"),
        ("callee_jitter_us_max", "24"),
        ("callee_mos_x100", "441"),
        ("transferred_by", "callee"),
        ("transferred_to", "1001"),
    ] {
        assert_eq!(text(column), expected, "{column}");
    }
    assert_eq!(row.len(), 30);
}

/// Rows that the database will never take must not hold up those that it takes: neither while running, nor at a start.
#[tokio::test]
async fn a_record_that_the_database_refuses_is_left_out_and_counted() {
    let folder = Folder::new();
    let store = folder.open().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.database());
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(
        "CREATE TRIGGER refuse BEFORE INSERT ON cdr WHEN NEW.cause = 'refused'
         BEGIN SELECT RAISE(ABORT, 'no such cause'); END",
    )
    .execute(&mut other)
    .await
    .unwrap();
    other.close().await.unwrap();
    let refused = |call: &str| CallRecord {
        cause: Some("refused".into()),
        ..ended(call)
    };
    let batch = |journal: &store::Journal| {
        for record in [
            answered("c1"),
            ended("c1"),
            answered("c2"),
            refused("c2"),
            ended("c3"),
            refused("c4"),
        ] {
            journal.append(&record).unwrap();
        }
    };
    batch(&store.journal);
    let counters = store.journal.clone();
    store.drain.run(async {}).await.unwrap();
    let counted = counters.counters().snapshot();
    assert_eq!(
        (counted.stored, counted.refused, counted.journal_bytes),
        (4, 2, 0)
    );
    drop((store.journal, counters));
    let expected = |c2: Option<i64>, cause: Option<&str>| {
        vec![
            ("c1".into(), Some(9_000), Some("normal".into()), None),
            // What was known of it before is kept.
            ("c2".into(), c2, cause.map(Into::into), None),
            ("c3".into(), Some(9_000), Some("normal".into()), None),
        ]
    };
    assert_eq!(folder.rows().await, expected(None, None));
    folder.forget().await;

    let store = folder.open().await;
    batch(&store.journal);
    die(store);
    let store = folder.open().await;
    assert_eq!((store.recovery.records, store.recovery.refused), (4, 2));
    assert_eq!(store.recovery.calls_closed, 1);
    let closed = expected(Some(NOW_MS), Some("control plane restarted"));
    assert_eq!(folder.rows().await, closed);
}
