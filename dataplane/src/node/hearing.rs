//! What the workers say, and what it means for placements, journal and watchers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use media_types::{CallId, Event, EventKind, Refusal};

use super::lane::{Effect, Heard};
use super::{Lane, Node, Notice, wall_clock_ms};
use crate::bell::Listener;
use crate::worker::{Answer, Command};

impl Node {
    /// Listens to the workers for ever.
    ///
    /// # Errors
    /// When the bell breaks, with the runtime.
    pub async fn listen(&self, bell: Listener) -> std::io::Result<()> {
        loop {
            self.hear_all();
            bell.heard().await?;
        }
    }

    /// Takes everything out of the workers' rings. Synchronous, so that placements and answers change together.
    pub(super) fn hear_all(&self) {
        for (worker, lane) in self.lanes.iter().enumerate() {
            while let Some(heard) = lane.hear() {
                match heard {
                    Heard::Answer(under_way, answer) => {
                        self.obey(worker, &under_way.effect, &answer);
                        // The caller may have gone; its command was carried out all the same.
                        let _ = under_way.reply.send(answer);
                    }
                    Heard::Event(event) => self.tell(worker, event),
                    Heard::Silence(under_way) => {
                        let call = match &under_way.effect {
                            Effect::Create(new) => Some(&new.spec.id),
                            Effect::Restore(call) => Some(call),
                            _ => None,
                        };
                        if let Some(call) = call {
                            self.change(|placements| placements.finish_create(call, false));
                        }
                        // Its caller sees the receiver fail.
                    }
                }
            }
            self.tell_lost(worker, lane);
        }
    }

    fn obey(&self, worker: usize, effect: &Effect, answer: &Answer) {
        match (effect, answer) {
            (Effect::Create(new), Answer::Call(result)) => {
                // A conflict of keys says that the call is there, whoever made it.
                let there = matches!(result, Ok(_) | Err(Refusal::CallExists));
                self.change(|placements| placements.finish_create(&new.spec.id, there));
                if let Ok(report) = result {
                    self.journal()
                        .created(worker, &new.key, &new.spec, wall_clock_ms(), report);
                }
            }
            (Effect::Restore(call), Answer::Call(result)) => {
                self.change(|placements| placements.finish_create(call, result.is_ok()));
            }
            (Effect::Update(new), Answer::Call(Ok(report))) => {
                self.journal().updated(&new.key, &new.call, &new.legs, report);
            }
            (Effect::Delete(call), Answer::Deleted { gone: true, .. }) => self.end(worker, call),
            (Effect::Inventory, Answer::Inventory(there)) => {
                let there: std::collections::HashSet<_> = there.iter().collect();
                let gone: Vec<_> = self
                    .placements()
                    .live_on(worker)
                    .filter(|call| !there.contains(call))
                    .cloned()
                    .collect();
                gone.iter().for_each(|call| self.end(worker, call));
            }
            _ => {}
        }
    }

    /// `worker` says that it does not have the call any more.
    fn end(&self, worker: usize, call: &CallId) {
        let mut ended = false;
        self.change(|placements| {
            ended = placements.is_live(call);
            placements.end(self.clock.now(), worker, call);
            ended &= !placements.is_live(call);
        });
        if ended {
            self.journal().gone(call);
        }
    }

    fn tell(&self, worker: usize, event: Event) {
        match &event.kind {
            EventKind::Ended { cause, .. } => {
                tracing::info!(call = %event.call, ?cause, "call ended by the node");
                self.end(worker, &event.call);
            }
            EventKind::MediaTimeout { leg, line } => {
                tracing::info!(call = %event.call, %leg, line, "media timeout")
            }
            EventKind::SetupFailed { leg, line, reason } => {
                tracing::info!(call = %event.call, %leg, line, reason, "line not set up")
            }
            EventKind::Latched { leg, line, source } => {
                tracing::debug!(call = %event.call, %leg, line, %source, "source learned");
                self.journal().learned(&event.call, leg, *line, *source);
            }
            EventKind::FirstPacket { leg, line } => {
                tracing::debug!(call = %event.call, %leg, line, "first packet")
            }
        }
        // Nobody may be listening.
        let _ = self.notices.send(Notice::Event(Arc::new(event)));
    }

    /// Tells watchers of events that found no place in a worker's ring, and counts that worker's calls afresh, since
    /// one of them may have ended unheard.
    fn tell_lost(&self, worker: usize, lane: &Lane) {
        let lost = lane.published().events_lost();
        let told = self.lost_told[worker].load(Ordering::Relaxed);
        if lost == told {
            return;
        }
        // Busy: the next word of the worker brings us here again. One that has stopped has no call left to count.
        let counted = lane.submit(Command::Inventory, Effect::Inventory).is_ok();
        if counted || lane.has_stopped() {
            tracing::warn!(
                worker,
                lost = lost - told,
                "events lost: the control thread was too slow"
            );
            self.lost_told[worker].store(lost, Ordering::Relaxed);
            let _ = self.notices.send(Notice::Missed(lost - told));
        }
        if !counted && lane.has_stopped() {
            self.obey(worker, &Effect::Inventory, &Answer::Inventory(vec![]));
        }
    }
}
