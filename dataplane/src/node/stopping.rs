//! Draining, and the end of a node.

use tokio::sync::watch;

use super::lane::Effect;
use super::{Node, Notice};
use crate::worker::Command;

impl Node {
    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow() || *self.stopping.borrow()
    }

    /// Changes with [`Self::drain`].
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Refuses new calls, or takes them again; says how many there are. `None`: a node that stops takes no call again.
    pub fn drain(&self, drain: bool) -> Option<usize> {
        if !drain && *self.stopping.borrow() {
            return None;
        }
        self.draining.send_replace(drain);
        Some(self.calls())
    }

    /// Refuses new calls from now on, for good.
    pub fn begin_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true with [`Self::begin_stop`].
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Completes when there is no call.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.empty.notified();
            if self.calls() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends every call and stops every worker; their last events reach the watchers. Needs [`Self::listen`] to run.
    pub async fn stop_workers(&self) {
        let mut answers = Vec::new();
        for lane in &self.lanes {
            // Busy passes: nothing is put into the lane but what its worker takes out, or the worker has stopped.
            loop {
                match lane.submit(Command::Stop, Effect::None) {
                    Ok(answer) => break answers.push(answer),
                    Err(_) if lane.has_stopped() => break,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            }
        }
        for answer in answers {
            // Fails when the worker broke while it stopped; whoever watches its thread tells that.
            let _ = answer.await;
        }
    }

    /// Ends every watcher's stream, behind the events that were told before.
    pub fn close(&self) {
        // Nobody may be listening.
        let _ = self.notices.send(Notice::Closing);
        self.closing.send_replace(true);
    }

    /// Completes when no watcher of events has any left to take. After [`Self::close`]: a watcher that does not read
    /// keeps this waiting.
    pub async fn unwatched(&self) {
        self.notices.closed().await;
    }
}
