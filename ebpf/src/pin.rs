use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use libbpf_rs::MapHandle;
use nix::sys::statfs::{FsType, statfs};

use crate::attach::{Attachment, Mode};
use crate::link::{self, Link};
use crate::{Error, Program, layout};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// What the names of all such directories begin with; the version of the layout follows.
const PREFIX: &str = "relay-v";

fn directory_name() -> String {
    format!("{PREFIX}{}", layout::VERSION)
}

/// A directory of a BPF file system in which a relay is pinned: its maps, its program and its attachments. What is
/// pinned outlives the process, so that packets go on flowing, and the next process adopts it.
///
/// The version of the layout is part of the path: another version's relay is not seen.
#[derive(Clone, Debug)]
pub struct PinDirectory {
    path: PathBuf,
}

impl PinDirectory {
    /// Makes the directory below `root`, which must lie in a BPF file system (`mount -t bpf bpf /sys/fs/bpf`).
    pub fn new(root: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::kernel("making a directory for pins", source);
        let path = root.join(directory_name());
        fs::create_dir_all(&path).map_err(failed)?;
        let kind = statfs(&path).map_err(|errno| failed(errno.into()))?;
        if kind.filesystem_type() != BPF_FS {
            fs::remove_dir(&path).map_err(failed)?;
            let text = format!("{} is not in a BPF file system", root.display());
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        Ok(Self { path })
    }

    /// Those below `root` of relays of other layouts, which other builds have pinned: none of them can be taken over.
    pub fn of_other_layouts(root: &Path) -> Result<Vec<Self>, Error> {
        let own = directory_name();
        Self::below(root, |name| name != own)
    }

    fn below(root: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Self>, Error> {
        let failed = |source| Error::kernel("reading the directories of pins", source);
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name
                .to_str()
                .is_some_and(|name| name.starts_with(PREFIX) && is_wanted(name))
            {
                found.push(Self { path: entry.path() });
            }
        }
        Ok(found)
    }

    /// Where the pins are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a relay is pinned here: its program is pinned last.
    pub fn has_relay(&self) -> bool {
        self.program().exists()
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.path.join("program")
    }

    /// Pins the program, in the place of one that is pinned: at no moment is there none.
    pub(crate) fn pin_program(&self, program: &Program) -> Result<(), Error> {
        let failed = |source| Error::kernel("pinning a program", source);
        let next = self.path.join("program-next");
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        program.pin(&next)?;
        fs::rename(next, self.program()).map_err(failed)
    }

    pub(crate) fn map(&self, name: &str) -> Result<MapHandle, Error> {
        MapHandle::from_pinned_path(self.path.join(name))
            .map_err(|error| Error::libbpf("opening a pinned map", &error))
    }

    pub(crate) fn pin_map(&self, name: &str, map: &MapHandle) -> Result<(), Error> {
        link::pin(map.as_fd(), &self.path.join(name))
    }

    /// Pins an attachment: the program stays on the interface when this process ends.
    pub fn pin_attachment(&self, attachment: &Attachment) -> Result<(), Error> {
        link::pin(attachment.link.as_fd(), &self.attachment(attachment))
    }

    /// Whether an attachment is pinned here.
    pub fn has_attachment(&self, attachment: &Attachment) -> bool {
        self.attachment(attachment).exists()
    }

    /// Takes an attachment's pin away; it ends with the last process that holds it.
    pub fn unpin_attachment(&self, attachment: &Attachment) -> Result<(), Error> {
        fs::remove_file(self.attachment(attachment)).map_err(|source| Error::kernel("removing a pin", source))
    }

    /// BPF file systems take no dots in names, and interfaces have them.
    fn attachment(&self, attachment: &Attachment) -> PathBuf {
        let name = format!("link-{}-{}", attachment.mode.name(), attachment.ifindex);
        self.path.join(name)
    }

    /// The pinned attachments.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        let mut attachments = Vec::new();
        for name in self.names()? {
            let mut parts = name.strip_prefix("link-").unwrap_or_default().split('-');
            let mode = parts
                .next()
                .and_then(|part| Mode::ALL.iter().find(|mode| mode.name() == part));
            let ifindex = parts.next().and_then(|part| part.parse::<NonZeroU32>().ok());
            let (Some(&mode), Some(ifindex)) = (mode, ifindex) else {
                continue;
            };
            attachments.push(Attachment {
                link: Link::open(&self.path.join(&name))?,
                ifindex,
                mode,
                reason: "adopted".to_owned(),
            });
        }
        Ok(attachments)
    }

    /// Those below `root` in which a relay may be pinned, of whichever layout; none where there is no such directory.
    pub fn of_all_layouts(root: &Path) -> Result<Vec<Self>, Error> {
        Self::below(root, |_| true)
    }

    /// Detaches what is attached, so that interfaces are free at once, and removes every pin and the directory.
    ///
    /// Whoever owns the pins may remove them without being allowed to open them: what is attached then ends with its pin.
    pub fn discard(self) -> Result<(), Error> {
        for attachment in self.attachments().unwrap_or_default() {
            // The interface may be gone.
            let _ = attachment.detach();
        }
        self.remove()
    }

    /// Removes every pin and the directory. What no process holds is then gone, and its programs are detached.
    pub fn remove(self) -> Result<(), Error> {
        self.clear()?;
        fs::remove_dir(&self.path).map_err(|source| Error::kernel("removing pins", source))
    }

    /// Removes every pin.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        for name in self.names()? {
            fs::remove_file(self.path.join(name)).map_err(|source| Error::kernel("removing pins", source))?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let failed = |source| Error::kernel("reading a directory of pins", source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }
}
