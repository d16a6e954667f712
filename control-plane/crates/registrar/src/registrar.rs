use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use guard::Bucket;
use sans_io::{Random, Timestamp};
use sip::digest::{Authenticator, Front};
use sip::message::{NameAddr, Scheme, Uri};
use sip::{HeaderName, Message, Method, Source};

use crate::asked::{Asked, Contact, Contacts};
use crate::domains::Domains;
use crate::gruu::Gruus;
use crate::location::Location;
use crate::reply::{self, Reply, SUPPORTED};
use crate::target::is_public;
use crate::users::Known;
use crate::{Binding, Change, Config, Counters, PathWithoutSupport, Refusal, Users};

/// Bindings taken out by one [`Registrar::handle_timeout`], so that many that end at once don't keep calls waiting.
const EXPIRED_AT_ONCE: usize = 256;

/// The option tags that a REGISTER may require.
const OPTIONS: [&str; 3] = ["path", "outbound", "gruu"];

/// The longest name of a user.
const USER_BYTES_MAX: usize = 128;

/// The registrar, and the location service behind it.
///
/// # Calling contract
///
/// - [`register`](Self::register) and [`admit_call`](Self::admit_call) take requests that their transaction has passed up, and
///   give the response to send. [`locate`](Self::locate) says where a call goes.
/// - After any of these and after [`handle_timeout`](Self::handle_timeout), poll [`poll_change`](Self::poll_change) until
///   it is empty and keep what it gives **before** the response is sent: then no registration that a user was
///   promised is lost with the process.
/// - [`poll_timeout`](Self::poll_timeout) tells when to call `handle_timeout`.
///
/// `now` comes from one monotonic clock and never goes back.
#[derive(Debug)]
pub struct Registrar {
    pub(crate) config: Config,
    pub(crate) domains: Domains,
    pub(crate) users: Users,
    pub(crate) authenticator: Option<Authenticator>,
    pub(crate) location: Location,
    pub(crate) gruus: Gruus,
    pub(crate) random: Random,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) counters: Counters,
    /// Of users that have called: those who have proven a password, so never more than there are users.
    pub(crate) call_rates: HashMap<Box<str>, Bucket>,
    pub(crate) refused: Option<Refusal>,
    /// Set while changes cannot be kept: nobody is promised anything then.
    pub(crate) is_full: bool,
}

impl Registrar {
    /// One without users and bindings.
    pub fn new(config: Config, mut random: Random) -> Self {
        let authentication = config.authentication.clone();
        Self {
            domains: Domains::new(&config.domains, &config.own_hosts),
            users: Users::default(),
            authenticator: authentication.map(|config| Authenticator::new(config, random.fork())),
            location: Location::default(),
            gruus: Gruus::new(random.fork()),
            random,
            changes: VecDeque::new(),
            counters: Counters::default(),
            call_rates: HashMap::new(),
            refused: None,
            is_full: false,
            config,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Replaces the users, and gives those before. Bindings of those that are gone stay until they run out, and can't be
    /// refreshed.
    pub fn set_users(&mut self, users: Users) -> Users {
        let before = std::mem::replace(&mut self.users, users);
        self.call_rates.retain(|user, _| self.users.contains(user));
        before
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// How many bindings there are.
    pub fn binding_count(&self) -> usize {
        self.location.len()
    }

    /// How many users have one.
    pub fn registered_count(&self) -> usize {
        self.location.users()
    }

    /// What it has seen and done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tells whether changes can be kept. While they can't, every REGISTER gets 503.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Puts bindings back that an earlier process had. They are no changes.
    pub fn restore(&mut self, bindings: impl IntoIterator<Item = (Box<str>, Binding)>) {
        let mut ignored = Vec::new();
        for (user, binding) in bindings {
            let mut of_user: Vec<Binding> = self.location.of(Timestamp::ZERO, &user).cloned().collect();
            of_user.push(binding);
            self.location.replace(&user, of_user, &mut ignored);
            ignored.clear();
        }
    }

    /// Answers a REGISTER, with `tag` in `To`. `None` when not even an answer could be printed.
    pub fn register(
        &mut self,
        now: Timestamp,
        source: &Source,
        request: &Message,
        tag: &str,
    ) -> Option<Message> {
        self.refused = None;
        let reply = match self.try_register(now, source, request) {
            Ok(reply) => {
                self.counters.accepted += 1;
                reply
            }
            Err(refusal) => {
                self.refused = Some(refusal);
                self.counters.registers_refused[Counters::place(refusal)] += 1;
                self.refuse(now, source, request, refusal, Front::Server)
            }
        };
        reply.print(request, tag)
    }

    /// Why the latest REGISTER or call was refused; `None` if it was not.
    pub const fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// Whether the credentials of a request are for a challenge that `source` was given: then it is who it seems to be,
    /// whatever it proves.
    pub fn answers_challenge(&self, now: Timestamp, source: &Source, request: &Message) -> bool {
        let front = match request.method() {
            Some(Method::Register) => Front::Server,
            _ => Front::Proxy,
        };
        let authenticator = self.authenticator.as_ref();
        authenticator
            .is_some_and(|authenticator| authenticator.has_our_nonce(now, source.remote.ip(), request, front))
    }

    pub(crate) fn refuse(
        &mut self,
        now: Timestamp,
        source: &Source,
        request: &Message,
        refusal: Refusal,
        front: Front,
    ) -> Reply {
        let reply = Reply::of(refusal.status());
        match refusal {
            Refusal::Credentials(refusal) if !refusal.is_bad_request() => {
                let mut reply = Reply::of(front.status());
                if let Some(authenticator) = &mut self.authenticator {
                    for challenge in authenticator.challenges(now, source.remote.ip(), refusal) {
                        reply = reply.with(front.challenge(), challenge);
                    }
                }
                reply
            }
            Refusal::Extension => reply.with(HeaderName::Unsupported, unsupported(request).join(", ")),
            Refusal::Path => reply.with(HeaderName::Unsupported, "path"),
            Refusal::OutboundRequired => reply.with(HeaderName::Require, "outbound"),
            Refusal::TooBrief => reply.with(HeaderName::MinExpires, self.config.expires_min_s.to_string()),
            Refusal::CallRate | Refusal::Full => {
                // Spread, so that those who were refused together don't come back together.
                let spread = u64::from(self.config.retry_after_s) + 1;
                let seconds = u64::from(self.config.retry_after_s) + self.random.below(spread);
                reply.with(HeaderName::RetryAfter, seconds.to_string())
            }
            Refusal::FirstHop => reply.with(HeaderName::Supported, SUPPORTED),
            _ => reply,
        }
    }

    /// The steps of RFC 3261 §10.3, in their order.
    fn try_register(&mut self, now: Timestamp, source: &Source, request: &Message) -> Result<Reply, Refusal> {
        // 1: is it for us?
        let asked_for = Uri::parse(request.request_uri().unwrap_or("")).map_err(|_| Refusal::Malformed)?;
        if !self.domains.is_ours(&asked_for) {
            return Err(Refusal::Domain);
        }
        // 2: extensions.
        if !unsupported(request).is_empty() {
            return Err(Refusal::Extension);
        }
        // 3 and 4: who is it, and is it theirs?
        let known = Known {
            users: &self.users,
            location: &self.location,
            now,
        };
        let authenticated = match &mut self.authenticator {
            Some(authenticator) => Some(
                authenticator
                    .check(now, source.remote.ip(), request, Front::Server, &known)
                    .map_err(Refusal::Credentials)?,
            ),
            None => None,
        };
        // 5: the address-of-record.
        let to = request.to().map_err(|_| Refusal::Malformed)?;
        let user = self.address_of_record(&to)?;
        if authenticated.is_some_and(|authenticated| authenticated != user) {
            return Err(Refusal::Forbidden);
        }
        if self.is_full {
            return Err(Refusal::Full);
        }
        let asked = Asked::read(request, &self.config)?;
        self.check_way(source, request, &asked)?;
        // 6 and 7: all contacts, or none.
        let bindings = self.updated(now, source, &user, &asked)?;
        if let Some(bindings) = bindings {
            let before: Vec<u64> = self
                .location
                .of(Timestamp::ZERO, &user)
                .map(|old| old.id)
                .collect();
            let added = bindings.iter().filter(|binding| !before.contains(&binding.id));
            let added = added.count();
            let removed = (before.len() + added).saturating_sub(bindings.len());
            if added > removed && self.location.len() + added - removed > self.config.bindings_max {
                return Err(Refusal::Full);
            }
            let mut changes = Vec::new();
            self.location.replace(&user, bindings, &mut changes);
            let put = changes
                .iter()
                .filter(|change| matches!(change, Change::Put { .. }));
            self.counters.refreshed += (put.count() - added) as u64;
            self.counters.added += added as u64;
            self.counters.removed += removed as u64;
            self.changes.extend(changes);
        }
        let bindings = self.location.of(now, &user);
        let mut reply = reply::accepted(
            now,
            &self.config,
            &self.domains,
            &mut self.gruus,
            &user,
            &asked,
            bindings,
        );
        if self.config.flow_timer_s > 0 && reply.fields.iter().any(|(name, _)| *name == HeaderName::Require) {
            reply = reply.with(HeaderName::FlowTimer, self.config.flow_timer_s.to_string());
        }
        Ok(reply)
    }

    /// The user that an address-of-record names.
    fn address_of_record(&self, to: &NameAddr<'_>) -> Result<String, Refusal> {
        let uri = to.parsed_uri().map_err(|_| Refusal::Malformed)?;
        if uri.scheme() != Scheme::Sip || !self.domains.is_ours(&uri) {
            return Err(Refusal::Domain);
        }
        let user = uri.user_decoded().filter(|user| !user.is_empty());
        let user = user.ok_or(Refusal::Domain)?;
        if user.len() > USER_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        if user.chars().any(char::is_control) {
            // The grammar lets it be (RFC 4475 §3.1.1.4), and no user of ours is called so.
            return Err(Refusal::Domain);
        }
        Ok(user.into_owned())
    }

    /// What stands between the user agent and us.
    fn check_way(&self, source: &Source, request: &Message, asked: &Asked<'_>) -> Result<(), Refusal> {
        let supports_path = request.has_token(HeaderName::Supported, "path");
        let refuses_path = self.config.path_without_support == PathWithoutSupport::Refuse;
        if !asked.path.is_empty() && !supports_path && refuses_path {
            return Err(Refusal::Path);
        }
        let Contacts::Listed(contacts) = &asked.contacts else {
            return Ok(());
        };
        let flow = contacts.iter().any(|contact| contact.reg_id != 0);
        if self.config.requires_outbound && !flow && contacts.iter().any(|contact| contact.expires_s > 0) {
            return Err(Refusal::OutboundRequired);
        }
        // RFC 5626 §6: the first proxy, which added its Path first and so has the last, must keep the flow.
        if flow && request.vias().count() > 1 {
            let first_hop = sip::message::Values::new(&asked.path).last();
            let first_hop = first_hop.and_then(|path| NameAddr::parse(path).ok());
            let keeps = first_hop
                .and_then(|path| Uri::parse(path.uri).ok().map(|uri| uri.params().contains("ob")))
                .unwrap_or(false);
            if !keeps {
                return Err(Refusal::FirstHop);
            }
        }
        let from = source.remote.ip().to_canonical();
        // The topmost Path is of the element that sent to us: of another one, it would aim our calls at whomever it names.
        let next_hop = sip::message::Values::new(&asked.path).find(|path| !path.is_empty());
        let next_hop = next_hop
            .and_then(|path| NameAddr::parse(path).ok())
            .and_then(|path| Uri::parse(path.uri).ok()?.host()?.ip());
        let is_trusted = self.config.trusted.iter().any(|network| network.contains(from));
        let is_elsewhere = next_hop.is_some_and(|hop| hop.to_canonical() != from);
        if !self.config.foreign_contacts && !is_trusted && is_elsewhere {
            return Err(Refusal::ForeignContact);
        }
        let is_foreign = |contact: &&Contact<'_>| {
            let host = Uri::parse(contact.uri).ok().and_then(|uri| uri.host()?.ip());
            host.is_some_and(|host| is_public(host) && host.to_canonical() != from)
        };
        let is_allowed = self.config.foreign_contacts || !asked.path.is_empty();
        if !is_allowed && contacts.iter().any(|contact| is_foreign(&contact)) {
            return Err(Refusal::ForeignContact);
        }
        Ok(())
    }

    /// The user's bindings after the REGISTER; `None` when it only asks.
    fn updated(
        &mut self,
        now: Timestamp,
        source: &Source,
        user: &str,
        asked: &Asked<'_>,
    ) -> Result<Option<Vec<Binding>>, Refusal> {
        let mut bindings: Vec<Binding> = self.location.of(now, user).cloned().collect();
        // RFC 3261 §10.3: of one Call-ID the CSeq must rise, else the request is an old one that comes late.
        let is_old = |binding: &Binding| *binding.call_id == *asked.call_id && asked.cseq <= binding.cseq;
        match &asked.contacts {
            Contacts::Query => return Ok(None),
            Contacts::All => {
                if bindings.iter().any(is_old) {
                    return Err(Refusal::OutOfOrder);
                }
                bindings.clear();
            }
            Contacts::Listed(contacts) => {
                let mut touched: Vec<u64> = Vec::new();
                for contact in contacts {
                    let found = bindings
                        .iter()
                        .position(|binding| binding.is_for(contact.uri, &contact.instance, contact.reg_id));
                    if let Some(place) = found {
                        let binding = &bindings[place];
                        if is_old(binding) && !touched.contains(&binding.id) {
                            return Err(Refusal::OutOfOrder);
                        }
                    }
                    let id = found.map_or_else(|| self.random.next_u64(), |place| bindings[place].id);
                    match (contact.expires_s, found) {
                        (0, Some(place)) => {
                            bindings.remove(place);
                        }
                        (0, None) => {}
                        (_, found) => {
                            touched.push(id);
                            let binding = bound(id, now, source, asked, contact);
                            match found {
                                Some(place) => bindings[place] = binding,
                                None => bindings.push(binding),
                            }
                        }
                    }
                }
            }
        }
        if bindings.len() > self.config.contacts_max {
            return Err(Refusal::TooManyContacts);
        }
        Ok(Some(bindings))
    }

    /// At most `max` contacts and whose they are, in the order in which they run out, after the one with that time and id. One
    /// that is refreshed goes to a later place.
    pub fn bindings(
        &self,
        after: Option<(Timestamp, u64)>,
        max: usize,
    ) -> impl Iterator<Item = (&str, &Binding)> {
        self.location.after(after, max)
    }

    /// The contacts of one user.
    pub fn bindings_of(&self, now: Timestamp, user: &str) -> impl Iterator<Item = &Binding> {
        self.location.of(now, user)
    }

    /// Takes out bindings that have run out.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let mut changes = Vec::new();
        for _ in 0..EXPIRED_AT_ONCE {
            if !self.location.expire_one(now, &mut changes) {
                break;
            }
            self.counters.expired += 1;
        }
        self.changes.extend(changes);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when nothing waits.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.location.next()
    }

    /// What has to be kept next.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }
}

fn bound(id: u64, now: Timestamp, source: &Source, asked: &Asked<'_>, contact: &Contact<'_>) -> Binding {
    Binding {
        id,
        contact: contact.uri.into(),
        call_id: asked.call_id.into(),
        cseq: asked.cseq,
        q_permille: contact.q_permille,
        reg_id: contact.reg_id,
        instance: contact.instance.as_ref().into(),
        path: asked.path.as_str().into(),
        received: (*source).into(),
        expires: now + Duration::from_secs(u64::from(contact.expires_s)),
    }
}

/// The option tags in `Require` that we don't have.
fn unsupported(request: &Message) -> Vec<&str> {
    request
        .values(HeaderName::Require)
        .filter(|tag| !OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(tag)))
        .take(16)
        .collect()
}
