use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use media_engine::{Engine, EngineConfig};
use net_io::{PacketIo, Waker};
use ops::clock::MonotonicClock;
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::thread::CapabilitySet;
use sans_io::Random;
use tokio::sync::oneshot;

use super::{Command, Published, Ticket, Word, Worker, affinity};
use crate::bell::Bell;
use crate::kernel::{self, PortTable};
use crate::setting_up::WorkerEnd;
use crate::tap::Copier;

/// What a worker is made from.
pub struct Plan {
    /// Its number, from 0.
    pub index: usize,
    /// The core to pin it to.
    pub core: Option<usize>,
    /// Its engine.
    pub engine: EngineConfig,
    /// The table of flows that its engine may use.
    pub flows: Box<dyn PortTable + Send>,
    /// Its end of the rings with the thread that sets lines up.
    pub setup: WorkerEnd,
    /// Its engine's randomness.
    pub random: Random,
    /// The clock of the process.
    pub clock: MonotonicClock,
    /// Commands under way at once.
    pub command_queue: usize,
    /// Events that wait for the control thread.
    pub event_queue: usize,
    /// Rung when there is something for the control thread.
    pub bell: Bell,
    /// Whether it does nothing before [`super::Handover::GoOn`]: another process has its sockets.
    pub held: bool,
    /// The capabilities that it keeps once its back-end stands.
    pub keep: CapabilitySet,
}

/// A running worker, as the control thread holds it.
#[derive(Debug)]
pub struct Handle {
    /// The control thread's end of its rings.
    pub rings: Rings,
    /// How it ended; fails when it panicked. Anything before [`Command::Stop`] is the end of the node.
    pub ended: oneshot::Receiver<io::Result<()>>,
    /// Its thread.
    pub thread: JoinHandle<()>,
}

impl Handle {
    /// Stops a worker that has no call yet, and waits for its end.
    pub fn stop(mut self) {
        // Its ring is empty; a worker that has ended by itself needs no command.
        let _ = self.rings.commands.push((Ticket(0), Command::Stop));
        self.rings.waker.wake();
        let _ = self.thread.join();
    }
}

/// The control thread's end of a worker's rings.
#[derive(Debug)]
pub struct Rings {
    /// Ends its wait.
    pub waker: Waker,
    /// Its counters.
    pub published: Arc<Published>,
    /// Commands to it.
    pub commands: Producer<(Ticket, Command)>,
    /// What it says.
    pub words: Consumer<Word>,
}

/// Starts a worker on a thread of its own and waits until its back-end stands. `build` makes the back-end, on that
/// thread, since it belongs to it.
///
/// # Errors
/// When the thread or the back-end cannot be made.
pub fn start<Io, Build>(plan: Plan, build: Build) -> io::Result<Handle>
where
    Io: PacketIo,
    Build: FnOnce() -> io::Result<Io> + Send + 'static,
{
    let (commands_in, commands) = RingBuffer::new(plan.command_queue);
    // A place for the answer to each command under way, and the rest for events.
    let (words, words_out) = RingBuffer::new(plan.command_queue + plan.event_queue);
    let published = Arc::new(Published::default());
    let (started, start) = mpsc::sync_channel(1);
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", plan.index))
        .spawn({
            let published = published.clone();
            move || {
                // Dropped last: whoever hears it sees that the rings are abandoned.
                let _last = LastRing(plan.bell.clone());
                pin(&plan, &published);
                let built = build().and_then(|mut io| match plan.held {
                    true => io.stop_receiving().map(|()| io),
                    false => Ok(io),
                });
                let io = match built {
                    Ok(io) => io,
                    Err(error) => return drop(started.send(Err(error))),
                };
                if let Err(error) = kernel::give_up_all_but(plan.keep) {
                    tracing::warn!(worker = plan.index, %error, "the worker keeps its capabilities");
                }
                let engine = Engine::new(plan.engine, plan.random);
                published.store(&engine, io.counters());
                plan.setup.begin(io.waker());
                // The other side waits for this.
                let _ = started.send(Ok(io.waker()));
                let worker = Worker {
                    io,
                    flows: plan.flows,
                    engine,
                    taps: Copier::default(),
                    setup: plan.setup,
                    clock: plan.clock,
                    commands,
                    words,
                    answers_max: plan.command_queue,
                    bell: plan.bell,
                    published,
                    held: plan.held.then(super::handover::Held::default),
                };
                let result = worker.run();
                // Nobody listens any more when the whole process ends.
                let _ = end.send(result);
            }
        })?;
    let waker = start
        .recv()
        .map_err(|_| io::Error::other("the worker's thread ended while it started"))??;
    Ok(Handle {
        rings: Rings {
            waker,
            published,
            commands: commands_in,
            words: words_out,
        },
        ended,
        thread,
    })
}

/// Rings when the worker's thread ends, in whatever way, so that nobody waits for its answers.
struct LastRing(Bell);

impl Drop for LastRing {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// A worker that cannot be pinned runs all the same, slower at worst.
fn pin(plan: &Plan, published: &Published) {
    let Some(core) = plan.core else { return };
    match affinity::pin(core) {
        Ok(()) => published.set_core(core),
        Err(error) => {
            tracing::warn!(worker = plan.index, core, %error, "worker not pinned: it runs where the scheduler puts it");
        }
    }
}
