use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The node's own directory below `state_directory`, locked: no other process has it.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Locked as long as it is open, here or in a process that it was handed to.
    lock: File,
}

/// Why a process has no state directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error("another process is this node ({} is locked)", .0.display())]
    Taken(PathBuf),
    /// It cannot be made or used.
    #[error("{}: {error}", .path.display())]
    Unusable {
        /// What cannot be used.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl StateDirectory {
    /// Makes `root`/`node_id` for the owner alone, unless it is there, and locks it.
    pub fn lock(root: &Path, node_id: &str) -> Result<Self, DirectoryError> {
        let path = Self::path_of(root, node_id);
        let unusable = |error| DirectoryError::Unusable {
            path: path.clone(),
            error,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(unusable)?;
        let name = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::Taken(name)),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Where it is.
    pub fn path_of(root: &Path, node_id: &str) -> PathBuf {
        root.join(name(node_id))
    }

    /// That of another process, whose lock this is.
    pub fn inherit(root: &Path, node_id: &str, lock: OwnedFd) -> Self {
        Self {
            path: Self::path_of(root, node_id),
            lock: lock.into(),
        }
    }

    /// Another descriptor of the lock, which is held as long as there is one.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.lock.try_clone().map(OwnedFd::from)
    }

    /// A file of this name in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The directory of a node: its name, unless that would lead elsewhere.
fn name(node_id: &str) -> String {
    let name = node_id.replace('/', "_");
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_it_at_a_time() {
        let root = tempfile::tempdir().expect("a directory");
        let first = StateDirectory::lock(root.path(), "m-1").expect("free");
        let second = StateDirectory::lock(root.path(), "m-1").expect_err("taken");
        assert!(matches!(second, DirectoryError::Taken(_)), "{second}");
        StateDirectory::lock(root.path(), "m-2").expect("another node's");
        drop(first);
        StateDirectory::lock(root.path(), "m-1").expect("free again");
    }

    #[test]
    fn a_nodes_name_leads_nowhere_else() {
        for (node_id, directory) in [
            ("m.1", "m.1"),
            ("..", "_."),
            ("/etc", "_etc"),
            ("a/../b", "a_.._b"),
        ] {
            assert_eq!(name(node_id), directory);
        }
    }

    #[test]
    fn a_place_that_cannot_hold_it_is_named() {
        let root = tempfile::NamedTempFile::new().expect("a file");
        let error = StateDirectory::lock(root.path(), "m-1").expect_err("a file is no directory");
        assert!(
            error
                .to_string()
                .starts_with(root.path().to_str().expect("UTF-8")),
            "{error}"
        );
    }
}
