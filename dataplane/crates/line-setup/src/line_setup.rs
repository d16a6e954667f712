use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use dtls::{Association, Endpoint, Failure};
use ice::{Agent, CANDIDATES_MAX};
use media_engine::{DropReason, SetupNews, SetupReport, SetupTerms};
use media_types::{DtlsRole, DtlsSpec, IceMode, IceSpec, Latching, SrtpSpec};
use sans_io::{Epoch, Timestamp};

use crate::admission::{Admission, Refused};
use crate::{Config, refused};

/// How soon a handshake of ours that may not begin yet, or that was broken, is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How one line is set up.
///
/// # Calling contract
///
/// - [`change`](Self::change) takes other terms, [`handle_datagram`](Self::handle_datagram) what came to the line's port by STUN
///   or DTLS, [`handle_timeout`](Self::handle_timeout) the time when [`poll_timeout`](Self::poll_timeout) is due.
/// - After each of these, send what [`poll_transmit`](Self::poll_transmit) gives and take what [`poll_news`](Self::poll_news)
///   gives, until both are empty.
///
/// With ICE a handshake is with the selected pair alone. Without it, the party is where its description says, or, as far as
/// latching allows, somewhere else: then several places may try, each with an association of its own, and the one that shows
/// the certificate of the description is the party. So no stranger who is faster takes its place.
#[derive(Debug)]
pub struct LineSetup {
    terms: SetupTerms,
    ice: Option<Agent>,
    /// The party's candidates that the agent has.
    candidates: HashSet<String>,
    /// The party's address of the pair that media takes.
    selected: Option<SocketAddr>,
    /// ICE has begun anew since that was selected: what begins now waits for the next pair.
    is_searching_anew: bool,
    trials: Vec<Trial>,
    trials_in_all: u32,
    /// Handshakes that we began.
    attempts: u32,
    /// When one of ours that was not admitted is tried again.
    retry: Option<Timestamp>,
    stage: Stage,
    /// When the handshake must be done; `None` until both sides can begin.
    deadline: Option<Timestamp>,
    /// Why the latest handshake came to nothing, or could not begin.
    latest_failure: Option<&'static str>,
    news: VecDeque<SetupReport>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// A handshake with one place.
#[derive(Debug)]
struct Trial {
    association: Association,
    remote: SocketAddr,
    /// It counts among those under way.
    is_under_way: bool,
}

/// Where the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// None is wanted, or none has begun.
    New,
    /// At least one has begun.
    Handshaking,
    /// Done; until this time its association answers what was lost on the way.
    Connected(Timestamp),
    /// Done long ago, or in an earlier process.
    Over,
    /// It came to nothing.
    Failed,
}

/// What a line shares with others.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) epoch: Epoch,
    pub(crate) admission: &'a mut Admission,
    pub(crate) now: Timestamp,
}

impl LineSetup {
    /// Begins by these terms, or goes on from what they say was reached.
    pub(crate) fn new(around: &mut Surroundings<'_>, terms: SetupTerms) -> Self {
        let stage = match terms.reached.connected {
            true => Stage::Over,
            false => Stage::New,
        };
        let mut setup = Self {
            selected: terms.reached.selected,
            is_searching_anew: false,
            terms: SetupTerms {
                dtls: None,
                ice: None,
                ..terms.clone()
            },
            ice: None,
            candidates: HashSet::new(),
            trials: Vec::new(),
            trials_in_all: 0,
            attempts: 0,
            retry: None,
            stage,
            deadline: None,
            latest_failure: None,
            news: VecDeque::new(),
            transmits: VecDeque::new(),
        };
        let reached = terms.reached.selected;
        setup.take_over(around, terms);
        if let (Some(remote), Some(ice)) = (reached, &mut setup.ice) {
            ice.resume(around.now, setup.terms.local, remote);
        }
        setup
    }

    /// Goes on by other terms.
    pub(crate) fn change(&mut self, around: &mut Surroundings<'_>, mut terms: SetupTerms) {
        terms.dtls = match (&self.terms.dtls, terms.dtls) {
            (Some(before), Some(now)) => Some(now.after(before)),
            (_, dtls) => dtls,
        };
        terms.ice = match (&self.terms.ice, terms.ice) {
            (Some(before), Some(now)) => Some(now.after(before)),
            (_, ice) => ice,
        };
        let goes_on = match (&self.terms.dtls, &terms.dtls) {
            (Some(before), Some(now)) => now.continues(before),
            _ => false,
        };
        // Without ICE another address of the party is another place to shake hands with (RFC 8842 §4).
        let moved = terms.ice.is_none() && self.terms.remote.is_some() && terms.remote != self.terms.remote;
        let restarts = match (&self.terms.ice, &terms.ice) {
            (Some(before), Some(now)) => now.restarts(before),
            (before, now) => before.is_some() != now.is_some(),
        };
        // Where one came to nothing another place, or another search, is a reason to try again.
        let tries_again = match self.stage {
            Stage::New | Stage::Handshaking => moved,
            Stage::Failed => moved || restarts,
            Stage::Connected(_) | Stage::Over => false,
        };
        // What was met before its description is not another party's, which our other credentials are for.
        let was_unknown = self
            .terms
            .dtls
            .as_ref()
            .is_some_and(|dtls| dtls.fingerprints.is_empty());
        if !goes_on || tries_again || (restarts && was_unknown) {
            self.begin_anew(around.admission);
        }
        self.take_over(around, terms);
    }

    /// A datagram that came from `source`; STUN by its first byte (RFC 7983), else DTLS.
    pub(crate) fn handle_datagram(
        &mut self,
        around: &mut Surroundings<'_>,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let is_stun = datagram.first().is_some_and(|first| *first < 4);
        let taken = match is_stun {
            true => self.handle_stun(around, source, datagram),
            false => self.handle_dtls(around, source, datagram),
        };
        self.drain(around);
        taken
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) named.
    pub(crate) fn handle_timeout(&mut self, around: &mut Surroundings<'_>) {
        let now = around.now;
        if let Some(ice) = &mut self.ice {
            ice.handle_timeout(now);
        }
        for trial in &mut self.trials {
            trial.association.handle_timeout(now);
        }
        self.retry = self.retry.filter(|retry| *retry > now);
        self.drain(around);
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let reason = self.latest_failure.unwrap_or(Failure::Timeout.reason());
            self.fail(around.admission, reason);
        }
        if let Stage::Connected(until) = self.stage
            && until <= now
        {
            self.stage = Stage::Over;
            self.clear_trials(around.admission);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while nothing waits.
    pub(crate) fn poll_timeout(&mut self) -> Option<Timestamp> {
        let lingers = match self.stage {
            Stage::Connected(until) => Some(until),
            _ => None,
        };
        let search = self.ice.as_mut().and_then(Agent::poll_timeout);
        let trials = self
            .trials
            .iter()
            .filter_map(|trial| trial.association.poll_timeout());
        [search, self.deadline, lingers, self.retry]
            .into_iter()
            .flatten()
            .chain(trials)
            .min()
    }

    /// The next datagram for the party, and where it goes.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub(crate) fn poll_news(&mut self) -> Option<SetupReport> {
        self.news.pop_front()
    }

    /// The keys of the handshake that is done are of no use: it counts as one that came to nothing, which whoever says so knows.
    pub(crate) fn discard(&mut self, admission: &mut Admission) {
        if matches!(self.stage, Stage::Connected(_) | Stage::Over) {
            self.clear_trials(admission);
            self.stage = Stage::Failed;
        }
    }

    /// Ends what counts among the handshakes under way. The line is gone.
    pub(crate) fn end(&mut self, admission: &mut Admission) {
        self.clear_trials(admission);
    }

    fn take_over(&mut self, around: &mut Surroundings<'_>, terms: SetupTerms) {
        match &terms.ice {
            Some(ice) => self.search(around, &terms, ice),
            None => (self.ice, self.selected, self.is_searching_anew) = (None, None, false),
        }
        let fingerprints = terms.dtls.as_ref().map(|dtls| dtls.fingerprints.clone());
        self.terms = terms;
        if let Some(fingerprints) = fingerprints.filter(|fingerprints| !fingerprints.is_empty()) {
            for trial in &mut self.trials {
                trial
                    .association
                    .set_fingerprints(around.now, fingerprints.clone());
            }
        }
        self.drain(around);
    }

    /// Has the agent search by these terms: a new one, one that begins anew, or the same with more candidates.
    fn search(&mut self, around: &mut Surroundings<'_>, terms: &SetupTerms, wanted: &IceSpec) {
        let now = around.now;
        let before = self.terms.ice.as_ref();
        let restarts = before.is_some_and(|before| wanted.restarts(before));
        self.is_searching_anew |= restarts;
        if restarts {
            self.candidates.clear();
            if self.waits() {
                // It has its time from the next pair.
                self.deadline = None;
            }
        }
        let is_same_mode = before.is_some_and(|before| before.mode == wanted.mode);
        let agent = match self.ice.take().filter(|_| is_same_mode) {
            Some(mut agent) => {
                if restarts {
                    agent.restart(now, wanted.local.clone());
                }
                agent
            }
            None => {
                self.candidates.clear();
                let settings = ice::Settings {
                    mode: wanted.mode,
                    timeout: around.config.ice_timeout,
                    consent: around.config.ice_consent,
                };
                Agent::new(settings, wanted.local.clone(), &[terms.local], around.epoch, now)
            }
        };
        let agent = self.ice.insert(agent);
        let begins_anew = wanted
            .remote
            .as_ref()
            .is_some_and(|remote| agent.set_remote_credentials(now, remote.clone()));
        if begins_anew {
            // The handshake that was under way was with another fork of our offer.
            self.is_searching_anew = true;
            self.candidates.clear();
            self.begin_anew(around.admission);
        }
        let Some(agent) = &mut self.ice else { return };
        for candidate in &wanted.candidates {
            if self.candidates.len() < CANDIDATES_MAX && self.candidates.insert(candidate.clone()) {
                // One that cannot be used is no failure: checks show where the party is.
                let _ = agent.add_remote_candidate(now, candidate);
            }
        }
    }

    fn handle_stun(
        &mut self,
        around: &Surroundings<'_>,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let local = self.terms.local;
        let agent = self.ice.as_mut().ok_or(DropReason::Stun)?;
        agent
            .handle_datagram(around.now, local, source, datagram)
            .map_err(refused::of_ice)
    }

    fn handle_dtls(
        &mut self,
        around: &mut Surroundings<'_>,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let Some(dtls) = self.terms.dtls.clone() else {
            return Err(DropReason::Dtls);
        };
        let known = self.trials.iter().position(|trial| trial.remote == source);
        let place = match known {
            Some(place) => place,
            None => self.try_source(around, &dtls, source, datagram)?,
        };
        let trial = &mut self.trials[place];
        trial
            .association
            .handle_datagram(around.now, source, datagram)
            .map_err(refused::of_dtls)
    }

    /// Begins a handshake with a place that has sent a ClientHello, if it may be the party.
    fn try_source(
        &mut self,
        around: &mut Surroundings<'_>,
        dtls: &DtlsSpec,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<usize, DropReason> {
        if !self.may_be_party(source) {
            return Err(DropReason::DtlsSource);
        }
        let waits = self.waits();
        if !waits || dtls.role == DtlsRole::Active || !dtls::is_client_hello(datagram) {
            return Err(DropReason::DtlsStray);
        }
        let is_expected = self.expected() == Some(source);
        let is_full = self.trials.len() >= around.config.places_per_line_max
            || self.trials_in_all >= around.config.handshakes_per_line_max;
        if is_full && !is_expected {
            return Err(DropReason::DtlsSource);
        }
        self.begin_trial(around, dtls, source)
            .map_err(Refused::drop_reason)
    }

    /// Whether there is still a handshake to come.
    const fn waits(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Handshaking)
    }

    /// Where the party ought to be.
    fn expected(&self) -> Option<SocketAddr> {
        match self.terms.ice {
            Some(_) => self.selected.filter(|_| !self.is_searching_anew),
            None => self.terms.remote,
        }
    }

    fn may_be_party(&self, source: SocketAddr) -> bool {
        let expected = self.expected();
        if expected == Some(source) {
            return true;
        }
        if self.terms.ice.is_some() {
            return false;
        }
        match self.terms.latching {
            Latching::Off => false,
            Latching::SameAddress => expected.is_some_and(|expected| expected.ip() == source.ip()),
            Latching::AnyAddress => true,
        }
    }

    /// Its place.
    fn begin_trial(
        &mut self,
        around: &mut Surroundings<'_>,
        dtls: &DtlsSpec,
        remote: SocketAddr,
    ) -> Result<usize, Refused> {
        let now = around.now;
        around.admission.begin(now, remote.ip())?;
        let mut association = Association::new(around.endpoint, dtls.role, around.epoch, now);
        association.set_remote(remote);
        if !dtls.fingerprints.is_empty() {
            association.set_fingerprints(now, dtls.fingerprints.clone());
        }
        self.trials.push(Trial {
            association,
            remote,
            is_under_way: true,
        });
        self.trials_in_all += 1;
        if self.stage == Stage::New {
            self.stage = Stage::Handshaking;
            self.tell(SetupNews::Handshaking);
        }
        Ok(self.trials.len() - 1)
    }

    /// Takes what agent and associations have, and lets each follow the other.
    fn drain(&mut self, around: &mut Surroundings<'_>) {
        self.drain_search();
        self.shake_hands(around);
        self.drain_trials(around);
        self.set_deadline(around);
        self.drain_search();
    }

    fn drain_search(&mut self) {
        let is_lite = self
            .terms
            .ice
            .as_ref()
            .is_none_or(|ice| ice.mode == IceMode::Lite);
        while let Some(event) = self.ice.as_mut().and_then(Agent::poll_event) {
            match event {
                ice::Event::Selected { remote, .. } => {
                    self.selected = Some(remote);
                    self.is_searching_anew = false;
                    for trial in &mut self.trials {
                        trial.remote = remote;
                        trial.association.set_remote(remote);
                    }
                    self.tell(SetupNews::Selected(remote));
                }
                ice::Event::Failed(failure @ ice::Failure::Consent) if is_lite => {
                    self.tell(SetupNews::Silent(failure.reason()));
                }
                ice::Event::Failed(failure) => {
                    self.selected = None;
                    self.tell(SetupNews::Unreachable(failure.reason()));
                }
            }
        }
        while let Some(transmit) = self.ice.as_mut().and_then(Agent::poll_transmit) {
            self.transmits.push_back((transmit.remote, transmit.datagram));
        }
    }

    /// Begins the handshake if that is ours to do, and the party's address is known.
    fn shake_hands(&mut self, around: &mut Surroundings<'_>) {
        let Some(dtls) = self.terms.dtls.clone() else {
            return;
        };
        let (DtlsRole::Active, Some(remote)) = (dtls.role, self.expected()) else {
            return;
        };
        if !self.waits() || !self.trials.is_empty() || self.retry.is_some() {
            return;
        }
        match self.begin_trial(around, &dtls, remote) {
            Ok(_) => {
                self.attempts += 1;
                self.latest_failure = None;
            }
            Err(refused) => {
                self.latest_failure = Some(refused.drop_reason().reason());
                self.retry = Some(around.now + RETRY);
            }
        }
    }

    fn drain_trials(&mut self, around: &mut Surroundings<'_>) {
        let mut place = 0;
        while place < self.trials.len() {
            let trial = &mut self.trials[place];
            let remote = trial.remote;
            while let Some(datagram) = trial.association.poll_transmit() {
                self.transmits.push_back((remote, datagram));
            }
            if trial.is_under_way && trial.association.is_complete() {
                // What waits for a description takes no more work, and no place of those that do.
                trial.is_under_way = false;
                around.admission.end();
            }
            match trial.association.poll_event() {
                None => place += 1,
                // The keys stay good until signalling ends the call (RFC 5764 §4.1).
                Some(dtls::Event::Closed) => {}
                Some(dtls::Event::Connected(keys)) => {
                    let version = trial.association.version().unwrap_or_default();
                    self.won(around, place);
                    place = self.trials.len();
                    self.tell(SetupNews::Secured {
                        keys: SrtpSpec {
                            receive: vec![keys.receive],
                            send: Some(keys.send),
                        },
                        version,
                        remote,
                    });
                }
                Some(dtls::Event::Failed(failure)) => {
                    self.lose(around, place, failure);
                }
            }
        }
    }

    /// This one is the party; others were not.
    fn won(&mut self, around: &mut Surroundings<'_>, place: usize) {
        let mut winner = self.trials.swap_remove(place);
        self.clear_trials(around.admission);
        if std::mem::take(&mut winner.is_under_way) {
            around.admission.end();
        }
        self.trials.push(winner);
        self.stage = Stage::Connected(around.now + around.config.linger);
        (self.deadline, self.retry) = (None, None);
    }

    /// A handshake came to nothing. The line's has when the party, where it is expected, has shown that another one would not do
    /// better; else one that is ours is begun anew soon, for what breaks one on the way may be another's doing.
    fn lose(&mut self, around: &mut Surroundings<'_>, place: usize, failure: Failure) {
        let lost = self.trials.remove(place);
        if lost.is_under_way {
            around.admission.end();
        }
        self.latest_failure = Some(failure.reason());
        let is_final = match failure {
            Failure::Protocol | Failure::Queue => self.attempts >= around.config.attempts_max,
            // One that began before the description has a time of its own.
            Failure::Timeout => self.deadline.is_some_and(|deadline| deadline <= around.now),
            Failure::Fingerprint
            | Failure::Certificate
            | Failure::Profile
            | Failure::Alert
            | Failure::Closed => true,
        };
        if self.expected() == Some(lost.remote) && is_final {
            return self.fail(around.admission, failure.reason());
        }
        self.retry = Some(around.now + RETRY);
        if failure == Failure::Fingerprint {
            self.tell(SetupNews::Refused(DropReason::DtlsFingerprint));
        }
    }

    fn fail(&mut self, admission: &mut Admission, reason: &'static str) {
        self.clear_trials(admission);
        self.stage = Stage::Failed;
        (self.deadline, self.retry) = (None, None);
        self.tell(SetupNews::Failed(reason));
    }

    fn tell(&mut self, news: SetupNews) {
        let rounds = self.terms.rounds;
        self.news.push_back(SetupReport { rounds, news });
    }

    /// The handshake has its time from when the party's fingerprints and address are known.
    fn set_deadline(&mut self, around: &Surroundings<'_>) {
        let waits = self.waits();
        let dtls = self.terms.dtls.as_ref();
        let can_begin = dtls.is_some_and(|dtls| !dtls.fingerprints.is_empty());
        let has_place = self.terms.ice.is_none() || self.expected().is_some();
        if waits && can_begin && has_place && self.deadline.is_none() {
            self.deadline = Some(around.now + around.endpoint.settings().timeout);
        }
    }

    fn begin_anew(&mut self, admission: &mut Admission) {
        self.clear_trials(admission);
        self.trials_in_all = 0;
        self.attempts = 0;
        self.stage = Stage::New;
        (self.deadline, self.retry) = (None, None);
        self.latest_failure = None;
    }

    fn clear_trials(&mut self, admission: &mut Admission) {
        for trial in self.trials.drain(..) {
            if trial.is_under_way {
                admission.end();
            }
        }
    }
}
