use std::time::Duration;

use tokio::time::Instant;

/// How long to wait before asking a node again that was busy or could not be reached, at first and at most. A worker with as
/// many commands as it takes is through with them in milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The pauses between the attempts of one request, each twice as long as the one before.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: PAUSE_MIN }
    }
}

impl Pauses {
    /// Waits for the next one. False, at once, when it would last beyond `until`.
    pub(crate) async fn wait_before(&mut self, until: Instant) -> bool {
        if Instant::now() + self.next >= until {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
        true
    }
}
