//! Calls of users and to users: who may make one, and where it goes.

use guard::Bucket;
use sans_io::Timestamp;
use sip::digest::Front;
use sip::message::{Scheme, Uri};
use sip::{Message, Source};

use crate::target::Target;
use crate::users::Known;
use crate::{Binding, Calls, Counters, Refusal, Registrar};

/// Where a call to a URI goes, as far as users are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// The URI names no user of ours.
    Unknown,
    /// The user is nowhere for now: 480.
    Away,
    /// The user's contacts, those to try first in front: never empty.
    At(Vec<Target>),
}

impl Registrar {
    /// Whether a call from `source` may have to show credentials.
    pub fn challenges_call(&self, source: &Source) -> bool {
        let ip = source.remote.ip();
        self.authenticator.is_some()
            && self.config.calls == Calls::Challenged
            && !self.config.trusted.iter().any(|network| network.contains(ip))
    }

    /// Whether a call from `source` may be made: the user that proved to make it, or nobody in particular.
    ///
    /// # Errors
    /// The response that refuses it, with `tag` in `To`; `None` when not even that could be printed.
    pub fn admit_call(
        &mut self,
        now: Timestamp,
        source: &Source,
        request: &Message,
        tag: &str,
    ) -> Result<Option<String>, Option<Message>> {
        self.refused = None;
        let refusal = match self.try_admit(now, source, request) {
            Ok(user) => return Ok(user),
            Err(refusal) => refusal,
        };
        self.refused = Some(refusal);
        self.counters.calls_refused[Counters::place(refusal)] += 1;
        let reply = self.refuse(now, source, request, refusal, Front::Proxy);
        Err(reply.print(request, tag))
    }

    fn try_admit(
        &mut self,
        now: Timestamp,
        source: &Source,
        request: &Message,
    ) -> Result<Option<String>, Refusal> {
        let ip = source.remote.ip();
        let is_challenged = self.challenges_call(source);
        let Some(authenticator) = self.authenticator.as_mut().filter(|_| is_challenged) else {
            return Ok(None);
        };
        let known = Known {
            users: &self.users,
            location: &self.location,
            now,
        };
        let user = authenticator
            .check(now, ip, request, Front::Proxy, &known)
            .map_err(Refusal::Credentials)?;
        // Who calls under a name of our domain calls under the own one.
        let from = request.from().map_err(|_| Refusal::Malformed)?;
        let from = from.parsed_uri().map_err(|_| Refusal::Malformed)?;
        if self.domains.is_ours(&from) && from.user_decoded().as_deref() != Some(user.as_str()) {
            return Err(Refusal::Forbidden);
        }
        let rate = self.config.calls_per_s_max;
        let bucket = self
            .call_rates
            .entry(user.as_str().into())
            .or_insert(Bucket::full(now));
        if !bucket.take(now, rate, rate) {
            return Err(Refusal::CallRate);
        }
        Ok(Some(user))
    }

    /// Where a call to `uri` goes.
    pub fn locate(&self, now: Timestamp, uri: &Uri<'_>) -> Located {
        let is_ours = match uri.scheme() {
            Scheme::Sip => self.domains.is_ours(uri),
            Scheme::Tel => true,
            _ => false,
        };
        let Some(name) = uri.user_decoded().filter(|_| is_ours) else {
            return Located::Unknown;
        };
        let gr = uri.params().find("gr");
        let temporary = gr.and_then(|gr| gr.value.is_none().then(|| self.gruus.user(&name))?);
        let user = temporary.as_deref().unwrap_or(&name);
        let is_meant = |binding: &&Binding| match (gr.map(|gr| gr.value), &temporary) {
            (None, _) => true,
            (Some(_), Some(user)) => self.gruus.is_for(&name, user, binding),
            (Some(instance), None) => instance == Some(&*binding.instance),
        };
        let mut bindings: Vec<&Binding> = self.location.of(now, user).filter(is_meant).collect();
        if bindings.is_empty() {
            return match self.users.contains(user) {
                true => Located::Away,
                false => Located::Unknown,
            };
        }
        // By preference, and of equal ones that which was heard of last: of two flows of a device the live one.
        bindings.sort_by_key(|binding| std::cmp::Reverse((binding.q_permille, binding.expires)));
        let targets: Vec<Target> = bindings
            .into_iter()
            .map(Target::of)
            .filter(Target::is_as_secure_as_asked)
            .collect();
        match targets.is_empty() {
            true => Located::Away,
            false => Located::At(targets),
        }
    }

    /// Whether the sender of a request, by its `From`, is a user with a contact at the address that the request came from.
    pub fn is_user_at(&self, now: Timestamp, source: &Source, request: &Message) -> bool {
        let from = request.from().ok().and_then(|from| from.parsed_uri().ok());
        let user = from.filter(|from| self.domains.is_ours(from));
        let Some(user) = user.and_then(|from| from.user_decoded()) else {
            return false;
        };
        let mut bindings = self.location.of(now, &user);
        bindings.any(|binding| binding.received.remote.ip() == source.remote.ip())
    }
}
