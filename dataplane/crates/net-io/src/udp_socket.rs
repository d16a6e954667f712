//! One port's UDP socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use media_engine::OpenError;
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::SocketOptions;
use crate::waker::timespec;

/// Opens and binds a non-blocking UDP socket; returns the address it is bound to (port 0 becomes a number).
///
/// Without SO_REUSEADDR and SO_REUSEPORT: a port that anything else has must be refused, or two calls share media.
pub(crate) fn bind(local: SocketAddr, options: &SocketOptions) -> Result<(OwnedFd, SocketAddr), OpenError> {
    let attempt = || -> io::Result<(OwnedFd, SocketAddr)> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
        let class = u32::from(options.dscp) << 2;
        if local.is_ipv6() {
            // An IPv4 port with the same number is a port of its own.
            socket.set_only_v6(true)?;
            socket.set_tclass_v6(class)?;
        } else {
            socket.set_tos_v4(class)?;
        }
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        if let Some(bytes) = options.send_buffer {
            socket.set_send_buffer_size(bytes as usize)?;
        }
        report_overflow(socket.as_fd())?;
        socket.bind(&SockAddr::from(local))?;
        let bound = if local.port() == 0 {
            socket.local_addr()?.as_socket().unwrap_or(local)
        } else {
            local
        };
        if options.steered_elsewhere && !hears(&socket, bound)? {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        Ok((socket.into(), bound))
    };
    attempt().map_err(|error| open_error(&error))
}

/// How long the packet of [`hears`] has: loopback delivers within the call that sends, unless the core has much to do.
const HEARING: Duration = Duration::from_millis(5);

/// Whether what is sent to a bound socket comes to it, and not to a process that steers its port away.
fn hears(socket: &Socket, local: SocketAddr) -> io::Result<bool> {
    let sender = UdpSocket::bind((local.ip(), 0))?;
    let from = sender.local_addr()?;
    // What RTP and RTCP never begin with (RFC 7983), so that nobody takes it for media.
    let payload = [0xff; 4];
    sender.send_to(&payload, local)?;
    let socket: UdpSocket = socket.try_clone()?.into();
    let mut bytes = [0; 8];
    loop {
        match socket.recv_from(&mut bytes) {
            Ok((length, source)) if source == from && bytes[..length] == payload => return Ok(true),
            // Somebody was quicker to send; the port is not in use yet.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let ready = poll(
                    &mut [PollFd::new(&socket, PollFlags::IN)],
                    Some(&timespec(HEARING)),
                );
                if !matches!(ready, Ok(1..)) {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Binds a port for a moment: finds out that no other socket has it, or, for port 0, one that none has.
///
/// Without SO_REUSEADDR and SO_REUSEPORT, as [`bind`].
pub(crate) fn free(local: SocketAddr) -> Result<SocketAddr, OpenError> {
    let attempt = || -> io::Result<SocketAddr> {
        let socket = Socket::new(
            Domain::for_address(local),
            Type::DGRAM.cloexec(),
            Some(Protocol::UDP),
        )?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(local))?;
        if local.port() != 0 {
            return Ok(local);
        }
        Ok(socket.local_addr()?.as_socket().unwrap_or(local))
    };
    attempt().map_err(|error| open_error(&error))
}

/// Takes the socket that is bound to `local` out of those that were adopted.
pub(crate) fn take(adopted: &mut Vec<(SocketAddr, OwnedFd)>, local: SocketAddr) -> Option<OwnedFd> {
    let at = adopted.iter().position(|(bound, _)| *bound == local)?;
    Some(adopted.swap_remove(at).1)
}

/// What an error of the kernel means for opening a port.
pub(crate) fn open_error(error: &io::Error) -> OpenError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::InUse,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC) => {
            OpenError::Exhausted
        }
        _ => OpenError::Refused,
    }
}

/// Has each datagram that comes after a drop at the socket carry the number of drops so far (SO_RXQ_OVFL). A socket
/// that never overflowed adds nothing to its datagrams.
pub(crate) fn report_overflow(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: validity and bounds: the kernel reads the four bytes of `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Datagrams that the kernel dropped at this socket since it was made, because its receive buffer was full.
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    /// Place of the drop count in `SO_MEMINFO`'s answer (linux/sock_diag.h: SK_MEMINFO_DROPS).
    const DROPS: usize = 8;
    let mut values = [0u32; 9];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: validity and bounds: the kernel writes at most `length` bytes, which is the size of `values`, and the
    // length; both are locals that outlive the call. Aliasing: exclusive borrows. Alignment and initialisation: by
    // their types.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut values).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(values[DROPS])
    } else {
        Err(io::Error::last_os_error())
    }
}
