use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::{Error, Program};

/// The tie between a program and what it is attached to. The program stays attached while this or a pin holds it.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches `program` to `target`, an interface's number or a descriptor by what `attach_type` is.
    pub(crate) fn create(
        program: BorrowedFd<'_>,
        target: i32,
        attach_type: libbpf_sys::bpf_attach_type,
        flags: u32,
    ) -> Result<Self, Error> {
        let options = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
            flags,
            ..Default::default()
        };
        // SAFETY: the descriptor is borrowed for the call; `options` is a live local whose `sz` is its size.
        let fd = unsafe {
            libbpf_sys::bpf_link_create(program.as_raw_fd(), target, attach_type, &raw const options)
        };
        Self::from_result("attaching a program", fd)
    }

    /// Opens a pinned link.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { fd: open_pin(path)? })
    }

    /// Puts `program` in the place of the one that is attached; no packet falls between the two.
    pub fn update(&self, program: &Program) -> Result<(), Error> {
        // SAFETY: both descriptors are owned for the call; null options are allowed.
        let result = unsafe {
            libbpf_sys::bpf_link_update(self.fd.as_raw_fd(), program.as_fd().as_raw_fd(), std::ptr::null())
        };
        if result < 0 {
            return Err(Error::kernel("updating a link", io::Error::last_os_error()));
        }
        Ok(())
    }

    /// Detaches the program now, whatever else holds the link.
    pub fn detach(&self) -> Result<(), Error> {
        // SAFETY: the descriptor is owned by `self`.
        let result = unsafe { libbpf_sys::bpf_link_detach(self.fd.as_raw_fd()) };
        if result < 0 {
            return Err(Error::kernel("detaching a program", io::Error::last_os_error()));
        }
        Ok(())
    }

    fn from_result(what: &'static str, fd: i32) -> Result<Self, Error> {
        if fd < 0 {
            return Err(Error::kernel(what, io::Error::last_os_error()));
        }
        // SAFETY: the call gave a new descriptor, which nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives a program or link a name in a BPF file system; it lives as long as the name.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let path = c_path(path)?;
    // SAFETY: the descriptor is borrowed for the call, and the path is a live string with its terminator.
    let result = unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), path.as_ptr()) };
    if result < 0 {
        return Err(Error::kernel("pinning", io::Error::last_os_error()));
    }
    Ok(())
}

/// A descriptor of what has this name in a BPF file system.
pub(crate) fn open_pin(path: &Path) -> Result<OwnedFd, Error> {
    let path = c_path(path)?;
    // SAFETY: the path is a live string with its terminator.
    let fd = unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) };
    if fd < 0 {
        return Err(Error::kernel("opening a pin", io::Error::last_os_error()));
    }
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Error::kernel("naming a pin", io::Error::from(error)))
}
