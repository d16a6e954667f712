use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::setting::Setting;
use super::view::{View, mask_cores};

/// The format of the file.
const VERSION: u32 = 1;

/// What `--apply` changed, for `--undo`. It is written before a change is made, so that an end in between loses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The start of the machine: with the next one nothing of this is left.
    boot_id: String,
    /// The network namespace that interfaces and net.* sysctls belong to.
    network_namespace: String,
    /// In the order in which they were made.
    pub changes: Vec<Change>,
}

/// One setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What.
    pub setting: Setting,
    /// What it was before anything was applied.
    pub before: String,
    /// What it was afterwards, as the kernel tells.
    pub after: String,
}

/// Why a record is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is not one.
    #[error("{path} is no undo record of this version: {reason}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has interfaces of another network namespace.
    #[error("{path} was written in another network namespace ({there}, this is {here}): run doctor there")]
    Namespace {
        /// The file.
        path: String,
        /// Its namespace.
        there: String,
        /// Ours.
        here: String,
    },
}

impl Record {
    /// An empty one of this machine, start and network namespace.
    ///
    /// # Errors
    /// When the kernel does not name them.
    pub fn new(view: &View<'_>) -> io::Result<Self> {
        Ok(Self {
            version: VERSION,
            boot_id: view.read("/proc/sys/kernel/random/boot_id")?,
            network_namespace: fs::read_link(view.at("/proc/self/ns/net"))?
                .to_string_lossy()
                .into_owned(),
            changes: Vec::new(),
        })
    }

    /// The record in `path`, if it still means something: `None` without a file, and after a restart of the machine.
    ///
    /// # Errors
    /// When the file is unreadable, not a record, or of another network namespace.
    pub fn load(view: &View<'_>, path: &Path) -> Result<Option<Self>, RecordError> {
        let name = || path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Io { path: name(), source }),
        };
        let format = |reason: String| RecordError::Format { path: name(), reason };
        let record: Self = serde_json::from_str(&text).map_err(|error| format(error.to_string()))?;
        if record.version != VERSION {
            return Err(format(format!("version {}", record.version)));
        }
        let now = Self::new(view).map_err(|source| RecordError::Io { path: name(), source })?;
        if record.boot_id != now.boot_id {
            return Ok(None);
        }
        let is_bound = record
            .changes
            .iter()
            .any(|change| change.setting.is_of_namespace());
        if is_bound && record.network_namespace != now.network_namespace {
            return Err(RecordError::Namespace {
                path: name(),
                there: record.network_namespace,
                here: now.network_namespace,
            });
        }
        Ok(Some(record))
    }

    /// Puts it into `path` as a whole; removes the file when nothing is left to undo. Only the owner may read or write it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if self.changes.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }

    /// Notes a change that is about to be made. What was there before our own earlier changes is kept; if somebody else
    /// changed the setting since, what they left is what an undo has to restore.
    pub fn plan(&mut self, setting: &Setting, before: &str, after: &str) {
        let earlier = self.changes.iter().position(|change| change.setting == *setting);
        let before = match earlier.map(|index| self.changes.remove(index)) {
            Some(earlier) if same(&earlier.after, before) => earlier.before,
            _ => before.to_owned(),
        };
        self.changes.push(Change {
            setting: setting.clone(),
            before,
            after: after.to_owned(),
        });
    }
}

/// Whether two texts are one value: masks of cores come back with other zeros than they were written with.
pub fn same(a: &str, b: &str) -> bool {
    a == b
        || a.len().max(b.len()) >= 8
            && mask_cores(a).is_some_and(|cores| !cores.is_empty() && Some(cores) == mask_cores(b))
        || a.bytes().chain(b.bytes()).all(|byte| b"0,".contains(&byte)) && !a.is_empty() && !b.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_compared_by_their_cores() {
        assert!(same("3", "00000003"));
        assert!(same("0", "00000000,00000000"));
        assert!(!same("3", "1"));
        assert!(!same("10", "16"));
        assert!(!same("33554432", "212992"));
        assert!(!same("on", "off"));
        assert!(!same("", "0"));
    }

    #[test]
    fn a_second_change_keeps_what_was_there_before_the_first() {
        let setting = Setting::Sysctl { name: "a.b".into() };
        let mut record = Record {
            version: VERSION,
            boot_id: String::new(),
            network_namespace: String::new(),
            changes: vec![],
        };
        record.plan(&setting, "1", "2");
        record.plan(&setting, "2", "3");
        assert_eq!(
            (&*record.changes[0].before, &*record.changes[0].after),
            ("1", "3")
        );
        // Somebody set it to 7 meanwhile.
        record.plan(&setting, "7", "3");
        assert_eq!((&*record.changes[0].before, record.changes.len()), ("7", 1));
    }
}
