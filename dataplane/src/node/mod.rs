//! The node as its control planes see it: the calls of all workers under one roof.
//!
//! Everything here runs on the control thread. Commands go to workers through bounded rings ([`lane`]); what workers say
//! comes back in one place, [`Node::listen`], which keeps the placements right whether or not a caller still waits.

mod handover;
mod hearing;
mod lane;
mod placements;
mod restore;
mod stopping;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use media_types::{CallId, CallReport, CallSpec, Event, Fingerprint, IdempotencyKey, LegSpec, Refusal};
use ops::clock::{MonotonicClock, wall_clock};
use sans_io::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

use crate::journal::Journal;
use crate::kernel::KernelInterface;
use crate::tap;
use crate::worker::{Answer, Change, Command, Creation, QUERY_MAX, RENEW_MAX};
use lane::Effect;
use placements::Placements;

pub use lane::Lane;
pub use placements::Memory;
pub use tally::{Operation, Tally};

/// What the node is; it does not change while it runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub node_id: String,
    /// The packet back-end.
    pub backend: &'static str,
    /// Why it was chosen.
    pub backend_reason: &'static str,
    /// Interfaces as a control plane sees them.
    pub interfaces: Vec<proto::media_v1::Interface>,
    /// The kernel path on each interface of the machine that holds a media address.
    pub kernel: Vec<KernelInterface>,
    /// Calls at once, of all workers.
    pub calls_max: usize,
    /// Of the certificate that it shows in handshakes.
    pub fingerprint: Fingerprint,
}

/// What a watcher of events is told.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An event.
    Event(Arc<Event>),
    /// So many events were lost.
    Missed(u64),
    /// The node stops; nothing follows.
    Closing,
}

/// Every worker, and which call is where.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    clock: MonotonicClock,
    started: Timestamp,
    lanes: Vec<Lane>,
    placements: Mutex<Placements>,
    journal: Mutex<Journal>,
    /// Rung whenever the last call is gone.
    empty: Notify,
    notices: broadcast::Sender<Notice>,
    draining: watch::Sender<bool>,
    /// True from the signal to stop on: a draining that nobody takes back.
    stopping: watch::Sender<bool>,
    /// True from when the node stops answering watchers.
    closing: watch::Sender<bool>,
    /// Packets received in the last full second.
    packets_per_s: AtomicU64,
    /// Events lost that watchers were told of, a worker.
    lost_told: Vec<AtomicU64>,
    tally: Tally,
}

/// Renewal of many leases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Calls that the node does not have.
    pub unknown: Vec<CallId>,
    /// Calls whose worker could not take the command.
    pub busy: Vec<CallId>,
}

impl Node {
    /// The node over these workers, which take so many calls each. A watcher may be `event_queue` events behind, and the end
    /// of every call besides: at a stop all of them end in one moment.
    pub fn new(
        identity: Identity,
        clock: MonotonicClock,
        lanes: Vec<Lane>,
        calls_max: Vec<usize>,
        event_queue: usize,
        memory: Memory,
        journal: Journal,
    ) -> Self {
        let watcher_queue = calls_max.iter().sum::<usize>() + event_queue;
        Self {
            identity,
            clock,
            started: clock.now(),
            lost_told: lanes.iter().map(|_| AtomicU64::new(0)).collect(),
            lanes,
            placements: Mutex::new(Placements::new(calls_max, memory)),
            journal: Mutex::new(journal),
            empty: Notify::new(),
            notices: broadcast::channel(watcher_queue).0,
            draining: watch::channel(false).0,
            stopping: watch::channel(false).0,
            closing: watch::channel(false).0,
            packets_per_s: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }

    /// What the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The workers.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The counters of the control thread.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whole seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.clock.now().saturating_since(self.started).as_secs()
    }

    /// Calls that are there or about to be.
    pub fn calls(&self) -> usize {
        self.placements().count()
    }

    /// Packets received in the last full second.
    pub fn packets_per_s(&self) -> u64 {
        self.packets_per_s.load(Ordering::Relaxed)
    }

    /// Allocates a call on the worker with the most free capacity. When that one has no ports left the others are asked
    /// too. A repetition goes to the worker that has the call.
    ///
    /// # Errors
    /// The refusal of the last worker that was asked, or [`Refusal::Draining`] for a new call on a draining node.
    pub async fn create(&self, key: IdempotencyKey, spec: CallSpec) -> Result<Box<CallReport>, Refusal> {
        let creation = Arc::new(Creation { key, spec });
        let call = &creation.spec.id;
        let mut asked = vec![false; self.lanes.len()];
        let mut last = Refusal::NoCapacity;
        loop {
            let Some((worker, new)) = self.place(call, &asked)? else {
                return Err(last);
            };
            asked[worker] = true;
            let command = Command::Create(creation.clone());
            let effect = Effect::Create(creation.clone());
            let answer = match self.lanes[worker].submit(command, effect) {
                Ok(answer) => call_answer(answer.await),
                Err(refusal) => {
                    self.change(|placements| placements.finish_create(call, false));
                    Err(refusal)
                }
            };
            match answer {
                Err(refusal) if new && refusal.is_capacity() => last = refusal,
                answer => return answer,
            }
        }
    }

    /// Where a request to create goes, and whether the call is new; `None` when every worker was asked.
    fn place(&self, call: &CallId, asked: &[bool]) -> Result<Option<(usize, bool)>, Refusal> {
        let mut placements = self.placements();
        let known = placements.is_known(call);
        if !known && self.is_draining() {
            return Err(Refusal::Draining);
        }
        let worker = match placements.worker(call).filter(|_| known) {
            Some(worker) => Some(worker),
            None => {
                let ports_free = |worker: usize| self.lanes[worker].published().port_pairs_free();
                placements.best(|worker| !asked[worker], ports_free)
            }
        };
        Ok(worker.map(|worker| (placements.begin_create(call, worker), !known)))
    }

    /// Gives legs of a call new media.
    ///
    /// # Errors
    /// The worker's refusal.
    pub async fn update(
        &self,
        key: IdempotencyKey,
        call: CallId,
        legs: Vec<LegSpec>,
    ) -> Result<Box<CallReport>, Refusal> {
        let worker = self.placements().worker(&call).ok_or(Refusal::UnknownCall)?;
        let change = Arc::new(Change { key, call, legs });
        let effect = Effect::Update(change.clone());
        call_answer(self.lanes[worker].submit(Command::Update(change), effect)?.await)
    }

    /// Removes a call.
    ///
    /// # Errors
    /// The worker's refusal.
    pub async fn delete(&self, key: IdempotencyKey, call: CallId) -> Result<Box<CallReport>, Refusal> {
        let worker = self.placements().worker(&call).ok_or(Refusal::UnknownCall)?;
        let effect = Effect::Delete(call.clone());
        call_answer(
            self.lanes[worker]
                .submit(Command::Delete { key, call }, effect)?
                .await,
        )
    }

    /// One call.
    ///
    /// # Errors
    /// [`Refusal::UnknownCall`], [`Refusal::Busy`].
    pub async fn query(&self, call: CallId) -> Result<CallReport, Refusal> {
        let worker = self.placements().worker(&call).ok_or(Refusal::UnknownCall)?;
        self.reports(worker, vec![call])
            .await?
            .pop()
            .ok_or(Refusal::UnknownCall)
    }

    /// Those of `calls` that still exist, at most [`QUERY_MAX`] of one worker.
    async fn reports(&self, worker: usize, calls: Vec<CallId>) -> Result<Vec<CallReport>, Refusal> {
        debug_assert!(calls.len() <= QUERY_MAX);
        match self.lanes[worker]
            .submit(Command::Query(calls), Effect::None)?
            .await
        {
            Ok(Answer::Reports(reports)) => Ok(reports),
            _ => Err(Refusal::Busy),
        }
    }

    /// Has a call's worker copy its packets.
    ///
    /// # Errors
    /// [`Refusal::UnknownCall`], [`Refusal::Busy`].
    pub async fn tap(&self, call: CallId, order: tap::Order) -> Result<(), Refusal> {
        let worker = self.placements().worker(&call).ok_or(Refusal::UnknownCall)?;
        match self.lanes[worker]
            .submit(Command::Tap(Box::new(order)), Effect::None)?
            .await
        {
            Ok(Answer::Tapped(result)) => result,
            _ => Err(Refusal::Busy),
        }
    }

    /// The calls of all workers in pieces that one command can report on.
    pub fn pieces(&self) -> Vec<Piece> {
        let placements = self.placements();
        let mut pieces = Vec::new();
        for worker in 0..self.lanes.len() {
            let calls: Vec<CallId> = placements.live_on(worker).cloned().collect();
            pieces.extend(calls.chunks(QUERY_MAX).map(|calls| Piece {
                worker,
                calls: calls.to_vec(),
            }));
        }
        pieces
    }

    /// Reports on one of [`Self::pieces`].
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub async fn piece(&self, piece: Piece) -> Result<Vec<CallReport>, Refusal> {
        self.reports(piece.worker, piece.calls).await
    }

    /// Renews leases, with one command for each thousand calls of a worker.
    pub async fn renew(&self, calls: Vec<CallId>) -> Renewal {
        let mut renewal = Renewal::default();
        let mut shares = vec![Vec::new(); self.lanes.len()];
        {
            let placements = self.placements();
            for call in calls {
                match placements.worker(&call).filter(|_| placements.is_live(&call)) {
                    Some(worker) => shares[worker].push(call),
                    None => renewal.unknown.push(call),
                }
            }
        }
        let mut waiting = Vec::new();
        for (worker, share) in shares.into_iter().enumerate() {
            for calls in share.chunks(RENEW_MAX) {
                match self.lanes[worker].submit(Command::Renew(calls.to_vec()), Effect::None) {
                    Ok(answer) => waiting.push((answer, calls.to_vec())),
                    Err(_) => renewal.busy.extend_from_slice(calls),
                }
            }
        }
        for (answer, calls) in waiting {
            match answer.await {
                Ok(Answer::Unknown(unknown)) => renewal.unknown.extend(unknown),
                _ => renewal.busy.extend(calls),
            }
        }
        renewal
    }

    /// At most `count` calls after `after`, in the order of their names.
    pub fn page(&self, after: Option<&CallId>, count: usize) -> Vec<CallId> {
        self.placements().page(after, count)
    }

    /// Events and what was missed, from now on.
    pub fn watch(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Becomes true when the node stops.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Counts received packets a second, for ever.
    pub async fn measure(&self) {
        let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut at, mut packets) = (self.clock.now(), self.packets_received());
        second.tick().await;
        loop {
            second.tick().await;
            let (now, received) = (self.clock.now(), self.packets_received());
            let elapsed_ms = now.saturating_since(at).as_millis().max(1) as u64;
            self.packets_per_s
                .store((received - packets) * 1_000 / elapsed_ms, Ordering::Relaxed);
            (at, packets) = (now, received);
        }
    }

    /// Packets that all workers received, or the kernel for them.
    pub fn packets_received(&self) -> u64 {
        let received = |lane: &Lane| lane.published().received() + lane.published().kernel_received();
        self.lanes.iter().map(received).sum()
    }

    /// Hands copies of RTCP that the kernel has forwarded to the worker that has their ports; false when it can't take them.
    pub fn read_rtcp(&self, worker: usize, copies: Vec<ebpf::RtcpCopy>) -> bool {
        let lane = self.lanes.get(worker);
        lane.is_some_and(|lane| lane.submit(Command::RtcpCopies(copies), Effect::None).is_ok())
    }

    fn change(&self, change: impl FnOnce(&mut Placements)) {
        let mut placements = self.placements();
        change(&mut placements);
        if placements.count() == 0 {
            self.empty.notify_waiters();
        }
    }

    /// What the next process finds.
    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        // See `Lane::ends`.
        self.journal
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn placements(&self) -> MutexGuard<'_, Placements> {
        // See `Lane::ends`.
        self.placements
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Calls of one worker that one command can report on.
#[derive(Debug)]
pub struct Piece {
    worker: usize,
    calls: Vec<CallId>,
}

/// Milliseconds since 1970.
pub fn wall_clock_ms() -> u64 {
    wall_clock()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// A worker that stops without an answer is as good as busy: the caller asks another node.
fn call_answer(
    answer: Result<Answer, tokio::sync::oneshot::error::RecvError>,
) -> Result<Box<CallReport>, Refusal> {
    match answer {
        Ok(Answer::Call(result) | Answer::Deleted { result, .. }) => result,
        _ => Err(Refusal::Busy),
    }
}

#[cfg(test)]
mod tests;
