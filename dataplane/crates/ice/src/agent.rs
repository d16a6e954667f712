use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;

use is::stun::{Class, Method, StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, Protocol};
use media_types::{IceCredentials, IceMode};
use sans_io::{Epoch, Timestamp};

use crate::transactions::{self, Transactions};
use crate::{CandidateError, Event, Failure, Refusal, Settings};

/// Candidates of a party that are looked at.
pub const CANDIDATES_MAX: usize = 32;
/// Addresses that a party's checks may come from.
pub const SOURCES_MAX: usize = 64;
/// Pairs that are checked, the best ones.
const PAIRS_MAX: usize = 64;

/// A datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Our address that it leaves from.
    pub local: SocketAddr,
    /// Where it goes.
    pub remote: SocketAddr,
    /// What it holds.
    pub datagram: Vec<u8>,
}

/// The ICE agent of one media line.
///
/// # Calling contract
///
/// - [`handle_datagram`](Self::handle_datagram) takes STUN messages (RFC 7983: the first byte is 0 to 3),
///   [`handle_timeout`](Self::handle_timeout) the time when [`poll_timeout`](Self::poll_timeout) is due.
/// - After each call that takes `now`, send what [`poll_transmit`](Self::poll_transmit) gives until it is empty, and take what
///   [`poll_event`](Self::poll_event) gives.
/// - Candidates and credentials may come in any order and at any time (trickle, RFC 8838); checks that come before them wait.
///
/// `now` comes from one monotonic clock and never goes back.
pub struct Agent {
    agent: IceAgent,
    settings: Settings,
    epoch: Epoch,
    credentials: IceCredentials,
    remote: Option<IceCredentials>,
    /// The name that the party gives itself in its checks, while its description has yet to say it: a lite agent answers these at once,
    /// for it needs nothing of the party's, and a party that gets no answer waits longer for the next.
    presumed: Option<String>,
    candidates: usize,
    sources: HashSet<SocketAddr>,
    selected: Option<(SocketAddr, SocketAddr)>,
    /// The search has begun anew since that was selected: the same pair again is news.
    is_searching_anew: bool,
    /// What was selected when the party of a lite agent went silent: it may come back there, since nothing was asked of it. Where
    /// checks of ours are no longer answered only a restart helps (RFC 7675 §5.1).
    silent: Option<(SocketAddr, SocketAddr)>,
    /// When a pair must be there; `None` until the party's credentials are known, and once there is one.
    deadline: Option<Timestamp>,
    /// When each address of the party last gave consent, by a check of its own or its answer to one of ours. As many as there
    /// are sources and pairs: an answer counts only if it comes from where one of our checks went to.
    consents: HashMap<SocketAddr, Timestamp>,
    /// Our checks that wait for an answer.
    transactions: Transactions,
    events: VecDeque<Event>,
}

impl Agent {
    /// One with its own credentials and addresses.
    pub fn new(
        settings: Settings,
        credentials: IceCredentials,
        local: &[SocketAddr],
        epoch: Epoch,
        now: Timestamp,
    ) -> Self {
        let mut agent = IceAgent::new(to_is(&credentials));
        agent.set_ice_lite(settings.mode == IceMode::Lite);
        agent.set_controlling(settings.mode == IceMode::Controlling);
        agent.set_max_candidate_pairs(PAIRS_MAX);
        for &address in local {
            if let Ok(candidate) = Candidate::host(address, Protocol::Udp) {
                agent.add_local_candidate(candidate);
            }
        }
        let mut agent = Self {
            agent,
            settings,
            epoch,
            credentials,
            remote: None,
            presumed: None,
            candidates: 0,
            sources: HashSet::new(),
            selected: None,
            is_searching_anew: false,
            silent: None,
            deadline: None,
            consents: HashMap::new(),
            transactions: Transactions::default(),
            events: VecDeque::new(),
        };
        agent.advance(now);
        agent
    }

    /// What our description says.
    pub fn credentials(&self) -> &IceCredentials {
        &self.credentials
    }

    /// Our candidates as our description has them, without `a=`.
    pub fn local_candidates(&self) -> impl Iterator<Item = String> + '_ {
        self.agent
            .local_candidates()
            .map(|candidate| candidate.to_sdp_string())
    }

    /// Tells what the party's description says. From now on the search has its time. True when it begins anew: another one than the
    /// party had been heard, and what came of that is not the party's.
    pub fn set_remote_credentials(&mut self, now: Timestamp, credentials: IceCredentials) -> bool {
        if self.remote.as_ref() == Some(&credentials) {
            return false;
        }
        // Another fork of our offer has answered than the one that was heard first.
        let is_another = self
            .presumed
            .take()
            .is_some_and(|presumed| presumed != credentials.ufrag());
        if is_another {
            self.restart(now, self.credentials.clone());
        }
        self.agent.set_remote_credentials(to_is(&credentials));
        self.remote = Some(credentials);
        if self.selected.is_none() || self.is_searching_anew {
            self.deadline = Some(now + self.settings.timeout);
        }
        self.advance(now);
        is_another
    }

    /// Adds a candidate of the party, as `a=candidate` has it. One with a name (mDNS) or of another transport is refused, which
    /// is no failure: the party's checks make it known by its address.
    pub fn add_remote_candidate(&mut self, now: Timestamp, text: &str) -> Result<(), CandidateError> {
        if self.candidates >= CANDIDATES_MAX {
            return Err(CandidateError::TooMany);
        }
        let candidate = Candidate::from_sdp_string(text).map_err(|_| CandidateError::Malformed)?;
        if candidate.proto() != Protocol::Udp {
            return Err(CandidateError::Transport);
        }
        self.candidates += 1;
        self.agent.add_remote_candidate(candidate);
        self.advance(now);
        Ok(())
    }

    /// Goes on over the pair that an agent before had selected, in an earlier process: its consent is as fresh as if it had just come,
    /// and it is given up like any other when the party is silent. Candidates and credentials have been told. No event says so.
    pub fn resume(&mut self, now: Timestamp, local: SocketAddr, remote: SocketAddr) {
        self.selected = Some((local, remote));
        self.consents.insert(remote, now);
        self.deadline = None;
    }

    /// Begins anew with credentials of ours, which need not be others (RFC 8445 §9): the party's have to be told again. The pair that was selected stays until another is.
    pub fn restart(&mut self, now: Timestamp, credentials: IceCredentials) {
        self.agent.ice_restart(to_is(&credentials), true);
        self.is_searching_anew = true;
        self.credentials = credentials;
        self.remote = None;
        self.presumed = None;
        self.silent = None;
        self.candidates = 0;
        self.sources.clear();
        self.transactions.clear();
        // What was selected stays for now, and so does its consent.
        let kept = self.selected.map(|(_, remote)| remote);
        self.consents.retain(|remote, _| Some(*remote) == kept);
        self.deadline = None;
        self.advance(now);
    }

    /// A STUN message that came from `remote` to our address `local`.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        let message = StunMessage::parse(datagram).map_err(|_| Refusal::Malformed)?;
        if message.method() != Method::Binding {
            return Err(Refusal::Stranger);
        }
        let answered = transactions::id(datagram);
        match message.class() {
            // Keeps a NAT's mapping alive, has no proof of anything, and needs no answer (RFC 8445 §11).
            Class::Indication => return Ok(()),
            Class::Request if !self.names_us(&message) => return Err(Refusal::Stranger),
            Class::Request if self.sources.len() >= SOURCES_MAX && !self.sources.contains(&remote) => {
                return Err(Refusal::TooManySources);
            }
            Class::Success | Class::Failure
                if !answered.is_some_and(|id| self.transactions.waits(id, remote)) =>
            {
                return Err(Refusal::Unasked);
            }
            _ => {}
        }
        if message.class() == Class::Request {
            self.presume(&message)?;
        }
        let is_request = message.is_binding_request();
        let is_success = message.is_successful_binding_response();
        let packet = StunPacket {
            proto: Protocol::Udp,
            source: remote,
            destination: local,
            message,
        };
        if !self.agent.handle_packet(self.epoch.instant(now), packet) {
            return Err(Refusal::Integrity);
        }
        if is_request {
            self.sources.insert(remote);
        } else if let Some(id) = answered {
            self.transactions.answered(id);
        }
        // RFC 7675 §5.1 takes answers to our own checks for consent; a lite agent makes none and has the party's checks.
        let gives_consent = match self.settings.mode {
            IceMode::Lite => is_request,
            IceMode::Controlling | IceMode::Controlled => is_success,
        };
        if gives_consent {
            self.consents.insert(remote, now);
            if let Some(back) = self.silent.take_if(|silent| silent.1 == remote) {
                self.select(back);
            }
        }
        self.advance(now);
        Ok(())
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) named.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.fail(Failure::Timeout);
        }
        if self.consent_ends().is_some_and(|end| end <= now) {
            // Whoever is looked for anew does not come back where it was.
            let comes_back = self.settings.mode == IceMode::Lite && !self.is_searching_anew;
            self.silent = self.selected.filter(|_| comes_back);
            self.fail(Failure::Consent);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while nothing waits.
    pub fn poll_timeout(&mut self) -> Option<Timestamp> {
        let (epoch, consent) = (self.epoch, self.consent_ends());
        let timer = self.agent.poll_timeout().map(|at| epoch.timestamp(at));
        [timer, self.deadline, consent].into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.agent.poll_transmit()?;
        self.transactions.sent(transmit.destination, &transmit.contents);
        Some(Transmit {
            local: transmit.source,
            remote: transmit.destination,
            datagram: transmit.contents.to_vec(),
        })
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The pair that media takes: ours and the party's address.
    pub fn selected(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.selected
    }

    /// Takes the party for the one that a check of proven integrity names, as long as nothing else is known of it.
    fn presume(&mut self, message: &StunMessage<'_>) -> Result<(), Refusal> {
        if self.settings.mode != IceMode::Lite || self.remote.is_some() || self.presumed.is_some() {
            return Ok(());
        }
        let Some((_, name)) = message.split_username() else {
            return Err(Refusal::Stranger);
        };
        if !self.agent.accepts_message(message) {
            return Err(Refusal::Integrity);
        }
        self.agent.set_remote_credentials(is::IceCreds {
            ufrag: name.to_owned(),
            pass: String::new(),
        });
        self.presumed = Some(name.to_owned());
        Ok(())
    }

    fn names_us(&self, message: &StunMessage<'_>) -> bool {
        let Some((local, remote)) = message.split_username() else {
            return false;
        };
        let is_known = |credentials: &IceCredentials| credentials.ufrag() == remote;
        local == self.credentials.ufrag()
            && self.remote.as_ref().is_none_or(is_known)
            && self.presumed.as_ref().is_none_or(|presumed| presumed == remote)
    }

    /// When the selected pair may no longer be sent over, unless the party speaks before.
    fn consent_ends(&self) -> Option<Timestamp> {
        let (_, remote) = self.selected?;
        let last = self.consents.get(&remote).copied();
        Some(last.unwrap_or_default() + self.settings.consent)
    }

    fn advance(&mut self, now: Timestamp) {
        self.agent.handle_timeout(self.epoch.instant(now));
        while let Some(event) = self.agent.poll_event() {
            let IceAgentEvent::NominatedSend {
                source, destination, ..
            } = event
            else {
                continue;
            };
            self.deadline = None;
            self.consents.entry(destination).or_insert(now);
            if self.selected != Some((source, destination)) || self.is_searching_anew {
                self.select((source, destination));
            }
        }
    }

    fn select(&mut self, pair: (SocketAddr, SocketAddr)) {
        self.silent = None;
        self.deadline = None;
        self.is_searching_anew = false;
        self.selected = Some(pair);
        let (local, remote) = pair;
        self.events.push_back(Event::Selected { local, remote });
    }

    fn fail(&mut self, failure: Failure) {
        self.selected = None;
        self.events.push_back(Event::Failed(failure));
    }
}

fn to_is(credentials: &IceCredentials) -> is::IceCreds {
    is::IceCreds {
        ufrag: credentials.ufrag().to_owned(),
        pass: credentials.password().to_owned(),
    }
}

impl fmt::Debug for Agent {
    /// Without the passwords, which the agent within would print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("settings", &self.settings)
            .field("credentials", &self.credentials)
            .field("selected", &self.selected)
            .finish_non_exhaustive()
    }
}
