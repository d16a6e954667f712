//! INVITEs that begin a call, or come into one: what they must have, and what refuses them.

use std::borrow::Cow;

use sans_io::Timestamp;
use sip::message::{Scheme, Uri, reason_phrase};
use sip::transaction::ServerKey;
use sip::{HeaderName, Message, Source};

use super::B2bua;
use super::branch;
use super::call::{Call, Inbound};
use super::headers;
use super::hub::{CallKey, tag_of};
use super::identity::Known;
use super::offered::Offered;
use super::record::Record;
use super::requests::{Refusal, check, check_session, offer, refuse};
use super::side::Side;
use crate::routes::in_order_of_chance;
use crate::{Asked, Cause, NextHop, Output, Placement, Released};

impl B2bua {
    /// Begins the call, or refuses it.
    pub(super) fn place_call(
        &mut self,
        now: Timestamp,
        asked: &Asked,
        placement: Placement,
        account: Option<String>,
    ) {
        let (key, request) = (asked.key, &asked.request);
        let hops = match placement {
            Placement::Routed => None,
            Placement::To(hops) => Some(hops),
            // Mostly a challenge, whose answer is the call: it leaves no record.
            Placement::Refused(response) => {
                self.hub.counters.requests_refused += 1;
                self.hub.respond_with(now, key, response);
                return;
            }
        };
        if request.has(HeaderName::Replaces) {
            let result = self.take_replacing(now, asked, account.as_deref());
            if let Err(refusal) = result {
                self.refuse_invite(now, key, asked.source, request, refusal);
            }
            return;
        }
        match self.admit(now, asked, hops, account) {
            Err(refusal) => self.refuse_invite(now, key, asked.source, request, refusal),
            Ok((inbound, hops)) => {
                self.calls_begun += 1;
                let call_key = CallKey(self.calls_begun);
                if let Some(account) = &inbound.account {
                    self.hub.callers.begin(call_key, account);
                }
                let call = Call::begin(&mut self.hub, now, call_key, inbound, &hops);
                self.calls.insert(call_key, Box::new(call));
                self.untold.changed(call_key);
                self.with_call(call_key, |_, _| {});
            }
        }
    }

    /// Refuses an INVITE that begins no call. It leaves a record all the same, unless there were too many of late, or
    /// calls are refused because the records' journal is full.
    pub(super) fn refuse_invite(
        &mut self,
        now: Timestamp,
        key: ServerKey,
        source: Source,
        invite: &Message,
        refusal: Refusal,
    ) {
        if !self.draining && self.refusal_records.admit(now) {
            self.hub.counters.refusals_recorded += 1;
            let id = self.hub.call_id();
            let text = match &refusal.text {
                Some(text) => text.clone().into(),
                None => Cow::Borrowed(reason_phrase(refusal.status)),
            };
            let cause = Cause::failed(Released::Us, refusal.status, text);
            let record = Record::new(now, id, invite, &source).ended(now, cause);
            self.hub.output(Output::Cdr(record));
        } else {
            self.hub.counters.refusals_unrecorded += 1;
        }
        refuse(&mut self.hub, now, key, invite, refusal);
    }

    /// The checks of RFC 3261 §8.2, in its order, then those of our own.
    fn admit(
        &mut self,
        now: Timestamp,
        asked: &Asked,
        hops: Option<Vec<NextHop>>,
        account: Option<String>,
    ) -> Result<(Inbound, Box<[NextHop]>), Refusal> {
        let invite = &asked.request;
        let uri = Uri::parse(invite.request_uri().unwrap_or("")).map_err(|_| Refusal::of(400))?;
        let service = self.hub.config.emergency_numbers.number_for(uri.as_str());
        if service.is_none() && !matches!(uri.scheme(), Scheme::Sip | Scheme::Tel) {
            // sips asks for TLS on every hop, which we cannot promise (RFC 3261 §26.2.2).
            return Err(Refusal::of(416));
        }
        let max_forwards = check(&self.hub, invite, true)?;
        if !matches!(invite.contact(), Ok(Some(_))) || tag_of(invite, HeaderName::From).is_empty() {
            // Without these there is no dialog (§8.1.1.3, §8.1.1.8).
            return Err(Refusal::of(400));
        }
        if self.is_own_call(invite, &uri) {
            return Err(Refusal::of(482));
        }
        check_session(&self.hub, invite)?;
        self.check_calls_of(account.as_deref(), invite)?;
        let offer = offer(&mut self.hub, invite)?;
        if offer.as_ref().is_some_and(|offer| !offer.has_usable_line()) {
            return Err(Refusal::of(488));
        }
        let srtp = asked.srtp.with(asked.source.transport);
        let offer = offer
            .map(|offer| Offered::new(&mut self.hub, offer, srtp, &[], true))
            .transpose()
            .map_err(Refusal::of_security)?;
        let hops = match hops {
            Some(contacts) if contacts.is_empty() => return Err(Refusal::of(480)),
            Some(mut contacts) => {
                let branches_max = self.hub.config.branches_max;
                let left_out = contacts.len().saturating_sub(branches_max);
                self.hub.counters.branches_left_out += left_out as u64;
                contacts.truncate(branches_max);
                contacts.into()
            }
            None => self.routed(now, &uri)?,
        };
        let breadth_max = self.hub.config.max_breadth;
        let breadth = invite.number(HeaderName::MaxBreadth).ok().flatten();
        let breadth = breadth.map(|breadth| breadth.min(breadth_max));
        let wanted = branch::breadth(&hops);
        if u32::try_from(wanted).unwrap_or(u32::MAX) > breadth.unwrap_or(breadth_max) {
            // RFC 5393 §5.3.3: what may not be done at once is not done at all.
            return Err(Refusal::of(440));
        }
        Ok((
            Inbound {
                server: asked.key,
                source: asked.source,
                invite: invite.clone(),
                offer,
                srtp,
                offers: Vec::new(),
                early_offer: None,
                max_forwards,
                reliability: headers::reliability(invite),
                breadth: breadth.unwrap_or(breadth_max),
                is_breadth_told: breadth.is_some(),
                is_trusted: self.is_trusted(&asked.source),
                account,
                redirected: Vec::new(),
                redirecting: None,
                failure: None,
                transfer: asked.transfer,
                held: None,
            },
            hops,
        ))
    }

    /// Whether a user may have one more call. An emergency call is always one more.
    fn check_calls_of(&mut self, account: Option<&str>, invite: &Message) -> Result<(), Refusal> {
        let most = self.hub.config.calls_per_account_max;
        let has_all = account.is_some_and(|account| self.hub.callers.count(account) >= most);
        let is_emergency = || {
            let uri = invite.request_uri();
            uri.is_some_and(|uri| self.hub.config.emergency_numbers.includes(uri))
        };
        if most == 0 || !has_all || is_emergency() {
            return Ok(());
        }
        self.hub.counters.calls_refused_at_user_limit += 1;
        Err(Refusal::at_user_limit())
    }

    /// The checks of an INVITE whose sender wants a party's place (RFC 3891), and of what it says of that place.
    fn take_replacing(
        &mut self,
        now: Timestamp,
        asked: &Asked,
        account: Option<&str>,
    ) -> Result<(), Refusal> {
        let invite = &asked.request;
        check(&self.hub, invite, true)?;
        if !matches!(invite.contact(), Ok(Some(_))) || tag_of(invite, HeaderName::From).is_empty() {
            return Err(Refusal::of(400));
        }
        check_session(&self.hub, invite)?;
        self.check_calls_of(account, invite)?;
        let known = Known::of(invite, self.is_trusted(&asked.source), account);
        let call = self.replace(now, asked, known)?;
        if let Some(account) = account {
            self.hub.callers.join(call, account);
        }
        Ok(())
    }

    /// Whether the word of who is there counts about who calls (RFC 3325 §2.3).
    fn is_trusted(&self, source: &Source) -> bool {
        let ip = source.remote.ip();
        self.hub.config.trusted.iter().any(|network| network.contains(ip))
    }

    /// The next hops of the routing table for `uri`.
    fn routed(&mut self, now: Timestamp, uri: &Uri<'_>) -> Result<Box<[NextHop]>, Refusal> {
        let config = &self.hub.config;
        let hops = match config.emergency_numbers.number_for(uri.as_str()) {
            Some(number) => config.routes.lookup(number),
            None => config.routes.lookup(&headers::wanted_user(uri)),
        };
        let hops = hops.ok_or_else(|| Refusal::of(404))?;
        if hops.is_empty() {
            // The route is there, and the name of its next hop has no address that we can send to.
            return Err(Refusal::unavailable(&self.hub));
        }
        let hops = self.hub.trunks.usable(now, hops).map_err(|wait| {
            // All have said when it is worth trying again.
            let seconds = wait.as_secs().max(1);
            Refusal::with(503, HeaderName::RetryAfter, seconds.to_string())
        })?;
        Ok(in_order_of_chance(&hops, &mut self.hub.random))
    }

    /// Whether the INVITE is one of ours that has come back for the same user: a loop (RFC 3261 §16.3). With another
    /// user it was retargeted on its way, and is a call of its own.
    fn is_own_call(&self, invite: &Message, uri: &Uri<'_>) -> bool {
        let call_id = invite.call_id().unwrap_or("");
        let Some((call, Side::Callee)) = self.hub.dialog(call_id, tag_of(invite, HeaderName::From)) else {
            return false;
        };
        let asked_for = self.calls.get(&call).and_then(|call| {
            let invite = &call.inbound.as_ref()?.invite;
            let names = headers::own_names(invite);
            let numbers = &self.hub.config.emergency_numbers;
            Some(headers::asked_for(numbers, invite.request_uri()?, &names))
        });
        asked_for.is_some_and(|(user, _)| uri.user().unwrap_or("") == user)
    }
}
