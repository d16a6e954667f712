//! The request to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

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
