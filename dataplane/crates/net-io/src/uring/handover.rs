//! Letting go of sockets, for another process to go on with them.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use media_engine::PortId;

use super::ring::Waiting;
use super::{Control, Uring, request};

/// Turns in which receives must have ended, or a descriptor have been made, and how long each waits.
const TURNS: u32 = 200;
const TURN_WAIT: Duration = Duration::from_millis(10);

impl Uring {
    /// Ends the receives of all ports, which stay open.
    pub(super) fn end_receives(&mut self) -> io::Result<()> {
        self.stopped = true;
        for _ in 0..TURNS {
            let armed: Vec<Control> = self
                .slots
                .open_ports()
                .into_iter()
                .filter(|port| self.slots.is_armed(*port))
                .filter_map(|port| Some(Control::Cancel(port, self.slots.generation(port)?)))
                .collect();
            if armed.is_empty() {
                return Ok(());
            }
            // One that the kernel was at work on is cancelled again.
            self.control.extend(armed);
            self.turn(Waiting {
                completions: 1,
                timeout: Some(TURN_WAIT),
                gather: Duration::ZERO,
            })?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Asks for what [`Self::end_receives`] has ended.
    pub(super) fn begin_receives(&mut self) {
        self.stopped = false;
        for port in self.slots.open_ports() {
            if let Some(generation) = self.slots.generation(port) {
                self.control.push_back(Control::Receive(port, generation));
            }
        }
    }

    /// Makes a descriptor of a port's socket, which is in the ring's table only.
    pub(super) fn install(&mut self, port: PortId) -> io::Result<OwnedFd> {
        if self.shared.is_some() || self.slots.local(port).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.installed = None;
        let request = request::install(port);
        // SAFETY: validity: the request points to nothing.
        if !unsafe { self.ring.push(&request) } {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for _ in 0..TURNS {
            if let Some(result) = self.installed.take() {
                return match result {
                    // SAFETY: the kernel has just made this descriptor for the request, and nothing else knows it.
                    0.. => Ok(unsafe { OwnedFd::from_raw_fd(result) }),
                    // What a kernel says that does not know the request.
                    _ if -result == libc::EINVAL => Err(io::ErrorKind::Unsupported.into()),
                    _ => Err(io::Error::from_raw_os_error(-result)),
                };
            }
            self.turn(Waiting {
                completions: 1,
                timeout: Some(TURN_WAIT),
                gather: Duration::ZERO,
            })?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}
