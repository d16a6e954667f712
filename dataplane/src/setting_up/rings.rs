//! The rings between a worker and the thread that sets its lines up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use line_setup::Output;
use media_engine::{Engine, SETUP_DATAGRAM_MAX, SetupId, SetupNews, SetupOrder, SetupReport};
use net_io::Waker;
use rtrb::{Consumer, Producer, RingBuffer};

/// Orders that wait in the ring; more wait with the engine.
const ORDERS_MAX: usize = 256;

/// A datagram that came to a line.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) id: SetupId,
    pub(super) source: SocketAddr,
    len: u16,
    bytes: [u8; SETUP_DATAGRAM_MAX],
}

impl Datagram {
    fn new(id: SetupId, source: SocketAddr, payload: &[u8]) -> Self {
        let mut bytes = [0; SETUP_DATAGRAM_MAX];
        let len = payload.len().min(SETUP_DATAGRAM_MAX);
        bytes[..len].copy_from_slice(&payload[..len]);
        Self {
            id,
            source,
            len: len as u16,
            bytes,
        }
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// A datagram to send from a line's RTP port.
    Transmit(SetupId, SocketAddr, Vec<u8>),
    /// What has become of a line.
    News(SetupId, SetupReport),
}

/// The worker's end.
#[derive(Debug)]
pub struct WorkerEnd {
    orders: Producer<SetupOrder>,
    /// Of the engine's orders the first that found no place.
    waiting: Option<SetupOrder>,
    datagrams: Producer<Datagram>,
    answers: Consumer<Answer>,
    /// How the thread wakes this worker; set when its back-end stands.
    worker: Arc<OnceLock<Waker>>,
    /// Something was put into a ring that the thread was not woken for.
    has_put: bool,
    /// Dropped last: the thread then finds the rings abandoned.
    thread: WokenAtLast,
}

/// Wakes the thread once more when the worker has ended: it ends when all have.
#[derive(Debug)]
struct WokenAtLast(Waker);

impl Drop for WokenAtLast {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct ThreadEnd {
    pub(super) orders: Consumer<SetupOrder>,
    pub(super) datagrams: Consumer<Datagram>,
    answers: Producer<Answer>,
    /// What of a line's course found no place: of each a few, so that there are no more than the lines that are set up have.
    waiting: VecDeque<Answer>,
    worker: Arc<OnceLock<Waker>>,
    has_put: bool,
}

/// The rings of one worker, with places for so many datagrams in each direction.
pub(super) fn rings(datagrams_max: usize, thread: &Waker) -> (WorkerEnd, ThreadEnd) {
    let (orders_in, orders) = RingBuffer::new(ORDERS_MAX);
    let (datagrams_in, datagrams) = RingBuffer::new(datagrams_max);
    let (answers_in, answers) = RingBuffer::new(datagrams_max);
    let worker = Arc::new(OnceLock::new());
    let end = WorkerEnd {
        orders: orders_in,
        waiting: None,
        datagrams: datagrams_in,
        answers,
        worker: worker.clone(),
        has_put: false,
        thread: WokenAtLast(thread.clone()),
    };
    let other = ThreadEnd {
        orders,
        datagrams,
        answers: answers_in,
        waiting: VecDeque::new(),
        worker,
        has_put: false,
    };
    (end, other)
}

impl WorkerEnd {
    /// Tells how this worker is woken.
    pub fn begin(&self, worker: Waker) {
        // A worker begins once.
        let _ = self.worker.set(worker);
    }

    /// Hands a datagram over; false when there is no place. Neither allocates, locks nor logs.
    pub fn hand_over(&mut self, id: SetupId, source: SocketAddr, payload: &[u8]) -> bool {
        let has_place = self.datagrams.push(Datagram::new(id, source, payload)).is_ok();
        self.has_put |= has_place;
        has_place
    }

    /// Hands the engine's orders over, as many as there are places for. True when some are left.
    pub fn send_orders(&mut self, engine: &mut Engine) -> bool {
        while let Some(order) = self.waiting.take().or_else(|| engine.poll_setup_order()) {
            match self.orders.push(order) {
                Ok(()) => self.has_put = true,
                Err(rtrb::PushError::Full(order)) => {
                    self.waiting = Some(order);
                    return true;
                }
            }
        }
        false
    }

    /// Wakes the thread if there is something for it.
    pub fn wake(&mut self) {
        if std::mem::take(&mut self.has_put) {
            self.thread.0.wake();
        }
    }

    /// What came back next.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answers.pop().ok()
    }

    /// Whether something has come back.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }
}

#[cfg(test)]
impl WorkerEnd {
    /// Those of workers without a thread that sets their lines up.
    pub fn alone(workers: usize) -> Vec<Self> {
        let waker = Waker::new().expect("an eventfd");
        (0..workers).map(|_| rings(16, &waker).0).collect()
    }
}

impl ThreadEnd {
    /// Gives the worker a line's output; false when it found no place and is gone. What strangers make of it may be: datagrams, which
    /// are sent again, and news of those that were refused. A line's own course waits.
    pub(super) fn give(&mut self, id: SetupId, output: Output) -> bool {
        self.has_put = true;
        match output {
            Output::Transmit(to, datagram) => self.give_now(Answer::Transmit(id, to, datagram)),
            Output::News(report) if matches!(report.news, SetupNews::Refused(_)) => {
                self.give_now(Answer::News(id, report))
            }
            Output::News(report) => {
                self.waiting.push_back(Answer::News(id, report));
                self.give_waiting();
                true
            }
        }
    }

    fn give_now(&mut self, answer: Answer) -> bool {
        self.waiting.is_empty() && self.answers.push(answer).is_ok()
    }

    /// Gives the worker what has waited.
    pub(super) fn give_waiting(&mut self) {
        while let Some(answer) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(answer)) = self.answers.push(answer) {
                self.waiting.push_front(answer);
                return;
            }
            self.has_put = true;
        }
    }

    /// Whether news wait for a place.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Wakes the worker if there is something for it.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.has_put)
            && let Some(worker) = self.worker.get()
        {
            worker.wake();
        }
    }

    /// Whether the worker has ended, and everything it put was taken.
    pub(super) fn is_over(&self) -> bool {
        self.orders.is_abandoned() && self.orders.is_empty()
    }
}
