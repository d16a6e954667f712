use std::io;
use std::time::Duration;

use anyhow::Context as _;
use store::{Drain, StoreError};
use tokio::sync::oneshot;

/// How long the call records have at the end to get from the journal into the database. Those that do not stay in the
/// journal.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// The drain of call records on a thread of its own, so that its work comes between no two SIP messages.
#[derive(Debug)]
pub struct Draining {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), StoreError>>,
}

impl Draining {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(drain: Drain) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            // Time, and sockets: a database that was away is connected to again on this thread.
            .enable_all()
            .build()?;
        std::thread::Builder::new().name("store".into()).spawn(move || {
            let result = runtime.block_on(drain.run(async {
                // Fails when the sender is gone, which means the same.
                let _ = stopped.await;
            }));
            // Nobody listens when the process ends without waiting.
            let _ = tell.send(result);
        })?;
        Ok(Self { stop, ended })
    }

    /// Has the last records stored and the database closed.
    ///
    /// # Errors
    /// When records had to stay in the journal; the next start stores them.
    pub async fn finish(self) -> anyhow::Result<()> {
        // A drain that has ended already says so below.
        let _ = self.stop.send(());
        tokio::time::timeout(LAST_RECORDS, self.ended)
            .await
            .context("the database is slow")
            .and_then(|ended| ended.context("the store's thread panicked"))
            .and_then(|ended| ended.context("the database failed"))
            .context("the last call records stay in the journal until the next start")
    }
}
