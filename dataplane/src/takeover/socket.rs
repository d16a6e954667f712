//! The socket in the state directory, whatever the length of that directory's path.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tokio::net::{UnixListener, UnixStream};

const NAME: &str = "takeover.sock";

/// A socket in `directory` that the node's user alone may connect to: so are the rights of its file from the first moment, and of
/// the directory. Takes the place of one that is there; within a Tokio runtime.
///
/// # Errors
/// When it cannot be made.
pub fn listener(directory: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(directory.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let open = open(directory)?;
    let socket = File::from(socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?);
    socket.set_permissions(Permissions::from_mode(0o600))?;
    bind(&socket, &SocketAddrUnix::new(short(&open))?)?;
    listen(&socket, 1)?;
    // Tokio accepts connections of any kind of Unix socket.
    UnixListener::from_std(OwnedFd::from(socket).into())
}

/// A connection to the process that listens in `directory`; `None` when there is none. Within a Tokio runtime.
///
/// # Errors
/// When there may be one, and it cannot be reached.
pub fn stream(directory: &Path) -> io::Result<Option<UnixStream>> {
    let open = match open(directory) {
        Err(Errno::NOENT) => return Ok(None),
        open => open?,
    };
    let socket = socket(SocketFlags::CLOEXEC)?;
    match connect(&socket, &SocketAddrUnix::new(short(&open))?) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    UnixStream::from_std(socket.into()).map(Some)
}

/// One that keeps messages apart.
fn socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn open(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
}

/// The socket's path by way of the open directory: an address has room for 107 bytes (unix(7)), which a directory below a container's
/// or a user's exceeds.
fn short(directory: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_directory_may_have_a_long_path() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("d".repeat(150));
        assert!(stream(&directory).expect("nobody").is_none(), "no directory");
        fs::create_dir(&directory).expect("made");
        assert!(stream(&directory).expect("nobody").is_none(), "no socket");
        let first = listener(&directory).expect("listens");
        let mode = fs::metadata(directory.join(NAME))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(first);
        assert!(stream(&directory).expect("nobody").is_none(), "nobody listens");
        let second = listener(&directory).expect("in the place of the first");
        let connected = stream(&directory).expect("connects").expect("somebody");
        let (accepted, _) = second.accept().await.expect("accepted");
        let peer = accepted.peer_cred().expect("known");
        assert_eq!(peer.pid(), Some(std::process::id().cast_signed()));
        drop(connected);
    }
}
