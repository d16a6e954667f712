//! Handing the calls to another process, and getting them from one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use media_engine::Restored;
use media_types::{CallId, Refusal};
use net_io::steering::SharedSockets;
use tokio::sync::oneshot;

use super::lane::Effect;
use super::{Lane, Node, call_answer};
use crate::worker::{Answer, Command, Exported, HandedOver, Handover};

/// Calls of one worker in one command: each costs a descriptor a port.
const EXPORT_MAX: usize = 8;
/// How long commands that are under way may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

impl Node {
    /// The sockets that all ports of each worker share.
    ///
    /// # Errors
    /// When a worker does not answer, or there can be no more descriptors.
    pub async fn share(&self) -> io::Result<Vec<Option<SharedSockets>>> {
        let mut shared = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            match ask(lane, Handover::Share).await? {
                HandedOver::Shared(sockets) => shared.push(sockets?),
                _ => return Err(io::Error::other("a worker answers something else")),
            }
        }
        Ok(shared)
    }

    /// Takes no command any more, and has every worker let go of its sockets.
    ///
    /// # Errors
    /// When one cannot: then [`Self::go_on`].
    pub async fn hold(&self) -> io::Result<()> {
        self.lanes.iter().for_each(|lane| lane.close(true));
        let answered = async {
            while self.lanes.iter().any(|lane| lane.queue_length() > 0) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await?;
        // All at once: what waits for the last has waited since the first.
        let asked: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| lane.hand_over(Handover::Hold))
            .collect();
        for answer in asked {
            match heard(answer).await? {
                HandedOver::Held(held) => held?,
                _ => return Err(io::Error::other("a worker answers something else")),
            }
        }
        Ok(())
    }

    /// The calls of a worker that is held, by and by.
    pub fn calls_of(&self, worker: usize) -> Vec<Vec<CallId>> {
        let calls: Vec<CallId> = self.placements().live_on(worker).cloned().collect();
        calls.chunks(EXPORT_MAX).map(<[CallId]>::to_vec).collect()
    }

    /// Whether a worker would take a command now; true when there is no such worker.
    pub fn has_room(&self, worker: usize) -> bool {
        self.lanes.get(worker).is_none_or(Lane::has_room)
    }

    /// Workers.
    pub fn workers(&self) -> usize {
        self.lanes.len()
    }

    /// State and sockets of calls of a worker that is held.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn export(&self, worker: usize, calls: Vec<CallId>) -> io::Result<Vec<Exported>> {
        match ask(&self.lanes[worker], Handover::Export(calls)).await? {
            HandedOver::Exported(calls) => Ok(calls),
            _ => Err(io::Error::other("a worker answers something else")),
        }
    }

    /// Every worker receives, and takes commands: after [`Self::hold`], or when all calls of another process are here.
    pub async fn go_on(&self) {
        let mut asked = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            // Busy passes, or the worker has ended, which ends the node: none that lives may stay as it is.
            while !lane.has_stopped() {
                if let Ok(answer) = lane.hand_over(Handover::GoOn) {
                    asked.push(answer);
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        for answer in asked {
            let _ = heard(Ok(answer)).await;
        }
        self.lanes.iter().for_each(|lane| lane.close(false));
    }

    /// Whether commands are refused since a handing over has begun.
    pub fn is_held(&self) -> bool {
        self.lanes.iter().any(Lane::is_closed)
    }

    /// Ends every worker and leaves the calls, and the journal, to whoever has taken them.
    pub async fn leave(&self) {
        self.journal().leave();
        for lane in &self.lanes {
            let _ = ask(lane, Handover::Leave).await;
        }
    }

    /// Makes a call of another process, with its sockets; the answer comes through [`Self::taken`].
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room for it before others are answered.
    pub fn take(
        &self,
        worker: usize,
        call: Arc<Restored>,
        sockets: Vec<(SocketAddr, OwnedFd)>,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let lane = self
            .lanes
            .get(worker)
            .ok_or(Refusal::Invalid("the node has fewer workers than it had"))?;
        let name = call.id.clone();
        self.change(|placements| {
            placements.begin_create(&name, worker);
        });
        let submitted = lane.submit(Command::Restore { call, sockets }, Effect::Restore(name.clone()));
        if submitted.is_err() {
            self.change(|placements| placements.finish_create(&name, false));
        }
        submitted
    }

    /// What became of a call of another process.
    ///
    /// # Errors
    /// Why it could not be made.
    pub async fn taken(
        &self,
        call: &CallId,
        answer: Result<oneshot::Receiver<Answer>, Refusal>,
    ) -> Result<(), Refusal> {
        let result = match answer {
            Ok(answer) => call_answer(answer.await).map(drop),
            Err(refusal) => Err(refusal),
        };
        self.tally.count_restored(result.is_ok());
        if let Err(refusal) = &result {
            tracing::warn!(%call, reason = refusal.reason(), "call of the other process is lost: {refusal}");
        }
        result
    }
}

async fn ask(lane: &Lane, command: Handover) -> io::Result<HandedOver> {
    heard(lane.hand_over(command)).await
}

async fn heard(asked: Result<oneshot::Receiver<Answer>, Refusal>) -> io::Result<HandedOver> {
    let answer = asked.map_err(io::Error::other)?;
    match tokio::time::timeout(PATIENCE, answer).await? {
        Ok(Answer::Handover(answer)) => Ok(answer),
        _ => Err(io::Error::other("a worker does not answer")),
    }
}
