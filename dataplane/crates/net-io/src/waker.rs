//! Ending a worker's wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Ends the [`poll`](crate::PacketIo::poll) of the back-end that it came from. Wake-ups that the worker has not seen
/// yet count as one, and only the first of them costs a system call.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    /// Whether the worker has yet to see a wake-up. Set before the eventfd is written and cleared after it is read,
    /// with read-modify-write operations on both sides: a producer that finds it set has its earlier writes seen by
    /// the worker's next look at its queue, because the worker's clearing comes after it in the flag's order.
    pending: AtomicBool,
}

impl Waker {
    /// One that nobody has woken.
    ///
    /// # Errors
    /// When the process can have no more files.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared {
            eventfd,
            pending: AtomicBool::new(false),
        })))
    }

    /// Makes the worker's present or next poll return. Callable from any thread; does not block.
    pub fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // The write can only fail when the counter is full, and then the eventfd is readable, which is all
            // that is wanted.
            let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
        }
    }

    /// Takes note of the wake-ups so far. Worker's thread.
    pub(crate) fn acknowledge(&self) {
        let mut count = [0u8; 8];
        // Fails when nothing was written (it is non-blocking), which is no news.
        let _ = rustix::io::read(&self.0.eventfd, &mut count);
        self.0.pending.swap(false, Ordering::AcqRel);
    }

    /// Takes note of a wake-up if there was one, without a system call if there was none. Worker's thread.
    pub(crate) fn take(&self) -> bool {
        let woken = self.0.pending.load(Ordering::Acquire);
        if woken {
            self.acknowledge();
        }
        woken
    }

    /// Waits for a wake-up and nothing else, and takes note of it. True if there was one. Worker's thread.
    ///
    /// # Errors
    /// When the kernel cannot wait on it.
    pub fn wait(&self, wait: Option<Duration>) -> io::Result<bool> {
        let woken = self.watch(wait)?;
        if woken {
            self.acknowledge();
        }
        Ok(woken)
    }

    /// Waits for a wake-up and nothing else, and leaves it to be noted. True if there is one. Worker's thread.
    pub(crate) fn watch(&self, wait: Option<Duration>) -> io::Result<bool> {
        let timeout = wait.map(timespec);
        match poll(&mut [PollFd::new(self, PollFlags::IN)], timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A wait in the kernel's form.
pub(crate) fn timespec(wait: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }
}
