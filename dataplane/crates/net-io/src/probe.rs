//! Which back-end to use here, found out by trying.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use media_engine::{OpenError, Ports};

use crate::config::IoConfig;
use crate::packet_io::PacketIo;
use crate::uring::{SetupError, Uring};

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requested {
    /// The best that works here.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Plain sockets, even where io_uring works.
    Socket,
}

impl FromStr for Requested {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "socket" => Ok(Self::Socket),
            _ => Err(UnknownBackend),
        }
    }
}

/// A back-end was asked for that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the back-end must be auto, uring or socket")]
pub struct UnknownBackend;

/// A back-end that talks to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// [`crate::uring::Uring`].
    Uring,
    /// [`crate::socket::Sockets`].
    Socket,
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Uring => "uring",
            Self::Socket => "socket",
        })
    }
}

/// The back-end that was asked for does not work here.
#[derive(Debug, thiserror::Error)]
#[error("back-end uring does not work here: {0}")]
pub struct ProbeError(#[source] SetupError);

/// Chooses a back-end and says why, for people.
///
/// Unless `socket` is asked for, this builds a small ring, sends packets through it over loopback and takes it down
/// again: what the start of a worker would meet is met here, such as a container that refuses io_uring. Takes a few
/// milliseconds, and a second when packets get lost. Any thread.
///
/// # Errors
///
/// `uring` was asked for and does not work.
pub fn choose(requested: Requested) -> Result<(Backend, String), ProbeError> {
    match requested {
        Requested::Socket => Ok((Backend::Socket, "asked for".to_owned())),
        Requested::Uring => match try_uring() {
            Ok(found) => Ok((Backend::Uring, format!("asked for; {found}"))),
            Err(error) => Err(ProbeError(error)),
        },
        Requested::Auto => Ok(match try_uring() {
            Ok(found) => (Backend::Uring, found),
            Err(error) => (Backend::Socket, error.to_string()),
        }),
    }
}

/// Packets that the probe sends each way. More than one, so that a receive that is not really multishot is noticed.
const PACKETS: u64 = 3;

/// Polls that a packet has time for, of [`POLL`] each.
const POLLS: u32 = 50;

const POLL: Duration = Duration::from_millis(20);

/// Relays packets over loopback with a small ring, or says what went wrong.
fn try_uring() -> Result<String, SetupError> {
    let config = IoConfig {
        frames: IoConfig::FRAMES_MIN,
        ports_max: 2,
        submission_entries: 8,
        completion_entries: 64,
        ..IoConfig::default()
    };
    let mut uring = Uring::new(&config)?;
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let Some((peer, ip)) = loopback
        .into_iter()
        .find_map(|ip| UdpSocket::bind((ip, 0)).ok().map(|peer| (peer, ip)))
    else {
        return Ok("io_uring can be set up (no loopback address to try it with)".to_owned());
    };
    let port = uring.open(SocketAddr::new(ip, 0)).map_err(|error| {
        let errno = match error {
            OpenError::Exhausted => libc::EMFILE,
            OpenError::InUse | OpenError::Refused => libc::EINVAL,
        };
        SetupError::at("opening a port on the ring")(io::Error::from_raw_os_error(errno))
    })?;
    let (Some(local), Ok(remote)) = (uring.local_address(port), peer.local_addr()) else {
        return Err(SetupError::at("opening a port on the ring")(
            io::Error::from_raw_os_error(libc::EINVAL),
        ));
    };

    let trying = SetupError::at("a packet over loopback through the ring");
    let timed_out = || io::Error::from_raw_os_error(libc::ETIMEDOUT);
    for _ in 0..PACKETS {
        peer.send_to(b"probe", local).map_err(&trying)?;
    }
    for _ in 0..POLLS {
        uring.poll(Some(POLL)).map_err(&trying)?;
        while let Some(received) = uring.receive() {
            uring.send(received.frame, port, remote);
        }
        let counters = uring.counters();
        if counters.sent == PACKETS || counters.receive_errors > 0 || counters.send_errors_total() > 0 {
            break;
        }
    }
    let counters = uring.counters();
    if counters.receive_errors > 0 || counters.send_errors_total() > 0 {
        // A kernel that has the operation and not this form of it refuses each request with EINVAL.
        return Err(trying(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    if counters.sent < PACKETS {
        return Err(trying(timed_out()));
    }
    if counters.receives_rearmed > 0 {
        return Err(SetupError::at("multishot receive")(io::Error::from_raw_os_error(
            libc::EINVAL,
        )));
    }
    peer.set_read_timeout(Some(POLL * POLLS)).map_err(&trying)?;
    for _ in 0..PACKETS {
        let mut buffer = [0; 16];
        let (length, source) = peer.recv_from(&mut buffer).map_err(|_| trying(timed_out()))?;
        if (&buffer[..length], source) != (b"probe".as_slice(), local) {
            return Err(trying(io::Error::from_raw_os_error(libc::EBADMSG)));
        }
    }
    Ok("io_uring relays packets here".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_ends_are_asked_for_by_name() {
        assert_eq!("auto".parse(), Ok(Requested::Auto));
        assert_eq!("uring".parse(), Ok(Requested::Uring));
        assert_eq!("socket".parse(), Ok(Requested::Socket));
        assert_eq!("Uring".parse::<Requested>(), Err(UnknownBackend));
        assert_eq!(
            (Backend::Uring.to_string(), Backend::Socket.to_string()),
            ("uring".into(), "socket".into())
        );
    }
}
