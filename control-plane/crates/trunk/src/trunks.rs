use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use sans_io::{Random, Timestamp};
use sip::{Destination, Message};

use crate::trunk::{Tools, Trunk};
use crate::{Status, TrunkTerms};

/// All trunks of one process.
///
/// # Calling contract
///
/// - Handlers take what happened: [`set`](Self::set), [`handle_answer`](Self::handle_answer),
///   [`handle_timeout`](Self::handle_timeout), [`leave`](Self::leave).
/// - After any of these, poll [`poll_output`](Self::poll_output) until it is empty, then
///   [`poll_timeout`](Self::poll_timeout) for when to call `handle_timeout`.
/// - Every [`Output::Send`] has one end, told by `handle_answer`; it may be told before the next poll.
#[derive(Debug)]
pub struct Trunks {
    random: Random,
    /// By a key of their own: one that is left may still have its registration to take back while another has its number.
    trunks: BTreeMap<u64, Trunk>,
    keys: u64,
    requests: u64,
    /// Whose the requests under way are.
    owners: HashMap<u64, u64>,
    outputs: VecDeque<Output>,
    next: Option<Timestamp>,
    has_changed: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this in a transaction of its own; it lacks only its Via.
    Send {
        /// To be repeated in its answer.
        request: u64,
        /// The request.
        message: Message,
        /// Where to.
        destination: Destination,
    },
    /// A server is there again, or is not. All count as up at first.
    Server {
        /// The number of the trunk.
        trunk: u32,
        /// Which of its servers.
        destination: Destination,
        /// Whether calls may go there.
        up: bool,
    },
    /// The `Route` values of calls to a trunk have changed (RFC 3608 §5). There are none at first.
    ServiceRoute {
        /// The number of the trunk.
        trunk: u32,
        /// The values in order.
        route: Arc<[String]>,
    },
}

/// Why a request has no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// None came in time (timer F).
    TimedOut,
    /// It could not be sent.
    NotSent,
}

impl NoAnswer {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "no response",
            Self::NotSent => "the server cannot be reached",
        }
    }
}

impl Trunks {
    /// None at first.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            trunks: BTreeMap::new(),
            keys: 0,
            requests: 0,
            owners: HashMap::new(),
            outputs: VecDeque::new(),
            next: None,
            has_changed: false,
        }
    }

    /// Takes these trunks in place of those it has, each number at most once. What stays as it was goes on undisturbed;
    /// registrations with trunks that are gone, or under another name, are taken back.
    pub fn set(&mut self, now: Timestamp, terms: Vec<TrunkTerms>) {
        let is_wanted = |trunk: &Trunk| terms.iter().any(|terms| terms.number == trunk.terms.number);
        for trunk in self.trunks.values_mut() {
            if !is_wanted(trunk) {
                trunk.leave(now);
            }
        }
        let by_number: HashMap<u32, u64> = self
            .trunks
            .iter()
            .filter(|(_, trunk)| is_wanted(trunk) && !trunk.is_left())
            .map(|(key, trunk)| (trunk.terms.number, *key))
            .collect();
        for terms in terms {
            match by_number.get(&terms.number) {
                Some(&key) => {
                    let mut old = None;
                    self.with(key, |trunk, tools| old = trunk.change(now, terms, tools));
                    old.into_iter().for_each(|trunk| self.add(trunk));
                }
                None => {
                    let trunk = Trunk::new(now, terms, &mut self.random);
                    self.add(trunk);
                }
            }
        }
        self.handle_timeout(now);
    }

    fn add(&mut self, trunk: Trunk) {
        self.keys += 1;
        self.trunks.insert(self.keys, trunk);
    }

    /// Takes all registrations back, for an orderly stop. Go on handling and polling until [`is_gone`](Self::is_gone).
    pub fn leave(&mut self, now: Timestamp) {
        self.trunks.values_mut().for_each(|trunk| trunk.leave(now));
        self.handle_timeout(now);
    }

    /// Whether there is no trunk any more.
    pub fn is_gone(&self) -> bool {
        self.trunks.is_empty()
    }

    /// Takes what became of a request: its final response, or why there is none. One that nobody waits for any more is left
    /// alone.
    pub fn handle_answer(&mut self, now: Timestamp, request: u64, answer: Result<&Message, NoAnswer>) {
        if let Some(key) = self.owners.remove(&request) {
            self.with(key, |trunk, tools| {
                trunk.handle_answer(now, request, answer, tools)
            });
            self.handle_timeout(now);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let is_due = |trunk: &Trunk| trunk.poll_timeout().is_some_and(|due| due <= now);
        let due: Vec<u64> = self
            .trunks
            .iter()
            .filter(|(_, trunk)| is_due(trunk))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.with(key, |trunk, tools| trunk.handle_timeout(now, tools));
        }
        self.trunks.retain(|_, trunk| !trunk.is_gone());
        self.next = self.trunks.values().filter_map(Trunk::poll_timeout).min();
        self.has_changed = true;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when nothing waits.
    pub const fn poll_timeout(&self) -> Option<Timestamp> {
        self.next
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How the trunks stand, if anything may have changed since this was asked last.
    pub fn poll_statuses(&mut self) -> Option<Vec<Status>> {
        let has_changed = std::mem::take(&mut self.has_changed);
        let stay = || self.trunks.values().filter(|trunk| !trunk.is_left());
        has_changed.then(|| stay().map(Trunk::status).collect())
    }

    fn with(&mut self, key: u64, act: impl FnOnce(&mut Trunk, &mut Tools<'_>)) {
        let Some(trunk) = self.trunks.get_mut(&key) else {
            return;
        };
        let (mut sent, mut outputs) = (Vec::new(), Vec::new());
        let mut tools = Tools {
            random: &mut self.random,
            requests: &mut self.requests,
            sent: &mut sent,
            outputs: &mut outputs,
        };
        act(trunk, &mut tools);
        self.owners.extend(sent.into_iter().map(|request| (request, key)));
        self.outputs.extend(outputs);
    }
}
