use sans_io::Timestamp;
use sip::dialog::TIMER;
use sip::message::RequestBuilder;
use sip::transaction::ClientKey;
use sip::{HeaderName, Message, Transmit};

use super::{Entrance, Newcomer, Stage};
use crate::b2bua::B2bua;
use crate::b2bua::attempt::{Attempt, dismiss};
use crate::b2bua::call::Call;
use crate::b2bua::deadlines::Deadline;
use crate::b2bua::headers;
use crate::b2bua::hub::{CallKey, Client, Hub, tag_of};
use crate::b2bua::identity;
use crate::b2bua::leg::{Leg, cseq};
use crate::b2bua::offered::Offered;
use crate::b2bua::side::Side;
use crate::srtp::Terms;
use crate::{NextHop, Output};

impl CallKey {
    /// The same call as it is counted at the trunk of a newcomer.
    pub(in crate::b2bua) const fn of_newcomer(self) -> Self {
        Self(self.0 | 1 << 63)
    }
}

impl B2bua {
    /// A 2xx to an INVITE to a newcomer: the one that the call waits for, the same once more, or that of a fork that is too
    /// late.
    pub(in crate::b2bua) fn handle_newcomer_accepted(
        &mut self,
        now: Timestamp,
        key: ClientKey,
        call: CallKey,
        response: &Message,
    ) {
        let Some(Client::Newcomer(mut attempt)) = self.hub.clients.remove(&key) else {
            return;
        };
        let fork = tag_of(response, HeaderName::To);
        if let Some(ack) = attempt.known(fork) {
            if let Some(ack) = ack.clone() {
                self.hub.output(Output::Send(ack));
            }
        } else {
            let mut is_taken = false;
            self.with_call(call, |call, hub| {
                is_taken = call.newcomer_answered(hub, now, key, &attempt, response);
            });
            if is_taken {
                attempt.acknowledged(fork, None);
            } else if let Some(ack) = dismiss(&mut self.hub, now, &attempt, response) {
                attempt.acknowledged(fork, ack);
            }
        }
        self.hub.clients.insert(key, Client::Newcomer(attempt));
        // What waits for its ACK was only noted now.
        self.with_call(call, |call, hub| call.join(hub, now));
    }
}

impl Call {
    /// Sends the INVITE to the next of the newcomer's next hops; when there is none left the transfer fails.
    pub(super) fn call_newcomer(&mut self, hub: &mut Hub, now: Timestamp) {
        let rank = self.rank(hub);
        loop {
            let Some(transfer) = self.transfer() else { return };
            let Some(hop) = transfer.hops.next() else {
                self.fail_transfer(hub, now, 503);
                return;
            };
            let (until, has_next) = (transfer.until, !transfer.hops.as_slice().is_empty());
            if hub.trunks.spares(now, &hop, rank) {
                hub.counters.next_hops_spared += 1;
                continue;
            }
            if !hub.trunks.admit(now, self.key.of_newcomer(), &hop) {
                hub.counters.next_hops_at_limit += 1;
                continue;
            }
            if !self.invite_newcomer(hub, now, &hop) {
                continue;
            }
            let silence = now + hub.config.next_hop_timeout;
            let at = if has_next { silence.min(until) } else { until };
            hub.deadlines.set(self.key, Deadline::Transfer, at);
            return;
        }
    }

    fn invite_newcomer(&mut self, hub: &mut Hub, now: Timestamp, hop: &NextHop) -> bool {
        let (call_id, tag) = (hub.sip_call_id(), hub.tag());
        let Some(builder) = self.invite_to(hub, hop, &call_id, &tag) else {
            return false;
        };
        let (key, destination) = (self.key, hop.destination);
        if let Some(logins) = &hop.logins {
            hub.log_in(&call_id, &tag, logins);
        }
        let client = hub.send(now, builder, destination, |invite| {
            let attempt = Attempt::new(key, now, invite.clone(), destination);
            Client::Newcomer(Box::new(attempt))
        });
        let Some(client) = client else {
            hub.remove_dialog(&call_id, &tag);
            return false;
        };
        let Some(transfer) = self.transfer() else {
            return false;
        };
        transfer.client = Some(client);
        let (by, policy) = (transfer.by, hop.transfer);
        let srtp = hop.srtp_terms();
        tracing::debug!(next_hop = %destination.remote, sip_call_id = %call_id, "calling the newcomer");
        hub.add_dialog(&call_id, &tag, key, by);
        self.outbound.dialogs.push((call_id, tag));
        let transfers = self.transfers.get_or_insert_default();
        transfers.hop = Some((destination.remote, policy, srtp));
        true
    }

    /// The INVITE has no offer: the newcomer's answer brings one.
    fn invite_to(&mut self, hub: &Hub, hop: &NextHop, call_id: &str, tag: &str) -> Option<RequestBuilder> {
        let ours = hub.host_towards(&hop.destination).to_owned();
        let stays = self.transfer()?.by.other();
        let known = self.known(stays).cloned();
        let caller = match identity::is_trusted(hop) {
            true => self.user_of(stays),
            false => self.told_user_of(stays),
        };
        let transfer = self.transfer()?;
        let (user, params) = headers::user_and_params(&transfer.uri, &[]);
        let at = |user: &str| if user.is_empty() { "" } else { "@" };
        let transport = match hop.destination.transport {
            sip::Transport::Tcp => ";transport=tcp",
            _ => "",
        };
        let uri = match &hop.contact {
            Some(contact) => contact.uri.clone(),
            None => format!("sip:{user}{}{}{params}{transport}", at(&user), hop.host),
        };
        let named = known.as_ref().and_then(|known| known.named(hop, &ours));
        let from = match (caller.as_str(), named) {
            ("anonymous", _) => identity::ANONYMOUS.to_owned(),
            (_, Some(named)) => named,
            (caller, None) => format!("<sip:{caller}{}{ours}>", at(caller)),
        };
        let mut builder = RequestBuilder::new("INVITE", &uri)
            .header(HeaderName::MaxForwards, transfer.max_forwards)
            .header(HeaderName::From, format_args!("{from};tag={tag}"))
            .header(
                HeaderName::To,
                format_args!("<sip:{user}{}{}{params}>", at(&user), hop.host),
            )
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, hub.contact(&hop.destination))
            .header(HeaderName::Allow, headers::ALLOW)
            .header(HeaderName::Supported, TIMER);
        if let Some(replaces) = &transfer.replaces {
            builder = builder.header(HeaderName::Replaces, replaces);
        }
        // RFC 3892 §5: who refers is told to our own users, and within trust.
        let is_told = hop.contact.is_some() || identity::is_trusted(hop);
        if let Some(user) = transfer.referred_by.as_ref().filter(|_| is_told) {
            builder = builder.header(
                HeaderName::ReferredBy,
                format_args!("<sip:{user}{}{ours}>", at(user)),
            );
        }
        if let Some(known) = &known {
            builder = known.tell(builder, hop, &ours);
        }
        let service_route = hub.trunks.service_route(hop).iter();
        let routes = service_route.chain(hop.contact.iter().flat_map(|contact| &contact.routes));
        Some(routes.fold(builder, |builder, route| builder.header(HeaderName::Route, route)))
    }

    fn awaits_newcomer(&mut self, client: ClientKey) -> bool {
        self.transfer()
            .is_some_and(|transfer| transfer.stage == Stage::Calling && transfer.client == Some(client))
    }

    /// A provisional response of the newcomer.
    pub(in crate::b2bua) fn newcomer_progress(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        response: &Message,
    ) {
        if !self.awaits_newcomer(client) {
            return;
        }
        if let Some(transfer) = self.transfer() {
            let until = transfer.until;
            hub.deadlines.set(self.key, Deadline::Transfer, until);
        }
        let status = response.status().unwrap_or(100);
        if status > 100 {
            self.notify_progress(hub, now, status);
        }
    }

    /// The newcomer's 2xx; false when nobody waits for it.
    fn newcomer_answered(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        attempt: &Attempt,
        response: &Message,
    ) -> bool {
        if !self.awaits_newcomer(client) {
            return false;
        }
        let contact = hub.contact(&attempt.destination);
        let leg = Leg::of_callee(&attempt.invite, response, attempt.destination, contact);
        let hop = self.transfers.as_ref().and_then(|transfers| transfers.hop);
        let (policy, srtp) = hop.map_or_else(Default::default, |(_, policy, srtp)| (policy, srtp));
        let offer = self.usable_offer(hub, response, srtp);
        let (Some(mut leg), Some(offer)) = (leg, offer) else {
            if let Some(transfer) = self.transfer() {
                transfer.client = None;
            }
            self.fail_transfer(hub, now, 488);
            return false;
        };
        // The dialog is new.
        let _ = leg.negotiation.offer_received();
        let newcomer = Newcomer {
            leg: Box::new(leg),
            how: Entrance::Called {
                client,
                cseq: cseq(&attempt.invite),
                fork: tag_of(response, HeaderName::To).to_owned(),
                accepted: Box::new(response.clone()),
            },
            origin: sdp::Origin::new(hub.random.next_u64()),
            policy,
            srtp,
            has_offered: true,
            offer: Some(offer),
        };
        self.newcomer_offers(hub, now, newcomer);
        true
    }

    /// The newcomer is there with an offer for the party that stays.
    pub(super) fn newcomer_offers(&mut self, hub: &mut Hub, now: Timestamp, newcomer: Newcomer) {
        let key = self.key;
        let Some(transfer) = self.transfer() else { return };
        transfer.client = None;
        transfer.newcomer = Some(newcomer);
        transfer.stage = Stage::Waiting;
        transfer.until = now + hub.config.reinvite_timeout;
        hub.deadlines.clear(key, Deadline::Transfer);
    }

    /// The offer in a newcomer's message, if it fits the call: media that we relay, of the family of the leg's ports, and
    /// at least as many lines as the party that stays has (RFC 3264 §8), secured by the terms with the newcomer.
    pub(super) fn usable_offer(&mut self, hub: &mut Hub, message: &Message, srtp: Terms) -> Option<Offered> {
        let by = self.transfer()?.by;
        let offer = (headers::has_description(message) == Ok(true))
            .then(|| hub.read_session(message.body()).ok())
            .flatten();
        match offer.filter(|offer| self.fits_in_place_of(by, offer)) {
            Some(offer) => Offered::new(hub, offer, srtp, &[], self.shakes_hands()).ok(),
            None => {
                hub.counters.descriptions_refused += 1;
                None
            }
        }
    }

    /// Whether an offer can take the place of the media of the party `by`.
    pub(super) fn fits_in_place_of(&self, by: Side, offer: &sdp::Session) -> bool {
        offer.has_usable_line()
            && offer.is_ipv6() == self.media.is_ipv6(by)
            && offer.line_count() >= self.agreed[by].len()
    }

    /// The newcomer refused, cannot be reached, or was silent for too long (408).
    pub(in crate::b2bua) fn newcomer_failed(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        status: u16,
    ) {
        if !self.awaits_newcomer(client) {
            return;
        }
        if let Some(transfer) = self.transfer() {
            transfer.client = None;
            let has_next = !transfer.hops.as_slice().is_empty();
            if matches!(status, 408 | 503) && has_next {
                hub.counters.next_hops_skipped += 1;
                self.call_newcomer(hub, now);
                return;
            }
        }
        self.fail_transfer(hub, now, headers::failure_status(status));
    }

    /// The newcomer has said nothing for a next hop's time, or not answered for a call's.
    pub(super) fn newcomer_silent(&mut self, hub: &mut Hub, now: Timestamp) {
        let Some(transfer) = self.transfer() else { return };
        let is_over = transfer.until <= now;
        if let Some(client) = transfer.client.take() {
            hub.cancel(now, client, None);
        }
        match is_over {
            true => self.fail_transfer(hub, now, 408),
            false => {
                hub.counters.next_hops_skipped += 1;
                self.call_newcomer(hub, now);
            }
        }
    }

    /// Notes the ACK of a newcomer that was called.
    pub(in crate::b2bua) fn keep_newcomer_ack(
        hub: &mut Hub,
        client: ClientKey,
        fork: &str,
        sent: Option<Transmit>,
    ) {
        match hub.clients.get_mut(&client) {
            Some(Client::Newcomer(attempt)) => attempt.acknowledged(fork, sent),
            Some(Client::Lent { ack, .. }) => *ack = sent.map(Box::new),
            _ => {}
        }
    }
}
