use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::admin_v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use crate::desk::Counter;
use crate::mirror::{Mirror, Told};
use crate::{Command, Counters};

/// Messages that may wait for one watcher; one that is further behind gets the list anew.
pub const BEHIND_MAX: usize = 64;

/// How long calls are followed after the last watcher went, so that one that asks again and again costs no list each
/// time.
const LINGER: Duration = Duration::from_secs(5);

/// The calls, and those who watch them.
#[derive(Clone, Debug)]
pub struct Feed {
    inner: Arc<Mutex<Inner>>,
    seats: watch::Sender<usize>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Inner {
    mirror: Mirror,
    /// `None` when the thread that owns the calls is gone.
    told: Option<broadcast::Sender<Told>>,
}

/// A watcher's place. Calls are followed while there is one.
#[derive(Debug)]
pub struct Seat {
    feed: Feed,
    /// Of those that there may be at once.
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.feed.sit(|seats| *seats -= 1);
    }
}

/// What there was when somebody began to watch, and what is told from then on.
#[derive(Debug)]
pub struct View {
    pub calls: Vec<Arc<wire::Call>>,
    pub complete: bool,
    pub told: broadcast::Receiver<Told>,
}

impl Feed {
    pub fn new(counters: Arc<Counters>) -> Self {
        let (told, _) = broadcast::channel(BEHIND_MAX);
        let inner = Inner {
            mirror: Mirror::default(),
            told: Some(told),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            seats: watch::Sender::new(0),
            counters,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place.
    pub fn sit_down(&self, place: OwnedSemaphorePermit) -> Seat {
        self.sit(|seats| *seats += 1);
        Seat {
            feed: self.clone(),
            _place: place,
        }
    }

    fn sit(&self, change: impl FnOnce(&mut usize)) {
        self.seats.send_modify(|seats| {
            change(seats);
            self.counters.watching(*seats);
        });
    }

    /// The calls now, or the one of that name, and whatever is told later; `None` when there will be nothing any more.
    pub fn view(&self, only: Option<&str>) -> Option<View> {
        let inner = self.inner();
        Some(View {
            told: inner.told.as_ref()?.subscribe(),
            calls: inner.mirror.calls(only),
            complete: inner.mirror.is_complete(),
        })
    }

    /// Follows the calls while anybody watches, until the thread that owns them is gone.
    pub async fn run(self, mut counter: Counter) {
        let mut seats = self.seats.subscribe();
        loop {
            // The sender is ours: it cannot go.
            let _ = seats.wait_for(|&seats| seats > 0).await;
            if counter.line.leave_in_time(Command::Watch(true)).await.is_err() {
                break;
            }
            let idle = async {
                loop {
                    let _ = seats.wait_for(|&seats| seats == 0).await;
                    let somebody = seats.wait_for(|&seats| seats > 0);
                    if tokio::time::timeout(LINGER, somebody).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = idle => {}
                () = self.take_in(&mut counter) => break,
            }
            self.inner().mirror = Mirror::default();
            if counter.line.leave_in_time(Command::Watch(false)).await.is_err() {
                break;
            }
        }
        // Ends the streams of those who watch.
        self.inner().told = None;
    }

    async fn take_in(&self, counter: &mut Counter) {
        while let Some(changes) = counter.changes.recv().await {
            let mut inner = self.inner();
            if let Some(told) = inner.mirror.apply(changes)
                && let Some(watchers) = &inner.told
            {
                // Fails when nobody watches right now.
                let _ = watchers.send(told);
            }
        }
    }
}
