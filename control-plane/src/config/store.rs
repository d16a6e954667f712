use std::path::PathBuf;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// The `[store]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The SQLite file of call records, users and their contacts. Journal and lock lie beside it.
    pub path: PathBuf,
    /// A PostgreSQL database that has them instead. Journal and lock stay where `path` says.
    #[serde(default)]
    pub postgresql: Option<DatabaseUrl>,
    /// The most bytes that the journal may have while the database does not take records. From nine tenths on new calls
    /// get 503; at the limit records of calls that end are lost, and counted.
    #[serde(default = "Store::journal_bytes_max")]
    pub journal_bytes_max: u64,
}

/// `postgresql://user:password@host:port/name`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The text, password included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DatabaseUrl {
    /// Nothing of it: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Store {
    /// What the store is opened with.
    pub fn options(&self) -> store::Options {
        store::Options {
            path: self.path.clone(),
            postgresql: self.postgresql.as_ref().map(|url| url.as_str().to_owned()),
            journal_bytes_max: self.journal_bytes_max,
        }
    }

    const fn journal_bytes_max() -> u64 {
        256 * 1024 * 1024
    }
}

impl Validate for Store {
    fn validate(&self, problems: &mut Problems) {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if self.path.file_name().is_none() {
            problems.push("path", "must name a file");
        } else if self.path.is_dir() {
            problems.push("path", "is a folder");
        } else if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            problems.push("path", format!("is in {}, which is no folder", folder.display()));
        }
        if let Some(url) = &self.postgresql
            && !["postgresql://", "postgres://"]
                .iter()
                .any(|scheme| url.0.starts_with(scheme))
        {
            problems.push("postgresql", "must begin with postgresql://");
        }
        problems.range("journal_bytes_max", self.journal_bytes_max, 1 << 20..=1 << 40);
    }
}
