use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use media_types::{CallId, Refusal};
use net_io::Waker;
use rtrb::{Consumer, Producer};
use tokio::sync::oneshot;

use crate::worker::{Answer, Change, Command, Creation, Handover, Published, Ticket, Word};

/// The control thread's end of one worker's rings. The lock is for the compiler's sake: only tasks of the control thread
/// take it, and none holds it across an await.
#[derive(Debug)]
pub struct Lane {
    waker: Waker,
    published: Arc<Published>,
    ends: Mutex<Ends>,
}

#[derive(Debug)]
struct Ends {
    commands: Producer<(Ticket, Command)>,
    words: Consumer<Word>,
    under_way: HashMap<Ticket, UnderWay>,
    under_way_max: usize,
    tickets: u64,
    /// Nobody's commands are taken but those of the handing over.
    closed: bool,
}

/// A command whose answer has not come.
#[derive(Debug)]
pub struct UnderWay {
    /// What its answer means for the placements and the journal. Obeyed even when the caller has gone.
    pub effect: Effect,
    /// The caller.
    pub reply: oneshot::Sender<Answer>,
}

/// What an answer means for the placements and the journal.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// The call was created, or was not.
    Create(Arc<Creation>),
    /// The call was made again, or was not.
    Restore(CallId),
    /// The call has new media, or has not.
    Update(Arc<Change>),
    /// The call was removed, or is not there.
    Delete(CallId),
    /// The calls that exist were counted afresh.
    Inventory,
}

/// What a worker said.
#[derive(Debug)]
pub enum Heard {
    /// The answer to a command.
    Answer(UnderWay, Answer),
    /// An event.
    Event(media_types::Event),
    /// Nothing to a command that the worker left behind when it broke or stopped.
    Silence(UnderWay),
}

impl Ends {
    fn submit(&mut self, command: Command, effect: Effect) -> Result<oneshot::Receiver<Answer>, Refusal> {
        if !self.has_room() {
            return Err(Refusal::Busy);
        }
        let ticket = Ticket(self.tickets);
        self.commands.push((ticket, command)).map_err(|_| Refusal::Busy)?;
        self.tickets += 1;
        let (reply, answer) = oneshot::channel();
        self.under_way.insert(ticket, UnderWay { effect, reply });
        Ok(answer)
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.under_way_max && !self.commands.is_abandoned()
    }
}

impl Lane {
    /// The control thread's end of these rings. `under_way_max` is how many answers the worker keeps places for.
    pub fn new(
        waker: Waker,
        published: Arc<Published>,
        commands: Producer<(Ticket, Command)>,
        words: Consumer<Word>,
        under_way_max: usize,
    ) -> Self {
        let ends = Ends {
            commands,
            words,
            under_way: HashMap::new(),
            under_way_max,
            tickets: 0,
            closed: false,
        };
        Self {
            waker,
            published,
            ends: Mutex::new(ends),
        }
    }

    /// What the worker published.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Commands under way.
    pub fn queue_length(&self) -> usize {
        self.ends().under_way.len()
    }

    /// Whether a command would be taken now.
    pub fn has_room(&self) -> bool {
        self.ends().has_room()
    }

    /// Whether the worker's end of the rings is gone.
    pub fn has_stopped(&self) -> bool {
        self.ends().commands.is_abandoned()
    }

    /// Hands a command to the worker; the answer comes through the receiver. A receiver that fails belongs to a worker
    /// that has stopped.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when the calls are being handed over, as many commands are under way as the configuration allows, or the worker has stopped.
    pub fn submit(&self, command: Command, effect: Effect) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let mut ends = self.ends();
        if ends.closed {
            return Err(Refusal::Busy);
        }
        let submitted = ends.submit(command, effect);
        drop(ends);
        self.waker.wake();
        submitted
    }

    /// Refuses all commands, as a busy worker does, but those of [`Self::hand_over`]; or takes them again.
    pub fn close(&self, closed: bool) {
        self.ends().closed = closed;
    }

    /// Whether [`Self::close`] was the last word.
    pub fn is_closed(&self) -> bool {
        self.ends().closed
    }

    /// Hands a command of the handing over to the worker, closed or not.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn hand_over(&self, command: Handover) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let submitted = self.ends().submit(Command::Handover(command), Effect::None);
        self.waker.wake();
        submitted
    }

    /// The next thing that the worker said, or did not say before its end.
    pub fn hear(&self) -> Option<Heard> {
        let mut ends = self.ends();
        loop {
            // Before the look into the ring: what it said last is there if it had gone by now.
            let gone = ends.words.is_abandoned();
            match ends.words.pop() {
                Ok(Word::Event(event)) => return Some(Heard::Event(event)),
                Ok(Word::Answer(ticket, answer)) => {
                    if let Some(under_way) = ends.under_way.remove(&ticket) {
                        return Some(Heard::Answer(under_way, answer));
                    }
                }
                Err(_) if gone => {
                    let ticket = *ends.under_way.keys().next()?;
                    return ends.under_way.remove(&ticket).map(Heard::Silence);
                }
                Err(_) => return None,
            }
        }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        // A panic in a task of the control thread ends the process in release builds; in tests the rings are whole.
        self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
