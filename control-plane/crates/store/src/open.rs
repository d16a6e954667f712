use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use crate::segment::SegmentNames;
use crate::{BindingRecord, Counters, Database, Drain, Journal, StoreError, UserRecord, drain};

/// The cause of a call that a killed control plane left without an end.
const CAUSE_RESTARTED: &str = "control plane restarted";

/// Where the store is and how much it may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// The SQLite file. The journal and a lock file lie beside its place, also when records go to PostgreSQL.
    pub path: PathBuf,
    /// The URL of a PostgreSQL database (`postgresql://user@host/name`) that has everything instead of the file.
    pub postgresql: Option<String>,
    /// The most bytes that the journal's files may have together.
    pub journal_bytes_max: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// For the signalling thread.
    pub journal: Journal,
    /// To be run as a task.
    pub drain: Drain,
    /// What was found at start.
    pub recovery: Recovery,
    /// The contacts of users that have not run out.
    pub bindings: Vec<BindingRecord>,
    /// The users that may register.
    pub users: Vec<UserRecord>,
}

/// What an earlier process left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records replayed from the journal.
    pub records: u64,
    /// Bytes of the journal that were no whole record.
    pub torn_bytes: u64,
    /// Whole frames whose content was no record.
    pub unreadable: u64,
    /// Records that the database refused for what is in them, and that are left out.
    pub refused: u64,
    /// Calls that had been answered and had no end.
    pub calls_closed: u64,
}

/// Opens the store: takes its lock, makes or migrates the database, replays the journal and closes the calls that
/// nobody will end any more, as ended at `now_ms` (milliseconds since the Unix epoch).
///
/// A journal file is removed after its records are committed, so a death in the middle of this repeats it.
pub async fn open(options: &Options, now_ms: i64) -> Result<Store, StoreError> {
    let names = SegmentNames::beside(&options.path).map_err(StoreError::file(&options.path))?;
    let lock = lock(&options.path)?;
    let mut database = Database::open(options).await?;
    let counters = Counters::default();
    let left = names.list().map_err(StoreError::file(&options.path))?;
    for &number in &left {
        replay(&names.path(number), &mut database, &counters).await?;
    }
    let counted = counters.snapshot();
    let recovery = Recovery {
        records: counted.stored,
        torn_bytes: counted.torn_bytes,
        unreadable: counted.unreadable,
        refused: counted.refused,
        calls_closed: database.close_open(now_ms, CAUSE_RESTARTED).await?,
    };
    let bindings = database.bindings(now_ms).await?;
    let users = database.users().await?;
    let journal =
        Journal::begin(names, options.journal_bytes_max, lock).map_err(StoreError::file(&options.path))?;
    let drain = Drain::new(journal.shared().clone(), database);
    Ok(Store {
        journal,
        drain,
        recovery,
        bindings,
        users,
    })
}

fn lock(database: &Path) -> Result<File, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StoreError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path }),
        Err(TryLockError::Error(error)) => Err(StoreError::file(path)(error)),
    }
}

async fn replay(path: &Path, database: &mut Database, counters: &Counters) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::file(path))?;
    let length = file.metadata().map_err(StoreError::file(path))?.len();
    let mut offset = 0;
    while offset < length {
        let batch = drain::read_batch(&file, offset, length, counters).map_err(StoreError::file(path))?;
        let refused = database.store(&batch.records).await?;
        counters
            .stored
            .fetch_add(batch.records.len() as u64 - refused, Relaxed);
        counters.refused.fetch_add(refused, Relaxed);
        offset += batch.bytes;
    }
    fs::remove_file(path).map_err(StoreError::file(path))
}
