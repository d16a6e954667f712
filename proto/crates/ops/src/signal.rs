//! The requests to stop and to read files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Completes with the signal's name at SIGTERM or SIGINT. Handlers are installed when this is called, not when the
/// future is first polled, so that a signal that comes during the start is not lost.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn terminated() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// SIGHUP, each time that it comes.
#[derive(Debug)]
pub struct HungUp(Signal);

impl HungUp {
    /// Completes at the next one; those that come before anybody waits count as one. Cancel safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Listens for SIGHUP, which does not end the process from then on.
///
/// # Errors
/// When the handler cannot be installed.
pub fn hung_up() -> io::Result<HungUp> {
    signal(SignalKind::hangup()).map(HungUp)
}
