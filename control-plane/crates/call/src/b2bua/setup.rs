use std::time::Duration;

use sans_io::Timestamp;
use sip::dialog::TIMER;
use sip::message::RequestBuilder;
use sip::{HeaderName, Message};

use super::attempt::Attempt;
use super::branch::{Branch, Failure};
use super::call::{Call, Inbound, Outbound, Phase};
use super::deadlines::Deadline;
use super::diverted;
use super::ending::Ending;
use super::headers;
use super::hub::{CallKey, Client, Hub, Server};
use super::identity;
use super::line::{Line, Lines, Security};
use super::media::{Media, Step};
use super::offered::{Ours, offers};
use super::record::Record;
use super::side::{Both, Side};
use super::trickle::Describe as _;
use crate::srtp::Terms;
use crate::{Cause, MediaError, NextHop, Released, SrtpPolicy, TransferPolicy};

/// An INVITE that is sent in place of one that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// The place of its dialog to be among the call's.
    dialog: usize,
    cseq: u32,
    /// How often that has happened, this time included.
    retries: u8,
}

impl Call {
    /// A new call from an INVITE that has passed all checks. It asks for ports, or calls the callee at once when the
    /// INVITE has no offer.
    pub(super) fn begin(
        hub: &mut Hub,
        now: Timestamp,
        key: CallKey,
        inbound: Inbound,
        hops: &[NextHop],
    ) -> Self {
        let id = hub.call_id();
        hub.counters.calls_attempted += 1;
        hub.servers.insert(inbound.server, Server::Invite(key));
        let record = Record::new(now, id.clone(), &inbound.invite, &inbound.source);
        tracing::info!(call = %id, from = %inbound.source.remote, uri = inbound.invite.request_uri(), "new call");
        let origin = |hub: &mut Hub| sdp::Origin::new(hub.random.next_u64());
        let mut call = Self {
            key,
            phase: Phase::Reserving,
            record,
            media: Media::new(key, id.clone()),
            id,
            outbound: Outbound {
                hops: hops.into(),
                session_s: hub.config.session.interval_s,
                next: 0,
                branches: Vec::new(),
                forks: Vec::new(),
                adopted: None,
                dialogs: Vec::new(),
            },
            answer: None,
            unacknowledged: None,
            accepted: None,
            late: None,
            exchange: None,
            legs: Both::default(),
            origins: Both {
                caller: origin(hub),
                callee: origin(hub),
            },
            agreed: Lines::default(),
            caller_call_id: inbound.invite.call_id().unwrap_or("").into(),
            caller_tags: Vec::new(),
            names: Vec::new(),
            caller_tag: super::hub::tag_of(&inbound.invite, HeaderName::From).into(),
            known_caller: identity::Known::of(
                &inbound.invite,
                inbound.is_trusted,
                inbound.account.as_deref(),
            ),
            policies: Both {
                caller: inbound.transfer,
                callee: TransferPolicy::Refuse,
            },
            srtp: Both {
                caller: inbound.srtp,
                callee: Terms::default(),
            },
            transfers: None,
            inbound: Some(Box::new(inbound)),
        };
        call.reserve_or_call(hub, now);
        call
    }

    fn reserve_or_call(&mut self, hub: &mut Hub, now: Timestamp) {
        let offer = self.inbound.as_ref().and_then(|inbound| inbound.offer.as_ref());
        let Some(offer) = offer else {
            self.call_next(hub, now);
            return;
        };
        let hops = &mut self.outbound.hops;
        if let Some(is_ipv6) = hops.first().map(|hop| hop.destination.remote.is_ipv6()) {
            // The offer names one address of ours, and a next hop of the other family could not send to it.
            let mut kept = std::mem::take(hops).into_vec();
            kept.retain(|hop| hop.destination.remote.is_ipv6() == is_ipv6);
            *hops = kept.into();
        }
        let callee_ipv6 = self
            .outbound
            .hops
            .first()
            .is_some_and(|hop| hop.destination.remote.is_ipv6());
        let ipv6 = Both {
            caller: offer.session.is_ipv6(),
            callee: callee_ipv6,
        };
        let is_secured = self
            .outbound
            .hops
            .iter()
            .any(|hop| hop.srtp.policy == SrtpPolicy::Require);
        let lines = offer.proposal(Side::Caller, is_secured);
        self.media.create(hub, now, ipv6, lines);
    }

    /// The ports are there, or not.
    pub(super) fn reserved(&mut self, hub: &mut Hub, now: Timestamp, result: Result<(), MediaError>) {
        match result {
            Ok(()) => self.call_next(hub, now),
            Err(error) => self.end_without_media(hub, now, error),
        }
    }

    /// Ends a call that is not answered for want of media.
    pub(super) fn end_without_media(&mut self, hub: &mut Hub, now: Timestamp, error: MediaError) {
        let status = error.sip_status();
        let retry_after = match error {
            MediaError::NoNode { retry_after } => {
                Some(u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(1))
            }
            _ if status == 503 => Some(hub.config.retry_after_s),
            _ => None,
        };
        let cause = Cause::failed(Released::Us, status, format!("No media: {}", error.reason()));
        self.end(
            hub,
            now,
            Ending {
                retry_after,
                ..Ending::of(cause)
            },
        );
    }

    /// The next hop of `branch` wants a session of at least `min_s` (RFC 4028 §7.4): it gets the INVITE once more, in the
    /// same dialog to be. False if it has had as much.
    pub(super) fn lengthen_session(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        branch: &Branch,
        min_s: u32,
        cseq: u32,
    ) -> bool {
        const LONGEST_S: u32 = 86_400;
        let is_longer = (branch.session_s + 1..=LONGEST_S).contains(&min_s);
        if !is_longer || branch.retries >= hub.config.request_retries_max {
            return false;
        }
        // Another branch may have made it longer meanwhile.
        self.outbound.session_s = self.outbound.session_s.max(min_s);
        let again = Again {
            dialog: branch.dialog,
            cseq: cseq + 1,
            retries: branch.retries + 1,
        };
        let is_sent = self.send_invite(hub, now, branch.hop, branch.breadth, Some(again));
        if is_sent {
            self.await_word(hub, now);
        }
        is_sent
    }

    /// Sends the INVITE to a next hop, which is a branch then. False if it cannot be sent.
    pub(super) fn send_invite(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        hop: usize,
        breadth: Option<u32>,
        again: Option<Again>,
    ) -> bool {
        let invite = self.inbound.as_ref().map(|inbound| inbound.invite.clone());
        let (Some(invite), Some(next_hop)) = (invite, self.outbound.hops.get(hop).cloned()) else {
            return false;
        };
        let offer = self.inbound.as_mut().and_then(|inbound| inbound.offer.take());
        let terms = next_hop.srtp_terms();
        let offers = match &offer {
            // What another next hop was offered is not for this one.
            Some(_) => offers(hub, &self.media.lines().callee, &[], terms, self.shakes_hands()),
            None => Ok(Vec::new()),
        };
        let body = offer
            .as_ref()
            .zip(offers.as_ref().ok())
            .map(|(offer, offers)| self.describe_offer(Side::Callee, offer, offers));
        if let Some(inbound) = &mut self.inbound {
            inbound.offer = offer;
        }
        let Ok(offers) = offers else {
            if let Some(inbound) = &mut self.inbound {
                let cause = Cause::failed(Released::Us, 503, "SRTP cannot be offered to the next hop");
                inbound.failure.get_or_insert_with(|| Failure::of(cause));
            }
            return false;
        };
        if body.is_some() {
            self.secure_callee(hub, now, &offers, terms.is_secured());
        }
        let known = again
            .as_ref()
            .and_then(|again| self.outbound.dialogs.get(again.dialog));
        let (call_id, tag) = match known {
            Some(known) => known.clone(),
            None => (hub.sip_call_id(), hub.tag()),
        };
        let cseq = again.as_ref().map_or(1, |again| again.cseq);
        let mut builder = self
            .invite_for(hub, &next_hop, &invite, &call_id, &tag, body.as_deref())
            .header(HeaderName::CSeq, format_args!("{cseq} INVITE"));
        if let Some(breadth) = breadth {
            builder = builder.header(HeaderName::MaxBreadth, breadth);
        }
        let (key, destination) = (self.key, next_hop.destination);
        if let Some(logins) = &next_hop.logins {
            hub.log_in(&call_id, &tag, logins);
        }
        let client = hub.send(now, builder, destination, |invite| {
            Client::Attempt(Box::new(Attempt::new(key, now, invite.clone(), destination)))
        });
        let Some(client) = client else {
            if again.is_none() {
                hub.remove_dialog(&call_id, &tag);
            }
            return false;
        };
        tracing::debug!(next_hop = %destination.remote, sip_call_id = %call_id, "calling");
        self.record.tried(destination.remote, &call_id);
        hub.add_dialog(&call_id, &tag, key, Side::Callee);
        let dialog = again
            .as_ref()
            .map_or(self.outbound.dialogs.len(), |again| again.dialog);
        if again.is_none() {
            self.outbound.dialogs.push((call_id, tag));
        }
        if let Some(inbound) = &mut self.inbound {
            match inbound.offers.get_mut(dialog) {
                Some(before) => *before = offers,
                None => inbound.offers.push(offers),
            }
        }
        self.outbound.branches.push(Branch {
            client,
            hop,
            dialog,
            retries: again.map_or(0, |again| again.retries),
            session_s: self.outbound.session_s,
            breadth,
            is_heard: false,
        });
        if self.phase != Phase::Calling {
            self.phase = Phase::Calling;
            let ring = self.expires().map_or(hub.config.ring_timeout, |expires| {
                expires.min(hub.config.ring_timeout)
            });
            hub.deadlines.set(key, Deadline::Ring, now + ring);
        }
        true
    }

    /// Nothing passes the callee's lines until its answer: those of next hops that came later, by a redirection, were reserved
    /// before it was known that they must be secured, and those of one that has refused are not for who comes after it. Of all that
    /// have the INVITE, and the one that is `coming` by these offers, the first that may shake hands is met before its answer: the
    /// node has one line for all of them.
    pub(super) fn secure_callee(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        coming: &[Ours],
        must_be_secured: bool,
    ) {
        let is_clear = |line: &Line| matches!(line.security, Security::Clear);
        if !must_be_secured && self.media.lines().callee.iter().all(is_clear) {
            return;
        }
        let Some(inbound) = &self.inbound else { return };
        let relayed = self.outbound.relayed();
        let is_relayed = relayed.is_some_and(|place| !self.outbound.forks[place].is_over);
        let offered = || {
            let branches = self.outbound.branches.iter();
            let of_branches = branches.filter_map(|branch| inbound.offers.get(branch.dialog));
            of_branches.map(Vec::as_slice).chain([coming])
        };
        let mut lines = self.media.lines().clone();
        let mut has_changed = false;
        for (index, line) in lines.callee.iter_mut().enumerate() {
            let is_answered = matches!(line.security, Security::Protected(_) | Security::Handshake(_));
            if !line.spec.enabled || is_answered && is_relayed {
                continue;
            }
            let invited = offered().find_map(|offers| match offers.get(index) {
                Some(Ours::Handshake(invitation)) => Some(invitation),
                Some(Ours::Keys(_)) | None => None,
            });
            let security = match invited {
                Some(invitation) => Security::Invited(Box::new(invitation.clone())),
                None if must_be_secured || !is_clear(line) => Security::Pending,
                None => continue,
            };
            has_changed |= line.security != security;
            line.security = security;
        }
        if has_changed {
            self.media.update(hub, now, Step::Early, Lines::new(lines));
        }
    }

    fn invite_for(
        &self,
        hub: &Hub,
        hop: &NextHop,
        invite: &Message,
        call_id: &str,
        tag: &str,
        body: Option<&str>,
    ) -> RequestBuilder {
        let names = headers::own_names(invite);
        let (user, params) = match &hop.called {
            Some(called) => (
                called.user.clone(),
                if called.is_phone { ";user=phone" } else { "" },
            ),
            None => headers::asked_for(
                &hub.config.emergency_numbers,
                invite.request_uri().unwrap_or(""),
                &names,
            ),
        };
        let at = if user.is_empty() { "" } else { "@" };
        let transport = if hop.destination.transport == sip::Transport::Tcp {
            ";transport=tcp"
        } else {
            ""
        };
        let uri = match &hop.contact {
            Some(contact) => contact.uri.clone(),
            None => format!("sip:{user}{at}{}{params}{transport}", hop.host),
        };
        let ours = hub.host_towards(&hop.destination);
        let to = invite.to().map_or_else(
            |_| format!("<sip:{}>", hop.host),
            |to| {
                let (user, params) = headers::asked_for(&hub.config.emergency_numbers, to.uri, &names);
                headers::identity_of(&to, &user, params, &hop.host, &names)
            },
        );
        let max_forwards = self
            .inbound
            .as_ref()
            .map_or(hub.config.max_forwards, |inbound| inbound.max_forwards);
        let from = match self.inbound.as_deref() {
            Some(inbound) => identity::from(inbound, hop, ours, &names),
            None => format!("<sip:{ours}>"),
        };
        let builder = RequestBuilder::new("INVITE", &uri)
            .header(HeaderName::MaxForwards, max_forwards)
            .header(HeaderName::From, format_args!("{from};tag={tag}"))
            .header(HeaderName::To, to)
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::Contact, hub.contact(&hop.destination))
            .header(HeaderName::Allow, headers::ALLOW)
            .header(HeaderName::SessionExpires, self.outbound.session_s)
            .header(HeaderName::MinSe, hub.config.session.min_s);
        let service_route = hub.trunks.service_route(hop).iter();
        let routes = service_route.chain(hop.contact.iter().flat_map(|contact| &contact.routes));
        let builder = routes.fold(builder, |builder, route| builder.header(HeaderName::Route, route));
        let builder = match self.inbound.as_deref() {
            Some(inbound) => {
                let builder = identity::assert(builder, inbound, hop, ours);
                let builder = diverted::tell(builder, inbound, hop, ours);
                identity::pass_through(builder, inbound, hop)
            }
            None => builder,
        };
        match body {
            Some(body) => builder
                .header(HeaderName::Supported, headers::SUPPORTED)
                .describe(body),
            // Without an offer in the INVITE a reliable provisional response has to bring one (RFC 3262 §5).
            None if self.takes_early_offer() => builder.header(HeaderName::Supported, headers::SUPPORTED),
            None => builder.header(HeaderName::Supported, TIMER),
        }
    }

    /// How long the caller wants to wait (RFC 3261 §13.2.1).
    fn expires(&self) -> Option<Duration> {
        let seconds = self.inbound.as_ref()?.invite.number(HeaderName::Expires).ok()??;
        Some(Duration::from_secs(u64::from(seconds)))
    }

    /// The callee has rung for too long, or nobody ever said anything; or the caller's own limit has passed, which is
    /// answered 487 (RFC 3261 §13.3.1).
    pub(super) fn not_answered(&mut self, hub: &mut Hub, now: Timestamp) {
        if matches!(self.phase, Phase::Calling) {
            let is_expired = self
                .expires()
                .is_some_and(|expires| expires < hub.config.ring_timeout);
            let (status, text) = match self.outbound.forks.is_empty() {
                _ if is_expired => (487, "The INVITE has expired"),
                true => (408, "No response from the callee"),
                false => (480, "No answer from the callee"),
            };
            self.end(hub, now, Ending::of(Cause::failed(Released::Us, status, text)));
        }
    }
}

/// How long `hop` has to ring or answer before the next one is tried.
pub(super) fn attempt_timeout(hop: &NextHop) -> Option<Duration> {
    hop.failover.as_ref()?.attempt_timeout
}
