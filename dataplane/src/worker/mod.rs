//! A worker: one pinned thread that owns its packet I/O, its engine and their counters, and shares nothing.
//!
//! Each turn of its loop waits for packets, a command or the engine's next timeout, hands every packet to the engine,
//! applies a few commands, tells events and publishes its counters. Nothing on the way of a packet allocates, locks or
//! logs: that begins only with a command, an event or a timeout.

mod affinity;
mod command;
mod handover;
mod published;
mod shell;
mod thread;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use media_engine::{Engine, Verdict};
use media_types::{CallId, CallReport, Event, Refusal};
use net_io::PacketIo;
use ops::clock::MonotonicClock;
use rtrb::{Consumer, Producer};
use sans_io::Timestamp;

use crate::bell::Bell;
use crate::kernel::PortTable;
use crate::setting_up::{Answer as SetupAnswer, WorkerEnd};
use crate::tap::Copier;

pub use affinity::{allowed_cores, assign};
pub use command::{Answer, Change, Command, Creation, QUERY_MAX, RENEW_MAX, Ticket, Word};
pub use handover::{Exported, HandedOver, Handover};
pub use published::Published;
use shell::Surroundings;
pub use thread::{Handle, Plan, start};

/// Packets of one turn. What is left waits in the back-end for the next turn, after the commands: a flood of packets
/// does not lock the control plane out.
const PACKETS_PER_TURN: usize = 1_024;

/// Commands of one turn. Packets wait meanwhile, and a call's ports take some ten microseconds each to open.
const COMMANDS_PER_TURN: usize = 8;

/// What the thread that sets lines up has come to, in one turn.
const SETUP_ANSWERS_PER_TURN: usize = 32;

/// A turn sends what the one before it queued, and counts it then. So a turn with packets is followed by another one within
/// this time, also when nothing more comes: the published counters are never older.
const SETTLE: Duration = Duration::from_millis(50);

/// How long a worker that stops waits for the control thread to take its last events.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The worker's end of its rings, and all that it owns.
pub struct Worker<Io> {
    io: Io,
    /// Asked with commands and timeouts only, never for a packet.
    flows: Box<dyn PortTable + Send>,
    engine: Engine,
    taps: Copier,
    setup: WorkerEnd,
    clock: MonotonicClock,
    commands: Consumer<(Ticket, Command)>,
    words: Producer<Word>,
    /// Places of `words` that are kept for answers.
    answers_max: usize,
    bell: Bell,
    published: Arc<Published>,
    /// Its sockets are, or may be, another process's: nothing happens by itself.
    held: Option<handover::Held>,
}

impl<Io: PacketIo> Worker<Io> {
    /// Runs until [`Command::Stop`] or [`Handover::Leave`].
    ///
    /// # Errors
    /// When the back-end breaks: the worker can't go on, and so can't the node.
    pub fn run(mut self) -> io::Result<()> {
        let mut more = false;
        let mut busy = false;
        loop {
            let wait = match (more, busy) {
                _ if self.held.is_some() && self.commands.is_empty() => None,
                (true, _) => Some(Duration::ZERO),
                (false, true) => Some(self.wait().map_or(SETTLE, |wait| wait.min(SETTLE))),
                (false, false) => self.wait(),
            };
            self.io.poll(wait)?;
            let now = self.clock.now();
            let received = self.io.counters().received;
            more = self.handle_packets(now);
            busy = self.io.counters().received != received;
            let due = self.held.is_none() && self.engine.poll_timeout().is_some_and(|at| at <= now);
            if due {
                let mut shell = Surroundings::new(&mut self.io, &mut *self.flows, more);
                self.engine.handle_timeout(now, &mut shell);
                self.taps.calls_may_have_ended(now, &self.engine);
            }
            self.taps.tidy(now);
            let mut told = self.tell_events();
            let mut stop = None;
            for _ in 0..COMMANDS_PER_TURN {
                let Ok((ticket, command)) = self.commands.pop() else {
                    break;
                };
                told = true;
                if matches!(command, Command::Stop) {
                    stop = Some(ticket);
                    break;
                }
                let leaves = matches!(command, Command::Handover(Handover::Leave));
                let answer = self.apply(now, command);
                self.tell(Word::Answer(ticket, answer));
                self.tell_events();
                if leaves {
                    // The calls go on, in another process.
                    return Ok(());
                }
            }
            more |= !self.commands.is_empty();
            more |= self.set_up_lines(now);
            told |= self.tell_events();
            if let Some(ticket) = stop {
                return self.stop(now, ticket);
            }
            self.published.store(&self.engine, self.io.counters());
            if told {
                self.bell.ring();
            }
        }
    }

    /// How long nothing has to be done, as far as the engine knows.
    fn wait(&self) -> Option<Duration> {
        Some(self.engine.poll_timeout()?.saturating_since(self.clock.now()))
    }

    /// Gives what came in to the engine. True when some of it may be left for the next turn.
    ///
    /// Does not allocate, lock or log.
    fn handle_packets(&mut self, now: Timestamp) -> bool {
        let tapping = self.taps.is_at_work();
        for _ in 0..PACKETS_PER_TURN {
            let Some(mut received) = self.io.receive() else {
                return false;
            };
            let datagram_len = received.frame.len();
            if tapping {
                self.taps.keep_received(self.io.payload(&received.frame));
            }
            let tailroom = received.frame.tailroom();
            let has_room = received.frame.grow_back(tailroom);
            debug_assert!(has_room, "a frame's own tailroom fits");
            let buffer = self.io.payload_mut(&mut received.frame);
            let verdict =
                self.engine
                    .handle_packet(now, received.port, received.source, buffer, datagram_len);
            if let Verdict::Forward { len, .. } = verdict {
                received.frame.truncate(len);
            }
            if tapping {
                let sent = self.io.payload(&received.frame);
                self.taps.copy(now, received.port, received.source, sent, verdict);
            }
            match verdict {
                Verdict::Forward { port, to, .. } => self.io.send(received.frame, port, to),
                Verdict::SetUp(id) => {
                    let datagram = self.io.payload(&received.frame);
                    if !self
                        .setup
                        .hand_over(id, received.source, &datagram[..datagram_len])
                    {
                        self.engine.count_setup_dropped(id);
                    }
                    self.io.release(received.frame);
                }
                // The engine has counted the reason.
                Verdict::Drop(_) => self.io.release(received.frame),
            }
        }
        true
    }

    /// Takes what the thread that sets lines up has come to, and hands it the engine's orders. True when something is left.
    fn set_up_lines(&mut self, now: Timestamp) -> bool {
        if self.held.is_some() {
            return false;
        }
        self.take_setup_answers(now, SETUP_ANSWERS_PER_TURN);
        let left = self.setup.send_orders(&mut self.engine);
        self.setup.wake();
        left || self.setup.has_answers()
    }

    fn take_setup_answers(&mut self, now: Timestamp, count_max: usize) {
        for _ in 0..count_max {
            match self.setup.answer() {
                None => return,
                Some(SetupAnswer::News(id, report)) => self.engine.handle_setup_report(now, id, report),
                Some(SetupAnswer::Transmit(id, to, datagram)) => {
                    // Of a line that is gone, or with every frame in use: whoever waits for it asks again.
                    if let Some(port) = self.engine.setup_port(id)
                        && let Some(frame) = self.io.fresh(&datagram)
                    {
                        self.taps.copy_sent(now, port, to, &datagram);
                        self.io.send(frame, port, to);
                    }
                }
            }
        }
    }

    fn apply(&mut self, now: Timestamp, command: Command) -> Answer {
        let engine = &mut self.engine;
        let shell = &mut Surroundings::new(&mut self.io, &mut *self.flows, true);
        match command {
            Command::Create(new) => {
                Answer::Call(engine.create(now, shell, &new.key, &new.spec).map(Box::new))
            }
            Command::Restore { call, sockets } => {
                self.io.adopt_sockets(sockets);
                let mut shell = Surroundings::new(&mut self.io, &mut *self.flows, true);
                let restored = self.engine.restore(now, &mut shell, &call).map(Box::new);
                self.io.adopt_sockets(Vec::new());
                Answer::Call(restored)
            }
            Command::Update(new) => {
                let result = engine.update(now, shell, &new.key, &new.call, &new.legs);
                self.taps.call_changed(now, engine, &new.call);
                Answer::Call(result.map(Box::new))
            }
            Command::Delete { key, call } => {
                let result = engine.delete(now, shell, &key, &call).map(Box::new);
                self.taps.call_changed(now, engine, &call);
                let gone = !engine.has(&call);
                Answer::Deleted { result, gone }
            }
            Command::Query(calls) => {
                let reports = calls.iter().filter_map(|call| engine.query(now, shell, call));
                Answer::Reports(reports.collect::<Vec<CallReport>>())
            }
            Command::Renew(mut calls) => {
                calls.retain(|call| !engine.renew(now, call));
                Answer::Unknown(calls)
            }
            Command::Inventory => Answer::Inventory(engine.call_ids().cloned().collect::<Vec<CallId>>()),
            Command::RtcpCopies(copies) => {
                for copy in copies {
                    let arrival = Timestamp::from_nanos(copy.arrival_ns);
                    engine.handle_rtcp_copy(arrival, copy.key.local(), &copy.payload);
                }
                Answer::Read
            }
            Command::Handover(command) => Answer::Handover(self.hand_over(now, command)),
            Command::Tap(order) => Answer::Tapped(self.taps.begin(now, engine, *order)),
            Command::Stop => Answer::Stopped,
        }
    }

    /// Tells the engine's events; true when there were any. Those that find no place are counted and lost: the
    /// control thread sees the count and asks for an inventory.
    fn tell_events(&mut self) -> bool {
        let mut told = false;
        while let Some(event) = self.engine.poll_event() {
            told = true;
            self.tell_event(event);
        }
        told
    }

    fn tell_event(&mut self, event: Event) {
        self.published.count_event(&event.kind);
        if self.words.slots() > self.answers_max {
            self.tell(Word::Event(event));
        } else {
            self.published.count_lost_event();
        }
    }

    /// The control thread never has more commands under way than places are kept for their answers, so a full ring is
    /// a bug there.
    fn tell(&mut self, word: Word) {
        let full = self.words.push(word).is_err();
        debug_assert!(
            !full,
            "the ring to the control thread has a place for every answer"
        );
    }

    /// Ends every call and closes the ports; the last packets still leave. Events that find no place wait for the control
    /// thread, but not for ever.
    fn stop(mut self, now: Timestamp, ticket: Ticket) -> io::Result<()> {
        self.taps.stop(now);
        let mut shell = Surroundings::new(&mut self.io, &mut *self.flows, true);
        self.engine.shutdown(now, &mut shell);
        let deadline = now + STOP_PATIENCE;
        while let Some(event) = self.engine.poll_event() {
            while self.words.slots() <= self.answers_max && self.clock.now() < deadline {
                self.bell.ring();
                self.flush(Duration::from_millis(1))?;
            }
            self.tell_event(event);
        }
        self.flush(Duration::ZERO)?;
        self.published.store(&self.engine, self.io.counters());
        self.tell(Word::Answer(ticket, Answer::Stopped));
        while let Ok((ticket, command)) = self.commands.pop() {
            self.tell(Word::Answer(ticket, too_late(command)));
        }
        // The bell rings when the thread has let go of the rings.
        Ok(())
    }

    /// Sends what is queued; what comes in belongs to nobody any more.
    fn flush(&mut self, wait: Duration) -> io::Result<()> {
        self.io.poll(Some(wait))?;
        while let Some(received) = self.io.receive() {
            self.io.release(received.frame);
        }
        Ok(())
    }
}

/// The answer to a command behind [`Command::Stop`]: the calls are gone.
fn too_late(command: Command) -> Answer {
    match command {
        Command::Create(_) | Command::Restore { .. } | Command::Update(_) => {
            Answer::Call(Err(Refusal::Draining))
        }
        Command::Delete { .. } => Answer::Deleted {
            result: Err(Refusal::Draining),
            gone: true,
        },
        Command::Query(_) => Answer::Reports(vec![]),
        Command::Renew(calls) => Answer::Unknown(calls),
        Command::Inventory => Answer::Inventory(vec![]),
        Command::RtcpCopies(_) => Answer::Read,
        Command::Handover(_) => Answer::Handover(HandedOver::Done),
        Command::Tap(_) => Answer::Tapped(Err(Refusal::Busy)),
        Command::Stop => Answer::Stopped,
    }
}

#[cfg(test)]
mod tests;
