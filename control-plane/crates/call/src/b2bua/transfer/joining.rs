use std::time::Duration;

use sans_io::Timestamp;
use sip::message::ResponseBuilder;
use sip::transaction::ClientKey;
use sip::{HeaderName, Message};

use super::{Departed, Entrance, Newcomer, Stage, Successor};
use crate::b2bua::call::{Call, Phase};
use crate::b2bua::deadlines::Deadline;
use crate::b2bua::ending::Ending;
use crate::b2bua::headers;
use crate::b2bua::hub::{Client, Hub};
use crate::b2bua::leg::{Bye, cseq};
use crate::b2bua::line::Lines;
use crate::b2bua::media::Step;
use crate::b2bua::offered::Misfit;
use crate::b2bua::session;
use crate::b2bua::side::{Both, Side};
use crate::b2bua::trickle::Describe as _;
use crate::cdr::Transferred;
use crate::{Cause, MediaError, Released};

/// How soon it is looked again whether the party that stays can be asked.
const BUSY_WAIT: Duration = Duration::from_millis(200);

/// How often a re-INVITE of ours may cross one of the party that stays.
const CROSSINGS_MAX: u8 = 4;

impl Call {
    /// Takes a newcomer that has offered to the party that stays; later, if that is busy.
    pub(in crate::b2bua) fn join(&mut self, hub: &mut Hub, now: Timestamp) {
        let key = self.key;
        let Some(transfer) = self.transfer() else { return };
        if transfer.stage != Stage::Waiting || hub.deadlines.is_set(key, Deadline::Transfer) {
            return;
        }
        let (by, until) = (transfer.by, transfer.until);
        let Some(offer) = transfer
            .newcomer
            .as_mut()
            .and_then(|newcomer| newcomer.offer.take())
        else {
            return;
        };
        let stays = by.other();
        let leg = self.legs[stays].as_ref();
        let is_busy = leg.is_none_or(|leg| leg.is_busy() || leg.refreshes_by_invite())
            || self.exchange.is_some()
            || self.late.is_some()
            || !self.media.is_idle();
        let lines = (!is_busy).then(|| {
            // The newcomer's own addresses, so that media without a node in between comes from there.
            let theirs = offer.proposal(by, false)[by].clone();
            let ours = self.reservation(by, &offer)[stays].clone();
            Lines::new(Both::of(by, theirs, ours))
        });
        let Some(transfer) = self.transfer() else { return };
        if let Some(newcomer) = &mut transfer.newcomer {
            newcomer.offer = Some(offer);
        }
        match lines {
            None if now >= until => self.fail_transfer(hub, now, 491),
            None => hub.deadlines.set(key, Deadline::Transfer, now + BUSY_WAIT),
            Some(lines) => {
                transfer.stage = Stage::Extending;
                transfer.extended = true;
                self.media.update(hub, now, Step::ExtendForNewcomer, lines);
            }
        }
    }

    /// The ports for the newcomer's offer are there, or not.
    pub(in crate::b2bua) fn newcomer_extended(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        result: Result<(), MediaError>,
    ) {
        let Some(transfer) = self.transfer().filter(|it| it.stage == Stage::Extending) else {
            return;
        };
        let stays = transfer.by.other();
        let offer = transfer
            .newcomer
            .as_mut()
            .and_then(|newcomer| newcomer.offer.take());
        let (Ok(()), Some(offer)) = (result, offer) else {
            self.fail_transfer(hub, now, result.err().map_or(500, MediaError::sip_status));
            return;
        };
        let Ok(offers) = self.offers(hub, stays) else {
            self.fail_transfer(hub, now, 488);
            return;
        };
        let body = self.describe_offer(stays, &offer, &offers);
        let key = self.key;
        let Some(leg) = &mut self.legs[stays] else { return };
        let request = leg
            .request("INVITE", hub.config.max_forwards)
            .header(HeaderName::Allow, headers::ALLOW);
        let request = session::ask(request, leg, &hub.config.session);
        let request = request.describe(&body);
        // In turn: `join` waited for it.
        let _ = leg.negotiation.offer_sent();
        let client = hub.send(now, request, leg.destination(), |_| Client::Stayer {
            call: key,
            side: stays,
            ack: None,
        });
        let Some(transfer) = self.transfer() else { return };
        transfer.stage = Stage::Offering;
        transfer.client = client;
        transfer.sent = Some(body.into());
        transfer.offers = offers;
        if let Some(newcomer) = &mut transfer.newcomer {
            newcomer.offer = Some(offer);
        }
        match client {
            Some(_) => hub
                .deadlines
                .set(key, Deadline::Transfer, now + hub.config.reinvite_timeout),
            None => self.fail_transfer(hub, now, 503),
        }
    }

    /// The 2xx of the party that stays.
    pub(in crate::b2bua) fn stayer_accepted(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        side: Side,
        response: &Message,
    ) {
        let max_forwards = hub.config.max_forwards;
        let Some(leg) = &mut self.legs[side] else { return };
        // A Contact that cannot be read leaves the target as it was.
        let _ = leg.dialog().handle_response(response);
        let sent = hub.send_ack(leg.ack(cseq(response), max_forwards), leg.destination());
        if let Some(Client::Stayer { ack, .. }) = hub.clients.get_mut(&client) {
            *ack = sent.map(Box::new);
        }
        let Some(transfer) = self.transfer().filter(|it| it.client == Some(client)) else {
            return;
        };
        transfer.client = None;
        let by = transfer.by;
        let description = transfer.sent.take();
        let offer = transfer
            .newcomer
            .as_ref()
            .and_then(|newcomer| newcomer.offer.as_ref());
        let session = (headers::has_description(response) == Ok(true))
            .then(|| hub.read_session(response.body()).ok())
            .flatten();
        let answer = session
            .zip(offer)
            .map(|(session, offer)| offer.answered(by, &transfer.offers, session));
        hub.deadlines.clear(self.key, Deadline::Transfer);
        if let Some(leg) = &mut self.legs[side] {
            leg.description = description;
            let _ = leg.negotiation.answer_received();
        }
        self.session_accepted(hub, now, side, response);
        let answer = match answer.unwrap_or(Err(Misfit::Missing)) {
            Ok(answer) => answer,
            Err(misfit) => {
                misfit.count(hub);
                let cause = Cause::ended(Released::Us, 111, misfit.to_string());
                self.end(hub, now, Ending::of(cause));
                return;
            }
        };
        let lines = answer.lines.clone();
        if let Some(transfer) = self.transfer() {
            transfer.answer = Some(answer);
            transfer.stage = Stage::Settling;
        }
        self.media.update(hub, now, Step::SettleNewcomer, lines);
    }

    /// The party that stays refused, was silent (408) or could not be reached (503).
    pub(in crate::b2bua) fn stayer_failed(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        side: Side,
        status: u16,
    ) {
        let key = self.key;
        let Some(transfer) = self.transfer().filter(|it| it.client == Some(client)) else {
            return;
        };
        transfer.client = None;
        transfer.crossed += 1;
        let again = status == 491 && transfer.crossed <= CROSSINGS_MAX;
        if again {
            transfer.stage = Stage::Waiting;
            // RFC 3261 §14.1: 2.1 to 4 seconds for the owner of the Call-ID, up to 2 for the other one.
            let wait_ms = match side {
                Side::Callee => 2_100 + hub.random.below(191) * 10,
                Side::Caller => 10 + hub.random.below(200) * 10,
            };
            if let Some(leg) = &mut self.legs[side] {
                leg.negotiation.abandon();
            }
            let at = now + Duration::from_millis(wait_ms);
            hub.deadlines.set(key, Deadline::Transfer, at);
            return;
        }
        self.fail_transfer(hub, now, headers::failure_status(status));
        if matches!(status, 408 | 481) && self.phase == Phase::Answered {
            let cause = Cause::ended(Released::Us, 41, "The other party has lost the dialog");
            self.end(hub, now, Ending::of(cause));
        }
    }

    /// The node sends the newcomer's media to the party that stays, or refused to.
    pub(in crate::b2bua) fn newcomer_settled(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        result: Result<(), MediaError>,
    ) {
        if !self.transfer().is_some_and(|it| it.stage == Stage::Settling) {
            return;
        }
        if let Err(error) = result {
            // The party that stays has agreed already, and cannot be asked to take that back.
            let cause = Cause::ended(Released::Us, 41, format!("No media: {}", error.reason()));
            self.end(hub, now, Ending::of(cause));
            return;
        }
        let Some(mut transfer) = self.transfers.as_mut().and_then(|it| it.current.take()) else {
            return;
        };
        let (Some(newcomer), Some(answer)) = (transfer.newcomer.take(), transfer.answer.take()) else {
            return;
        };
        let by = transfer.by;
        self.agree(&answer.lines);
        let Newcomer {
            leg,
            how,
            origin,
            policy,
            srtp,
            ..
        } = newcomer;
        self.srtp[by] = srtp;
        self.origins[by] = origin;
        let body = self.describe_answer(by, &answer);
        hub.deadlines.clear(self.key, Deadline::Accept(by));
        hub.deadlines.clear(self.key, Deadline::Session(by));
        hub.deadlines.clear(self.key, Deadline::Transfer);
        self.policies[by] = policy;
        let told = Transferred {
            by: by.released(),
            to: transfer.user.clone(),
        };
        self.record.transferred(told);
        let gone = self.legs[by].replace(*leg);
        if let Some(leg) = &mut self.legs[by] {
            let _ = leg.negotiation.answer_sent();
            leg.description = Some(body.as_str().into());
        }
        self.enter(hub, now, by, how, &body);
        let transfers = self.transfers.get_or_insert_default();
        transfers.successors[by] = Some(Successor {
            user: transfer.user,
            known: transfer.known,
        });
        if let Some(mut leg) = gone {
            leg.accept = None;
            let mut referral = transfer.referral;
            if let Some(referral) = &mut referral {
                referral.tell(hub, now, self.key, &mut leg, 200);
            }
            let departed = Departed {
                leg,
                bye_at: now
                    + match referral {
                        Some(_) => hub.config.transferor_bye_timeout,
                        None => Duration::ZERO,
                    },
                referral,
                has_left: transfer.has_left,
            };
            self.depart(hub, now, departed);
        }
        hub.counters.transfers_completed += 1;
        tracing::info!("transferred");
    }

    /// Answers the newcomer, whose leg is one of the call's from now on.
    fn enter(&mut self, hub: &mut Hub, now: Timestamp, by: Side, how: Entrance, body: &str) {
        let max_forwards = hub.config.max_forwards;
        let key = self.key;
        let Some(leg) = &mut self.legs[by] else { return };
        let (client, cseq, fork, accepted) = match how {
            Entrance::Called {
                client,
                cseq,
                fork,
                accepted,
            } => (client, cseq, fork, Some(accepted)),
            Entrance::Lent {
                from,
                client,
                cseq,
                accepted,
                ..
            } => {
                hub.errands.push_back(super::Errand::Taken { from });
                let Some(client) = client else { return };
                (client, cseq, String::new(), accepted)
            }
            Entrance::Came {
                server,
                source,
                invite,
            } => {
                let tag = leg.local_tag().to_owned();
                let agreed = Self::agree_session(hub, &invite, None);
                let response = ResponseBuilder::for_request(&invite, 200, "OK")
                    .to_tag(&tag)
                    .record_routes()
                    .header(HeaderName::Contact, leg.contact())
                    .header(HeaderName::Allow, headers::ALLOW)
                    .header(HeaderName::Supported, headers::SUPPORTED);
                let response = session::agree(response, agreed.as_ref());
                let Ok(response) = response.describe(body).build() else {
                    // The INVITE was checked for all that it needs.
                    tracing::error!("the 2xx to a newcomer could not be made");
                    return;
                };
                let timers = &hub.config.transactions.timers;
                let first = leg.await_ack(now, timers, &source, &invite, &response);
                hub.deadlines.set(key, Deadline::Accept(by), first);
                hub.respond_with(now, server, response);
                self.session_answered(hub, now, by, &invite, agreed.as_ref());
                return;
            }
        };
        let ack = leg.ack(cseq, max_forwards).describe(body);
        let sent = hub.send_ack(ack, leg.destination());
        Self::keep_newcomer_ack(hub, client, &fork, sent);
        if let Some(accepted) = accepted {
            self.session_accepted(hub, now, by, &accepted);
        }
    }

    /// Keeps a party that has been replaced until it has said BYE and heard how the transfer went.
    fn depart(&mut self, hub: &mut Hub, now: Timestamp, departed: Departed) {
        let is_needed = !departed.has_left
            || departed
                .referral
                .as_ref()
                .is_some_and(|referral| !referral.is_done());
        if is_needed {
            self.transfers.get_or_insert_default().departed.push(departed);
        }
        self.dismiss_departed(hub, now);
    }

    /// Says BYE to those who have been replaced and should have said it.
    pub(in crate::b2bua) fn dismiss_departed(&mut self, hub: &mut Hub, now: Timestamp) {
        let max_forwards = hub.config.max_forwards;
        let Some(transfers) = &mut self.transfers else {
            return;
        };
        for departed in &mut transfers.departed {
            if !departed.has_left && departed.bye_at <= now {
                departed.has_left = true;
                departed.leg.bye = Bye::Done;
                let bye = departed.leg.request("BYE", max_forwards);
                hub.send(now, bye, departed.leg.destination(), |_| Client::Farewell);
            }
        }
        transfers
            .departed
            .retain(|it| !it.has_left || it.referral.as_ref().is_some_and(|it| !it.is_done()));
        let next = transfers
            .departed
            .iter()
            .filter(|departed| !departed.has_left)
            .map(|departed| departed.bye_at)
            .min();
        match next {
            Some(at) => hub.deadlines.set(self.key, Deadline::Departed, at),
            None => hub.deadlines.clear(self.key, Deadline::Departed),
        }
    }
}
