use std::fs::File;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ops::connection::Connection;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_stream::Stream;

use crate::config::ListenAddress;
use crate::node::Tally;

/// Rest after an error of accepting (no file left): the connections wait in the kernel meanwhile.
const REST: Duration = Duration::from_millis(100);

/// Rights of a Unix socket's file: the node's user and group may connect.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait in the kernel.
const BACKLOG: i32 = 1_024;

/// The connections that come in, at most so many at once.
pub struct Incoming {
    listener: Listener,
    places: Arc<Semaphore>,
    tally: Tally,
    rest: Option<Pin<Box<Sleep>>>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes the socket's file when the node stops, unless another process listens there by then.
struct SocketFile {
    path: PathBuf,
    left: Arc<AtomicBool>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            left: Arc::default(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Relaxed) {
            // Someone may have removed it before.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Incoming {
    /// Listens at `address`; within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is taken, or is not ours.
    pub async fn bind(address: &ListenAddress, connections_max: usize, tally: Tally) -> io::Result<Self> {
        let listener = match address {
            ListenAddress::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
            ListenAddress::Unix(path) => {
                remove_stale(path)?;
                let listener = bind_unix(path)?;
                let file = SocketFile::new(path);
                // A stricter umask took the group's rights.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
                Listener::Unix(listener, file)
            }
        };
        Ok(Self {
            listener,
            places: Arc::new(Semaphore::new(connections_max)),
            tally,
            rest: None,
        })
    }

    /// Listens with a socket that does so already, at `address` as configured; within a Tokio runtime.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn inherit(
        listener: OwnedFd,
        address: &ListenAddress,
        connections_max: usize,
        tally: Tally,
    ) -> io::Result<Self> {
        let listener = match address {
            ListenAddress::Tcp(_) => Listener::Tcp(TcpListener::from_std(listener.into())?),
            ListenAddress::Unix(path) => {
                Listener::Unix(UnixListener::from_std(listener.into())?, SocketFile::new(path))
            }
        };
        Ok(Self {
            listener,
            places: Arc::new(Semaphore::new(connections_max)),
            tally,
            rest: None,
        })
    }

    /// Set it when another process goes on listening: a Unix socket's file stays then.
    pub fn left(&self) -> Arc<AtomicBool> {
        match &self.listener {
            Listener::Tcp(_) => Arc::default(),
            Listener::Unix(_, file) => file.left.clone(),
        }
    }

    /// Another descriptor of the listener, for the next process.
    ///
    /// # Errors
    /// When there can be no more.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Listener::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Where it listens, with the port that the kernel chose if that was 0.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<ListenAddress> {
        Ok(match &self.listener {
            Listener::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            Listener::Unix(_, file) => ListenAddress::Unix(file.path.clone()),
        })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Poll::Ready(match &self.listener {
            Listener::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
            Listener::Unix(listener, _) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| Accepted::Unix(stream))
            }
        })
    }
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(cx));
                self.rest = None;
            }
            let accepted = match ready!(self.poll_accept(cx)) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.tally.count_accept_error();
                    tracing::warn!(%error, "a gRPC connection cannot be accepted");
                    self.rest = Some(Box::pin(tokio::time::sleep(REST)));
                    continue;
                }
            };
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                self.tally.count_refused_connection();
                continue;
            };
            self.tally.count_connection();
            return Poll::Ready(Some(Ok(match accepted {
                Accepted::Tcp(stream, peer) => {
                    tracing::debug!(%peer, "gRPC connection");
                    // Small answers must not wait for each other; where it fails they merely come later.
                    let _ = stream.set_nodelay(true);
                    Connection::new(stream, place)
                }
                Accepted::Unix(stream) => {
                    let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
                    tracing::debug!(process, "gRPC connection");
                    Connection::new(stream, place)
                }
            })));
        }
    }
}

/// Listens at `path`, which nobody else can connect to at any moment: the kernel gives the file of a socket that is bound
/// the rights of the socket itself, less the umask.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = File::from(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?);
    socket.set_permissions(std::fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

/// Removes a socket's file that a process left when it was killed. One that somebody listens at, or another kind of file,
/// stays, and binding fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path is there and is not a socket",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_else_may_connect_from_the_first_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("media.sock");
        let listener = bind_unix(&path).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
        tokio::net::UnixStream::connect(&path).await.expect("ours");
        listener.accept().await.expect("a connection");
    }
}
