use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dtls::{Endpoint, Identity};
use line_setup::{Config, Desk, Output};
use media_engine::SetupNews;
use net_io::Waker;
use ops::clock::MonotonicClock;
use rustix::thread::CapabilitySet;
use sans_io::{Epoch, Timestamp};

use super::rings::{ThreadEnd, rings};
use super::{Tally, WorkerEnd};
use crate::kernel;

/// Datagrams of a worker that are taken in one turn: then the other workers and the timers have theirs.
const DATAGRAMS_PER_TURN: usize = 32;
/// Lines whose timers are worked off in one turn.
const LINES_PER_TURN: usize = 64;
/// How soon news are tried again that found no place with their worker.
const RETRY: Duration = Duration::from_millis(1);
/// How far the thread stands behind the workers where they share a core: a handshake may take longer, media may not.
const NICE: i32 = 10;

/// What the thread is started with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How lines are set up.
    pub config: Config,
    /// What handshakes show.
    pub identity: Arc<Identity>,
    /// The clock of the process.
    pub clock: MonotonicClock,
    /// Datagrams that wait for a worker, and as many of one.
    pub datagrams_max: usize,
    /// What it counts.
    pub tally: Tally,
}

/// Starts the thread for so many workers. It ends when all of them have.
///
/// # Errors
/// When the process can have no more files or threads.
pub fn start(plan: &Plan, workers: usize) -> io::Result<Vec<WorkerEnd>> {
    let waker = Waker::new()?;
    let (ends, others): (Vec<WorkerEnd>, Vec<ThreadEnd>) =
        (0..workers).map(|_| rings(plan.datagrams_max, &waker)).unzip();
    let endpoint =
        Endpoint::new(dtls::Settings::default(), plan.identity.clone()).map_err(io::Error::other)?;
    let epoch = Epoch::new(plan.clock.instant(Timestamp::ZERO));
    let thread = Thread {
        desk: Desk::new(plan.config, endpoint, epoch),
        workers: others,
        clock: plan.clock,
        waker,
        tally: plan.tally.clone(),
    };
    let (started, start) = mpsc::sync_channel(1);
    // It ends by itself.
    std::thread::Builder::new()
        .name("line-setup".into())
        .spawn(move || {
            if let Err(error) = kernel::give_up_all_but(CapabilitySet::empty()) {
                tracing::warn!(%error, "the thread that sets lines up keeps its capabilities");
            }
            // The other side waits for this.
            let _ = started.send(());
            thread.run();
        })?;
    start
        .recv()
        .map_err(|_| io::Error::other("the thread that sets lines up ended while it started"))?;
    Ok(ends)
}

struct Thread {
    desk: Desk,
    workers: Vec<ThreadEnd>,
    clock: MonotonicClock,
    waker: Waker,
    tally: Tally,
}

impl Thread {
    fn run(mut self) {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "handshakes are as urgent as media");
        }
        loop {
            let more = self.turn();
            if self.workers.iter().all(ThreadEnd::is_over) {
                return;
            }
            let wait = match more {
                true => Some(Duration::ZERO),
                false => self.wait(),
            };
            if let Err(error) = self.waker.wait(wait) {
                // Nothing else ends its wait: it looks now and then, rather than never.
                tracing::error!(%error, "the thread that sets lines up cannot be woken");
                std::thread::park_timeout(RETRY);
            }
        }
    }

    /// True when something is left.
    fn turn(&mut self) -> bool {
        let mut more = false;
        for worker in 0..self.workers.len() {
            let end = &mut self.workers[worker];
            while let Ok(order) = end.orders.pop() {
                self.desk.order(self.clock.now(), worker, order);
            }
            for _ in 0..DATAGRAMS_PER_TURN {
                let Ok(datagram) = end.datagrams.pop() else { break };
                let key = (worker, datagram.id);
                let now = self.clock.now();
                if !self
                    .desk
                    .handle_datagram(now, key, datagram.source, datagram.payload())
                {
                    self.tally.count_unclaimed();
                }
            }
            more |= !end.datagrams.is_empty();
        }
        let now = self.clock.now();
        self.desk.handle_timeout(now, LINES_PER_TURN);
        more |= self.desk.poll_timeout().is_some_and(|due| due <= now);
        self.give();
        self.tally.show(self.desk.lines(), self.desk.handshakes());
        more
    }

    fn give(&mut self) {
        for worker in &mut self.workers {
            worker.give_waiting();
        }
        while let Some(((worker, id), output)) = self.desk.poll_output() {
            let is_refusal = match &output {
                Output::News(report) => {
                    self.tally.count(&report.news);
                    matches!(report.news, SetupNews::Refused(_))
                }
                Output::Transmit(..) => false,
            };
            let Some(end) = self.workers.get_mut(worker) else {
                continue;
            };
            match (end.give(id, output), is_refusal) {
                (true, _) => {}
                (false, true) => self.tally.count_untold(),
                (false, false) => self.tally.count_unsent(),
            }
        }
        self.workers.iter_mut().for_each(ThreadEnd::wake);
    }

    /// How long nothing has to be done unless somebody wakes the thread.
    fn wait(&self) -> Option<Duration> {
        let due = self.desk.poll_timeout();
        let timer = due.map(|due| due.saturating_since(self.clock.now()));
        let retry = self.workers.iter().any(ThreadEnd::has_waiting).then_some(RETRY);
        [timer, retry].into_iter().flatten().min()
    }
}
