use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the store counts, shared by its two halves. Each is read by [`Counters::snapshot`].
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) append_full: AtomicU64,
    pub(crate) append_too_large: AtomicU64,
    pub(crate) append_io: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) database_errors: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
    pub(crate) pending_records: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
}

/// The counters at one moment. Those not marked as a level only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Records written to the journal.
    pub appended: u64,
    /// Records refused because the journal had its size limit.
    pub append_full: u64,
    /// Records refused because they were too large.
    pub append_too_large: u64,
    /// Records that the file system did not take.
    pub append_io: u64,
    /// Records committed to the database, replayed ones included.
    pub stored: u64,
    /// Transactions committed.
    pub batches: u64,
    /// Transactions that failed and were tried again.
    pub database_errors: u64,
    /// Records that the database refused for what is in them, and that are left out.
    pub refused: u64,
    /// Whole frames whose content was no record.
    pub unreadable: u64,
    /// Bytes skipped because they were no whole frame.
    pub torn_bytes: u64,
    /// Level: records in the journal that are not in the database yet.
    pub pending_records: u64,
    /// Level: bytes that the journal's files have.
    pub journal_bytes: u64,
}

impl Counters {
    /// The values now. Each is exact, together they may be a few records apart.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            appended: self.appended.load(Relaxed),
            append_full: self.append_full.load(Relaxed),
            append_too_large: self.append_too_large.load(Relaxed),
            append_io: self.append_io.load(Relaxed),
            stored: self.stored.load(Relaxed),
            batches: self.batches.load(Relaxed),
            database_errors: self.database_errors.load(Relaxed),
            refused: self.refused.load(Relaxed),
            unreadable: self.unreadable.load(Relaxed),
            torn_bytes: self.torn_bytes.load(Relaxed),
            pending_records: self.pending_records.load(Relaxed),
            journal_bytes: self.journal_bytes.load(Relaxed),
        }
    }
}
