//! The layers before and around the queues: bans, limits of a source, scanners, and what is refused under overload.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guard::{Admission, Bucket, Change, Evidence, Guard, Network, Offence, Rank, Refusal};
use sans_io::{Random, Timestamp};
use sip::{HeaderName, Message, Method, Source};
use tokio::time::Instant;

use crate::Config;
use crate::counters::Drop;
use crate::transport::Shared;

/// What decides who is listened to.
#[derive(Debug)]
pub(crate) struct Defence {
    /// Where the time of this module begins.
    started: Instant,
    guard: Mutex<Guard>,
    admission: Mutex<Admission>,
    /// For answers to what is refused under overload.
    answers: Mutex<Bucket>,
}

impl Defence {
    pub(crate) fn new(config: &Config) -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
        Self {
            started: Instant::now(),
            guard: Mutex::new(Guard::new(config.guard.clone())),
            admission: Mutex::new(Admission::new(
                config.queue_delay_target,
                Random::from_number(seed),
            )),
            answers: Mutex::new(Bucket::full(Timestamp::ZERO)),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.started.elapsed()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How sure it is that a message is of the source that it names.
fn evidence(source: &Source) -> Evidence {
    match source.transport.is_reliable() {
        true => Evidence::Proven,
        false => Evidence::Datagram,
    }
}

impl Shared {
    /// Whether a message from `source` is looked at; counts it if not. Before parsing.
    pub(crate) fn lets_in(&self, source: IpAddr) -> Result<(), Drop> {
        let defence = &self.defence;
        let admitted = defence.guard().admit(defence.now(), source);
        admitted.map_err(|refusal| match refusal {
            Refusal::Banned => Drop::Banned,
            Refusal::Rate => Drop::SourceRate,
        })
    }

    /// Notes what speaks against the source of a message, as far as the message itself shows it.
    pub(crate) fn speak_against(&self, source: &Source, offence: Offence) {
        self.report(source.remote.ip(), offence, evidence(source));
    }

    pub(crate) fn report(&self, source: IpAddr, offence: Offence, evidence: Evidence) {
        let now = self.defence.now();
        let mut guard = self.defence.guard();
        guard.report(now, source, offence, evidence);
        self.tell_bans(now, &mut guard);
    }

    /// Tells the log of changes of the ban list. A packet filter that drops further down would be told here, too.
    pub(crate) fn tell_bans(&self, now: Timestamp, guard: &mut Guard) {
        while let Some(change) = guard.poll_change() {
            match change {
                Change::Banned(ban) => {
                    let seconds = ban.until.saturating_since(now).as_secs();
                    let reason = ban.offence.map_or("operator", Offence::as_str);
                    tracing::warn!(network = %ban.network, seconds, reason, "banned");
                }
                Change::Lifted(network) => tracing::info!(%network, "no longer banned"),
            }
        }
    }

    /// Whether a new request calls itself that of a scanner, and may not. Nothing is answered then.
    pub(crate) fn is_scan(&self, source: &Source, request: &Message) -> bool {
        let Some(agent) = request.header(HeaderName::UserAgent) else {
            return false;
        };
        let begins = |name: &String| {
            agent
                .get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        if !self.config.scanners.iter().any(begins) || self.defence.guard().is_allowed(source.remote.ip()) {
            return false;
        }
        self.speak_against(source, Offence::Scanner);
        true
    }

    /// Whether an INVITE is for an emergency number (RFC 5031, or one of the configuration).
    fn is_emergency(&self, request: &Message) -> bool {
        let uri = request.request_uri();
        uri.is_some_and(|uri| self.config.emergency_numbers.includes(uri))
    }

    /// How important a new request is.
    pub(crate) fn rank(&self, now: Timestamp, source: &Source, request: &Message) -> Rank {
        match request.method() {
            Some(Method::Invite) if self.is_emergency(request) => Rank::Emergency,
            Some(Method::Invite) => match self.defence.guard().is_allowed(source.remote.ip()) {
                true => Rank::TrunkInvite,
                false => Rank::UserInvite,
            },
            Some(Method::Register) => match self.defence.guard().is_vouched(now, source.remote.ip()) {
                true => Rank::Refresh,
                false => Rank::Register,
            },
            _ => Rank::Other,
        }
    }

    /// Notes that the owner has taken a message; `since` when it waited, if it is a new request.
    pub(crate) fn taken(&self, since: Option<Timestamp>) {
        if let Some(since) = since {
            let (now, first) = (self.defence.now(), self.inbox.first());
            let waited = now.saturating_since(since);
            self.defence.admission().observe(now, waited, first);
        }
    }

    /// Whether one more request may be told that it is refused. On a connection always: there nothing is repeated.
    pub(crate) fn may_answer(&self, source: &Source) -> bool {
        let rate = self.config.refusals_per_s_max;
        let mut answers = self
            .defence
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        source.transport.is_reliable() || answers.take(self.defence.now(), rate, rate)
    }
}

/// What the owner may say and ask of the ban list. Times are durations: the transport has a clock of its own.
impl crate::Transport {
    /// The next hops as they are now: they are neither limited nor banned by points.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = IpAddr>) {
        let peers = peers.into_iter().map(Network::of_source).collect();
        self.shared().defence.guard().set_peers(peers);
    }

    /// Notes what was learned of a source when its message was worked on. What it answered to a challenge is proven: the
    /// challenge reached it.
    pub fn report(&self, source: &Source, offence: Offence) {
        match offence {
            Offence::Credentials => self
                .shared()
                .report(source.remote.ip(), offence, Evidence::Proven),
            _ => self.shared().speak_against(source, offence),
        }
    }

    /// Notes that a source has proven a password.
    pub fn vouch(&self, source: &Source) {
        let defence = &self.shared().defence;
        defence.guard().vouch(defence.now(), source.remote.ip());
    }

    /// Bans a network for so long.
    pub fn ban(&self, network: Network, lasts: Duration) {
        let defence = &self.shared().defence;
        let (now, mut guard) = (defence.now(), defence.guard());
        guard.ban(now, network, lasts);
        self.shared().tell_bans(now, &mut guard);
    }

    /// Lifts the ban of exactly that network; `false` if there is none.
    pub fn unban(&self, network: Network) -> bool {
        let defence = &self.shared().defence;
        let (now, mut guard) = (defence.now(), defence.guard());
        let is_lifted = guard.unban(now, network);
        self.shared().tell_bans(now, &mut guard);
        is_lifted
    }

    /// The networks that are banned, for how much longer, and for what (`None`: by an order), those that end last in front.
    pub fn bans(&self) -> Vec<(Network, Duration, Option<Offence>)> {
        let defence = &self.shared().defence;
        let (now, mut guard) = (defence.now(), defence.guard());
        let mut bans = guard.bans(now);
        self.shared().tell_bans(now, &mut guard);
        bans.sort_unstable_by_key(|ban| (std::cmp::Reverse(ban.until), ban.network));
        let left = |ban: guard::Ban| (ban.network, ban.until.saturating_since(now), ban.offence);
        bans.into_iter().map(left).collect()
    }
}
