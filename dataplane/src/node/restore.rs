//! Going on with the calls of an earlier process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use media_engine::Restored;
use media_types::{CallId, Refusal};
use tokio::sync::oneshot;

use super::lane::Effect;
use super::{Node, call_answer, wall_clock_ms};
use crate::journal::Record;
use crate::worker::{Answer, Command};

/// How long ports are waited for that are not free yet: the kernel closes the sockets of an io_uring behind the end of its
/// process, when it comes to that.
const PORTS_PATIENCE: Duration = Duration::from_secs(1);
/// How often they are tried.
const PORTS_PAUSE: Duration = Duration::from_millis(5);

/// What became of the calls that were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restoration {
    /// Calls that an earlier process left.
    pub found: usize,
    /// Those that go on.
    pub restored: usize,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Restoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} calls go on, after {:.1} ms",
            self.restored,
            self.found,
            self.took.as_secs_f64() * 1e3
        )
    }
}

/// A call that is to go on.
struct Left {
    worker: usize,
    call: Arc<Restored>,
}

impl Node {
    /// Makes the calls of `records` again, each on its worker. One that cannot be is logged, counted and forgotten: its ports
    /// may be others' by now, or the configuration has changed. Needs [`Self::listen`] to run.
    pub async fn restore(
        &self,
        records: &[Record],
        restored: impl Fn(&Record, u64) -> Result<Restored, Refusal>,
    ) -> Restoration {
        let begun = self.clock.now();
        let now_ms = wall_clock_ms();
        let mut left = Vec::with_capacity(records.len());
        for record in records {
            match restored(record, now_ms) {
                Ok(call) => left.push(Left {
                    worker: record.worker,
                    call: Arc::new(call),
                }),
                Err(refusal) => self.lose(&record.spec.id, refusal),
            }
        }
        let mut count = 0;
        loop {
            let refused = self.try_restore(left, &mut count).await;
            let patient = self.clock.now().saturating_since(begun) < PORTS_PATIENCE;
            left = Vec::new();
            for (call, refusal) in refused {
                match refusal {
                    Refusal::NoPorts if patient => left.push(call),
                    refusal => self.lose(&call.call.id, refusal),
                }
            }
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(PORTS_PAUSE).await;
        }
        Restoration {
            found: records.len(),
            restored: count,
            took: self.clock.now().saturating_since(begun),
        }
    }

    /// Tries once; counts those that go on, and gives back the others.
    async fn try_restore(&self, calls: Vec<Left>, count: &mut usize) -> Vec<(Left, Refusal)> {
        let mut under_way = VecDeque::new();
        let mut refused = Vec::new();
        for left in calls {
            while let Some(lane) = self.lanes.get(left.worker)
                && !lane.has_room()
                && let Some(first) = under_way.pop_front()
            {
                refused.extend(self.finish(first, count).await);
            }
            let answer = self.submit_restored(&left);
            under_way.push_back((left, answer));
        }
        for attempt in under_way {
            refused.extend(self.finish(attempt, count).await);
        }
        refused
    }

    fn submit_restored(&self, left: &Left) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let Left { worker, call } = left;
        let lane = self
            .lanes
            .get(*worker)
            .ok_or(Refusal::Invalid("the node has fewer workers than it had"))?;
        self.change(|placements| {
            placements.begin_create(&call.id, *worker);
        });
        let submitted = lane.submit(
            Command::Restore {
                call: call.clone(),
                sockets: Vec::new(),
            },
            Effect::Restore(call.id.clone()),
        );
        if submitted.is_err() {
            self.change(|placements| placements.finish_create(&call.id, false));
        }
        submitted
    }

    async fn finish(
        &self,
        (left, answer): (Left, Result<oneshot::Receiver<Answer>, Refusal>),
        count: &mut usize,
    ) -> Option<(Left, Refusal)> {
        let result = match answer {
            Ok(answer) => call_answer(answer.await).map(drop),
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(()) => {
                tracing::info!(call = %left.call.id, "call of an earlier process goes on");
                self.tally.count_restored(true);
                *count += 1;
                None
            }
            Err(refusal) => Some((left, refusal)),
        }
    }

    fn lose(&self, call: &CallId, refusal: Refusal) {
        tracing::warn!(%call, reason = refusal.reason(), "call of an earlier process is lost: {refusal}");
        self.tally.count_restored(false);
        self.journal().gone(call);
    }
}
