use std::sync::Arc;
use std::time::Duration;

use sans_io::{Random, Timestamp};
use sip::digest::{Challenges, Login, Request};
use sip::message::{NameAddr, Uri};
use sip::{HeaderName, Message, Transport};

use crate::request::Series;
use crate::{Counters, NoAnswer, RegistrationStatus, RegistrationTerms, Server};

/// The longest time that a trunk may want us to register for, or to wait.
const LONGEST_S: u32 = 86_400;

/// `Route` values of a Service-Route that are used at most.
const ROUTES_MAX: usize = 16;

/// Doublings of the wait after failures at most.
const DOUBLINGS_MAX: u32 = 16;

/// A REGISTER needs so long to fail (timer F): a refresh begins this much before the end at the least, where there is as much.
const LEAD: Duration = Duration::from_secs(40);

/// Our binding at one trunk (RFC 3261 §10.2): made, refreshed before its end, and taken back.
#[derive(Debug)]
pub(crate) struct Registration {
    series: Series,
    /// The place of the server that is asked; kept while it answers (RFC 3263 §4.3).
    server: usize,
    /// How many servers have failed in a row.
    tried: usize,
    /// The time to ask for: longer after a 423.
    expires_s: u32,
    challenges: Challenges,
    retries: u8,
    /// The REGISTER under way.
    under_way: Option<u64>,
    /// The Contact in the latest one: its server may be none of the trunk's any more when it answers.
    contact: String,
    /// When the next one is sent; `None` while one is under way, and at the end.
    due: Option<Timestamp>,
    /// Until when the trunk knows where we are, and at which Contact.
    bound: Option<(Timestamp, String)>,
    failure: Option<String>,
    /// Failures at all servers in a row.
    failures: u32,
    service_route: Arc<[String]>,
    is_leaving: bool,
}

impl Registration {
    /// To be made at once.
    pub(crate) fn new(now: Timestamp, terms: &RegistrationTerms, random: &mut Random) -> Self {
        Self {
            series: Series::new(random),
            server: 0,
            tried: 0,
            expires_s: terms.expires_s,
            challenges: Challenges::default(),
            retries: 0,
            under_way: None,
            contact: String::new(),
            due: Some(now),
            bound: None,
            failure: None,
            failures: 0,
            service_route: Arc::default(),
            is_leaving: false,
        }
    }

    pub(crate) fn status(&self) -> RegistrationStatus {
        RegistrationStatus {
            until: self.bound.as_ref().map(|(until, _)| *until),
            failure: self.failure.clone(),
        }
    }

    pub(crate) fn service_route(&self) -> &Arc<[String]> {
        &self.service_route
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let end = self.bound.as_ref().map(|(until, _)| *until);
        [self.due, end].into_iter().flatten().min()
    }

    pub(crate) fn is_waiting_for(&self, request: u64) -> bool {
        self.under_way == Some(request)
    }

    /// Whether nothing is left to take back.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_leaving && self.under_way.is_none() && self.due.is_none()
    }

    /// The servers have changed: if ours is gone, or we are called otherwise now, we register anew.
    pub(crate) fn servers_changed(&mut self, now: Timestamp, before: &[Server], servers: &[Server]) {
        let ours = before.get(self.server);
        let place = ours.and_then(|ours| servers.iter().position(|server| server == ours));
        self.server = place.unwrap_or(0);
        self.tried = 0;
        if place.is_none() && self.under_way.is_none() && !self.is_leaving {
            self.due = Some(now);
        }
    }

    /// Another time is to be asked for: from now on, not at the end of the one that was granted.
    pub(crate) fn expires_changed(&mut self, now: Timestamp, expires_s: u32) {
        self.expires_s = expires_s;
        if self.under_way.is_none() && self.bound.is_some() && !self.is_leaving {
            self.due = Some(now);
        }
    }

    /// Takes the binding back: one REGISTER more, if there is anything to take back.
    pub(crate) fn leave(&mut self, now: Timestamp) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        // The answer of one under way may be lost, and the binding there all the same.
        let is_needed = self.bound.is_some() || self.under_way.is_some();
        self.under_way = None;
        self.due = is_needed.then_some(now);
        self.retries = 0;
        self.challenges = Challenges::default();
    }

    /// Does what is due: gives the REGISTER to send as `request`, and the place of the server, if it is time for one.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Timestamp,
        request: u64,
        terms: &RegistrationTerms,
        servers: &[Server],
    ) -> Option<(Message, usize)> {
        if self.bound.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.bound = None;
            // It came with the binding, and is its (RFC 3608 §5.1).
            self.service_route = Arc::default();
        }
        self.due.filter(|&due| due <= now)?;
        self.due = None;
        if servers.is_empty() {
            if !self.is_leaving {
                // When the name is found, `servers_changed` says so.
                self.failure = Some("no server's address is known".into());
            }
            return None;
        }
        self.challenges = Challenges::default();
        self.retries = 0;
        self.send(request, terms, servers, &[])
    }

    fn send(
        &mut self,
        request: u64,
        terms: &RegistrationTerms,
        servers: &[Server],
        credentials: &[(HeaderName, String)],
    ) -> Option<(Message, usize)> {
        self.server %= servers.len().max(1);
        let server = servers.get(self.server)?;
        let contact = match (&self.bound, self.is_leaving) {
            (Some((_, contact)), true) => contact.clone(),
            _ => contact_uri(terms, server),
        };
        let expires_s = if self.is_leaving { 0 } else { self.expires_s };
        let (aor, uri) = (aor(terms), request_uri(terms));
        let made = self.series.next("REGISTER", &uri, &aor, &aor, |request| {
            let request = request
                .header(
                    HeaderName::Contact,
                    format_args!("<{contact}>;expires={expires_s}"),
                )
                .header(HeaderName::Expires, expires_s);
            credentials
                .iter()
                .fold(request, |request, (name, value)| request.header(*name, value))
        });
        let made = made
            .inspect_err(|error| tracing::warn!(%error, "a REGISTER could not be built"))
            .ok()?;
        self.under_way = Some(request);
        self.contact = contact;
        Some((made, self.server))
    }

    /// Takes what became of the REGISTER under way. Gives the next one to send as `request`, if the trunk wants it at once.
    pub(crate) fn handle_answer(
        &mut self,
        now: Timestamp,
        answer: Result<&Message, NoAnswer>,
        request: u64,
        at: &Place<'_>,
        counters: &mut Counters,
        random: &mut Random,
    ) -> Option<(Message, usize)> {
        self.under_way = None;
        let response = match answer {
            Ok(response) => response,
            Err(reason) => {
                self.failed(now, reason.as_str().into(), true, None, at, counters, random);
                return None;
            }
        };
        let status = response.status().unwrap_or(500);
        if (200..300).contains(&status) {
            self.succeeded(now, response, at, counters, random);
            return None;
        }
        let again = match status {
            _ if self.retries >= at.terms.retries_max => None,
            401 | 407 => self
                .is_answerable(response, at)
                .then(|| self.credentials(at, random)),
            423 => self.lengthen(response).then(|| self.credentials(at, random)),
            _ => None,
        };
        if let Some(credentials) = again {
            self.retries += 1;
            return self.send(request, at.terms, at.servers, &credentials);
        }
        let phrase = response.reason_phrase().unwrap_or("");
        let failure = format!("{status} {phrase}");
        // What another server may do better (RFC 3263 §4.3, RFC 3261 §8.1.3.4).
        let is_of_server = status == 408 || (500..600).contains(&status);
        let wait = response.number(HeaderName::RetryAfter).ok().flatten();
        let wait = wait.filter(|_| matches!(status, 404 | 413 | 480 | 486 | 500 | 503 | 600 | 603));
        self.failed(now, failure, is_of_server, wait, at, counters, random);
        None
    }

    fn is_answerable(&mut self, challenge: &Message, at: &Place<'_>) -> bool {
        let taken = self.challenges.take(challenge, at.logins);
        if let Err(error) = &taken {
            tracing::warn!(trunk = at.name, %error, "our account is not let in");
        }
        taken.is_ok()
    }

    /// What all that has challenged the REGISTER so far wants to see.
    fn credentials(&mut self, at: &Place<'_>, random: &mut Random) -> Vec<(HeaderName, String)> {
        let uri = request_uri(at.terms);
        let asked = Request {
            method: "REGISTER",
            uri: &uri,
            body: b"",
        };
        let cnonce = sip::dialog::new_tag(random);
        self.challenges.credentials(asked, at.logins, &cnonce)
    }

    /// 423: the trunk wants us to register for longer (RFC 3261 §10.2.8).
    fn lengthen(&mut self, response: &Message) -> bool {
        let least = response.number(HeaderName::MinExpires).ok().flatten();
        let longer = least.filter(|least| (self.expires_s + 1..=LONGEST_S).contains(least));
        if let Some(least) = longer {
            self.expires_s = least;
        }
        longer.is_some() && !self.is_leaving
    }

    fn succeeded(
        &mut self,
        now: Timestamp,
        response: &Message,
        at: &Place<'_>,
        counters: &mut Counters,
        random: &mut Random,
    ) {
        if self.is_leaving {
            counters.registrations += 1;
            self.bound = None;
            tracing::info!(trunk = at.name, "no longer registered");
            return;
        }
        let contact = self.contact.clone();
        let granted_s = granted(response, &contact)
            .unwrap_or(self.expires_s)
            .min(LONGEST_S);
        if granted_s == 0 {
            let failure = "200, and our contact is not there".into();
            self.failed(now, failure, false, None, at, counters, random);
            return;
        }
        counters.registrations += 1;
        let granted = Duration::from_secs(granted_s.into());
        if self.bound.is_none() {
            tracing::info!(trunk = at.name, granted_s, "registered");
        }
        self.bound = Some((now + granted, contact));
        self.failure = None;
        (self.failures, self.tried) = (0, 0);
        // A tenth before the end, and with room for timer F; half-way where that is not to be had. Up to a tenth earlier, so that
        // many do not come at once for ever.
        let lead = (granted / 10).max(LEAD);
        let latest = granted.saturating_sub(lead).max(granted / 2);
        let early = u64::try_from((latest / 10).as_millis()).unwrap_or(u64::MAX);
        self.due = Some(now + latest.saturating_sub(Duration::from_millis(random.below(early + 1))));
        let route = response.values(HeaderName::ServiceRoute).take(ROUTES_MAX);
        self.service_route = route.map(str::to_owned).collect();
    }

    /// Goes on with the next server, or, when all have failed or it would not help, waits: each time up to twice as long, the
    /// upper half of it by chance (RFC 5626 §4.5).
    #[expect(clippy::too_many_arguments, reason = "one place for all ends without success")]
    fn failed(
        &mut self,
        now: Timestamp,
        failure: String,
        is_of_server: bool,
        wait_s: Option<u32>,
        at: &Place<'_>,
        counters: &mut Counters,
        random: &mut Random,
    ) {
        if self.is_leaving {
            // It ends by itself.
            tracing::warn!(trunk = at.name, failure, "the registration was not taken back");
            self.bound = None;
            return;
        }
        self.tried += 1;
        if is_of_server {
            self.server = (self.server + 1) % at.servers.len().max(1);
            if self.tried < at.servers.len() {
                tracing::info!(trunk = at.name, failure, "registering with the next server");
                self.due = Some(now);
                return;
            }
        }
        self.tried = 0;
        counters.registration_failures += 1;
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(DOUBLINGS_MAX);
        let upper = at.terms.retry_base * 2u32.pow(doublings);
        let upper = upper.min(at.terms.retry_max);
        let half = u64::try_from((upper / 2).as_millis()).unwrap_or(u64::MAX);
        let wait = upper / 2 + Duration::from_millis(random.below(half + 1));
        let told = Duration::from_secs(wait_s.unwrap_or(0).min(LONGEST_S).into());
        tracing::warn!(
            trunk = at.name,
            failure,
            wait_s = wait.max(told).as_secs(),
            "not registered"
        );
        self.failure = Some(failure);
        self.due = Some(now + wait.max(told));
    }
}

/// Where a registration is made.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) terms: &'a RegistrationTerms,
    pub(crate) servers: &'a [Server],
    pub(crate) logins: &'a [Login],
}

fn aor(terms: &RegistrationTerms) -> String {
    format!("sip:{}@{}", terms.user, terms.domain)
}

/// RFC 3261 §10.2: the domain, without a user.
fn request_uri(terms: &RegistrationTerms) -> String {
    format!("sip:{}", terms.domain)
}

fn contact_uri(terms: &RegistrationTerms, server: &Server) -> String {
    let transport = match server.destination.transport {
        Transport::Udp => String::new(),
        other => format!(";transport={}", other.uri_param()),
    };
    format!("sip:{}@{}{transport}", terms.contact_user, server.own_host)
}

/// How many seconds the 2xx gives our contact: its own time, else that of `Expires`; `None` if it says neither (RFC 3261
/// §10.3 step 8 wants all bindings in it; there are trunks that name none). Zero if our contact is not among others.
///
/// A border element before the trunk may have written our host anew: a single contact with our user part is ours, then.
fn granted(response: &Message, contact: &str) -> Option<u32> {
    let ours = Uri::parse(contact).ok()?;
    let is_our_user = |uri: &Uri<'_>| uri.user_decoded() == ours.user_decoded();
    let is_ours = |uri: &Uri<'_>| is_our_user(uri) && uri.host() == ours.host() && uri.port() == ours.port();
    let overall = response.number(HeaderName::Expires).ok().flatten();
    let time = |told: &NameAddr<'_>| {
        let own = told.param("expires").and_then(|seconds| seconds.parse().ok());
        own.or(overall)
    };
    let told: Vec<NameAddr<'_>> = response.contacts().flatten().collect();
    let fits = |told: &&NameAddr<'_>, is_it: &dyn Fn(&Uri<'_>) -> bool| {
        told.parsed_uri().is_ok_and(|uri| is_it(&uri))
    };
    if let Some(ours) = told.iter().find(|told| fits(told, &is_ours)) {
        return time(ours);
    }
    let mut alike = told.iter().filter(|told| fits(told, &is_our_user));
    match (alike.next(), alike.next()) {
        (Some(rewritten), None) => time(rewritten),
        _ if told.is_empty() => overall,
        _ => Some(0),
    }
}
