//! Waking the control thread from a worker.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::unix::pipe;

/// The workers' end: rung when something lies in a ring for the control thread. Takes no lock; costs a system call only
/// when the control thread has heard the ring before.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pipe: io::PipeWriter,
    /// Rung and not yet heard. Both sides change it with read-modify-write operations, so that what a worker put into
    /// its ring before ringing is seen by a listener that heard the bell.
    rung: AtomicBool,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Listener {
    pipe: pipe::Receiver,
    shared: Arc<Shared>,
}

impl Bell {
    /// A bell that nobody rang yet, and the end that waits; within a Tokio runtime.
    ///
    /// # Errors
    /// When the process can have no more files.
    pub fn new() -> io::Result<(Self, Listener)> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        let shared = Arc::new(Shared {
            pipe: writer,
            rung: AtomicBool::new(false),
        });
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok((Self(shared.clone()), Listener { pipe, shared }))
    }

    /// Wakes the listener. Any thread; does not block.
    pub fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            // Fails only when the pipe is full, and then it is readable, which is all that is wanted; or when the
            // listener is gone.
            let _ = rustix::io::write(&self.0.pipe, &[1]);
        }
    }
}

impl Listener {
    /// Completes when the bell was rung since the last time.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn heard(&self) -> io::Result<()> {
        let mut rings = [0; 64];
        loop {
            self.pipe.readable().await?;
            match self.pipe.try_read(&mut rings) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.shared.rung.swap(false, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_ring_is_lost_between_threads() {
        const RINGS: u32 = 20_000;
        let (bell, listener) = Bell::new().expect("a pipe");
        let done = Arc::new(AtomicU32::new(0));
        let thread = std::thread::spawn({
            let done = done.clone();
            move || {
                for _ in 0..RINGS {
                    done.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                }
            }
        });
        let all = async {
            while done.load(Ordering::Relaxed) < RINGS {
                listener.heard().await.expect("watched");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all)
            .await
            .expect("every ring is heard");
        thread.join().expect("no panic");
    }
}
