use std::io;
use std::path::PathBuf;

/// Why the store could not be opened, or a batch not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the same store open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A file beside the database could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database said no.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// Why a record is not in the journal.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The journal has its configured size: the database has not taken records for a long time.
    #[error("the journal is full")]
    Full,
    /// The record is larger than [`crate::RECORD_BYTES_MAX`].
    #[error("the record has {bytes} bytes, more than a record may have")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The file could not be written.
    #[error("the journal cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl AppendError {
    /// The label of the failure counter.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooLarge { .. } => "too_large",
            Self::Io(_) => "io",
        }
    }
}
