use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use ebpf::PinDirectory;
use rustix::fs::{FlockOperation, flock, fstat};

use crate::config::Config;

/// The directory of pins, locked as long as this process uses it, or one that it was handed to.
#[derive(Debug)]
pub(super) struct Pins {
    pub(super) directory: PinDirectory,
    lock: File,
}

impl Pins {
    /// `None` when the configuration wants no pins, or there cannot be any, of which the log tells. `inherited`: the lock of a process
    /// that lives and is about to leave its pins. What builds with another layout have pinned goes: it would keep the interfaces.
    ///
    /// # Errors
    /// When another process has them.
    pub(super) fn open(config: &Config, inherited: Option<&OwnedFd>) -> Result<Option<Self>, String> {
        if config.kernel.pin_directory.as_os_str().is_empty() {
            return Ok(None);
        }
        let root = root_of(config);
        let directory = match PinDirectory::new(&root) {
            Ok(directory) => directory,
            Err(error) => {
                tracing::warn!(
                    pin_directory = %root.display(),
                    %error,
                    "nothing is pinned: kernel flows end with this process"
                );
                return Ok(None);
            }
        };
        let failed = |error: io::Error| format!("{}: {error}", directory.path().display());
        let lock = match inherited {
            Some(inherited) if is_of(inherited, &directory) => inherited.try_clone().map_err(failed)?.into(),
            Some(_) => return Err("the process before has its flows elsewhere".to_owned()),
            None => lock(&directory)?,
        };
        for other in PinDirectory::of_other_layouts(&root).map_err(|error| error.to_string())? {
            let _lock = self::lock(&other)?;
            let path = other.path().display().to_string();
            tracing::warn!(
                path,
                "pins of a version with another layout are removed, and its kernel flows end"
            );
            other.discard().map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(Some(Self { directory, lock }))
    }

    /// Another descriptor of the lock, which is held as long as there is one.
    pub(super) fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.try_clone().map(OwnedFd::from)
    }

    /// Whether this is their lock.
    pub(super) fn has(&self, lock: &OwnedFd) -> bool {
        is_of(lock, &self.directory)
    }
}

/// What an earlier process has pinned and this one does not go on with; locked. It forwards until it is discarded.
#[derive(Debug, Default)]
pub(super) struct Abandoned(Vec<Pins>);

impl Abandoned {
    /// What there is of any layout. What another process has is not among it.
    pub(super) fn find(config: &Config) -> Self {
        let root = root_of(config);
        if config.kernel.pin_directory.as_os_str().is_empty() {
            return Self::default();
        }
        let found = PinDirectory::of_all_layouts(&root).unwrap_or_else(|error| {
            tracing::warn!(pin_directory = %root.display(), %error, "an earlier process may have left a relay");
            Vec::new()
        });
        let mut abandoned = Vec::new();
        for directory in found {
            match lock(&directory) {
                Ok(lock) => abandoned.push(Pins { directory, lock }),
                Err(error) => tracing::warn!(error, "an earlier relay stays as it is"),
            }
        }
        Self(abandoned)
    }

    /// Ends it: from now on packets come to user space.
    pub(super) fn discard(&self) {
        for Pins { directory, .. } in &self.0 {
            let path = directory.path().display();
            match directory.clone().discard() {
                Ok(()) => {
                    tracing::warn!(%path, "the relay of an earlier process is removed: its calls go on in user space")
                }
                Err(error) => tracing::error!(
                    %path,
                    %error,
                    "the relay of an earlier process goes on forwarding packets of its calls: remove its pins"
                ),
            }
        }
    }
}

/// Where the pins of a node are, of any layout.
fn root_of(config: &Config) -> PathBuf {
    // BPF file systems take no dots in names.
    let name = config
        .node_id
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    config.kernel.pin_directory.join(name)
}

/// Where the pins are whose lock this is.
pub(super) fn path_of(lock: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", lock.as_raw_fd())).unwrap_or_default()
}

fn is_of(lock: &OwnedFd, directory: &PinDirectory) -> bool {
    let (Ok(lock), Ok(directory)) = (fstat(lock.as_fd()), rustix::fs::stat(directory.path())) else {
        return false;
    };
    (lock.st_dev, lock.st_ino) == (directory.st_dev, directory.st_ino)
}

fn lock(directory: &PinDirectory) -> Result<File, String> {
    let path = directory.path().display();
    let lock = File::open(directory.path()).map_err(|error| format!("{path}: {error}"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(format!("another process uses {path}")),
    }
}
