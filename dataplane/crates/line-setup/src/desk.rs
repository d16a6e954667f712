use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use dtls::Endpoint;
use media_engine::{SetupId, SetupNews, SetupOrder, SetupReport, SetupRounds};
use sans_io::{Epoch, Timestamp};

use crate::admission::Admission;
use crate::line_setup::Surroundings;
use crate::{Config, LineSetup};

/// A line of a node: its worker, and what that calls it.
pub type Key = (usize, SetupId);

/// What a desk gives.
#[derive(Debug)]
pub enum Output {
    /// A datagram to send from the line's RTP port.
    Transmit(SocketAddr, Vec<u8>),
    /// What has become of the line.
    News(SetupReport),
}

/// The lines of a node that are set up, by their timers.
///
/// # Calling contract
///
/// [`order`](Self::order), [`handle_datagram`](Self::handle_datagram) and [`handle_timeout`](Self::handle_timeout) say what
/// happened; after each, take what [`poll_output`](Self::poll_output) gives until it is empty. `now` comes from one monotonic
/// clock and never goes back.
#[derive(Debug)]
pub struct Desk {
    config: Config,
    endpoint: Endpoint,
    epoch: Epoch,
    admission: Admission,
    lines: HashMap<Key, Line>,
    timers: BTreeSet<(Timestamp, Key)>,
    outputs: VecDeque<(Key, Output)>,
}

#[derive(Debug)]
struct Line {
    setup: LineSetup,
    /// Its entry in `timers`.
    timer: Option<Timestamp>,
}

impl Desk {
    /// Without lines. Their handshakes are those of `endpoint`.
    pub fn new(config: Config, endpoint: Endpoint, epoch: Epoch) -> Self {
        Self {
            admission: Admission::new(config.handshakes_max, config.handshakes_per_source_max),
            config,
            endpoint,
            epoch,
            lines: HashMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Does what the engine of a worker asks.
    pub fn order(&mut self, now: Timestamp, worker: usize, order: SetupOrder) {
        match order {
            SetupOrder::End(id) => self.end((worker, id)),
            SetupOrder::Discard(id) => {
                self.with(now, (worker, id), |setup, around| setup.discard(around.admission));
            }
            SetupOrder::Set(id, terms) => {
                let key = (worker, id);
                match self.lines.contains_key(&key) {
                    true => self.with(now, key, |setup, around| setup.change(around, *terms)),
                    false => {
                        let mut around = Surroundings {
                            config: &self.config,
                            endpoint: &self.endpoint,
                            epoch: self.epoch,
                            admission: &mut self.admission,
                            now,
                        };
                        let setup = LineSetup::new(&mut around, *terms);
                        self.lines.insert(key, Line { setup, timer: None });
                        self.with(now, key, |_, _| ());
                    }
                }
            }
        }
    }

    /// A datagram that came to a line from `source`. False for a line that there is not, or not yet.
    pub fn handle_datagram(&mut self, now: Timestamp, key: Key, source: SocketAddr, datagram: &[u8]) -> bool {
        if !self.lines.contains_key(&key) {
            return false;
        }
        let mut refused = None;
        self.with(now, key, |setup, around| {
            refused = setup.handle_datagram(around, source, datagram).err();
        });
        if let Some(reason) = refused {
            let report = SetupReport {
                rounds: SetupRounds::default(),
                news: SetupNews::Refused(reason),
            };
            self.outputs.push_back((key, Output::News(report)));
        }
        true
    }

    /// Does what is due by `now`, at most `lines_max` lines of it.
    pub fn handle_timeout(&mut self, now: Timestamp, lines_max: usize) {
        for _ in 0..lines_max {
            match self.timers.first() {
                Some(&(at, key)) if at <= now => self.with(now, key, LineSetup::handle_timeout),
                _ => return,
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What to do next, and for which line.
    pub fn poll_output(&mut self) -> Option<(Key, Output)> {
        self.outputs.pop_front()
    }

    /// Lines that are set up, or were and are watched.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Handshakes under way.
    pub fn handshakes(&self) -> usize {
        self.admission.under_way()
    }

    fn with(&mut self, now: Timestamp, key: Key, act: impl FnOnce(&mut LineSetup, &mut Surroundings<'_>)) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        let mut around = Surroundings {
            config: &self.config,
            endpoint: &self.endpoint,
            epoch: self.epoch,
            admission: &mut self.admission,
            now,
        };
        act(&mut line.setup, &mut around);
        while let Some((to, datagram)) = line.setup.poll_transmit() {
            self.outputs.push_back((key, Output::Transmit(to, datagram)));
        }
        while let Some(news) = line.setup.poll_news() {
            self.outputs.push_back((key, Output::News(news)));
        }
        let due = line.setup.poll_timeout();
        if due != line.timer {
            if let Some(timer) = std::mem::replace(&mut line.timer, due) {
                self.timers.remove(&(timer, key));
            }
            if let Some(due) = due {
                self.timers.insert((due, key));
            }
        }
    }

    fn end(&mut self, key: Key) {
        if let Some(mut line) = self.lines.remove(&key) {
            line.setup.end(&mut self.admission);
            if let Some(timer) = line.timer {
                self.timers.remove(&(timer, key));
            }
        }
    }
}
