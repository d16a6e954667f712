use std::time::Duration;

use anyhow::Context as _;
use store::{BindingRecord, Journal, Recovery, StoreError, UserRecord};
use tokio::sync::oneshot;

/// How long the call records have at the end to get from the journal into the database. Those that do not stay in the
/// journal.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// How much less processor time than SIP the store gets while both want it, as nice(2) counts: a tenth. Records wait in the journal;
/// a message that waits is repeated, and makes the load worse.
const NICENESS: i32 = 10;

/// The drain of call records on a thread of its own, so that its work comes between no two SIP messages.
#[derive(Debug)]
pub struct Draining {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), StoreError>>,
}

/// What an open store has for others than its thread.
#[derive(Debug)]
pub struct Opened {
    /// For the signalling thread.
    pub journal: Journal,
    /// What was found at start.
    pub recovery: Recovery,
    /// The contacts of users that have not run out.
    pub bindings: Vec<BindingRecord>,
    /// The users that may register.
    pub users: Vec<UserRecord>,
}

impl Draining {
    /// Starts the thread, which opens the store ([`store::open`]).
    ///
    /// # Errors
    /// When the system gives no thread, or the store cannot be opened.
    pub async fn open(options: store::Options, now_ms: i64) -> anyhow::Result<(Self, Opened)> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell_opened, opened) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            // Time, and sockets: a database that was away is connected to again on this thread.
            .enable_all()
            .build()?;
        std::thread::Builder::new().name("store".into()).spawn(move || {
            // Of this thread alone (Linux), and of those that it starts: SQLite's is made when the store is opened.
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::warn!(%error, "the store's thread has the priority of SIP");
            }
            let ended = runtime.block_on(async {
                let store = match store::open(&options, now_ms).await {
                    Ok(store) => store,
                    Err(error) => {
                        // Nobody listens when the process has ended meanwhile.
                        let _ = tell_opened.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = tell_opened.send(Ok(Opened {
                    journal: store.journal,
                    recovery: store.recovery,
                    bindings: store.bindings,
                    users: store.users,
                }));
                let stopped = async {
                    // Fails when the sender is gone, which means the same.
                    let _ = stopped.await;
                };
                store.drain.run(stopped).await
            });
            // Nobody listens when the process ends without waiting.
            let _ = tell_ended.send(ended);
        })?;
        let opened = opened.await.context("the store's thread panicked")?;
        Ok((Self { stop, ended }, opened?))
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
