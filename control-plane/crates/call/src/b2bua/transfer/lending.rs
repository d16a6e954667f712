use sans_io::Timestamp;
use sdp::Origin;
use sip::transaction::{ClientKey, ServerKey};
use sip::{HeaderName, Message};

use super::refer::Referred;
use super::{Entrance, Newcomer, Stage, Successor, Transfer};
use crate::b2bua::B2bua;
use crate::b2bua::call::Call;
use crate::b2bua::deadlines::Deadline;
use crate::b2bua::ending::Ending;
use crate::b2bua::headers;
use crate::b2bua::hub::{CallKey, Client, Hub, tag_of};
use crate::b2bua::leg::{Bye, Leg, cseq};
use crate::b2bua::requests::{Refusal, refuse};
use crate::b2bua::side::Side;
use crate::srtp::Terms;
use crate::{Cause, Released, TransferError, TransferPolicy};

/// What one call wants of another.
#[derive(Debug)]
pub(in crate::b2bua) enum Errand {
    /// The party that was lent has its place elsewhere, or is gone: the call is over.
    Taken { from: CallKey },
    /// The transfer failed: the party goes back.
    Returned {
        from: CallKey,
        to: CallKey,
        side: Side,
        leg: Box<Leg>,
        origin: Origin,
        policy: TransferPolicy,
        /// The re-INVITE that it may still answer, and its CSeq number.
        asked: Option<(ClientKey, u32)>,
    },
}

impl B2bua {
    /// Does what calls want of each other.
    pub(in crate::b2bua) fn run_errands(&mut self, now: Timestamp) -> bool {
        let Some(errand) = self.hub.errands.pop_front() else {
            return false;
        };
        match errand {
            Errand::Taken { from } => self.with_call(from, |call, hub| {
                let cause = Cause::ended(Released::Us, 16, "Transferred");
                call.end(hub, now, Ending::of(cause));
            }),
            Errand::Returned {
                from,
                to,
                side,
                mut leg,
                origin,
                policy,
                asked,
            } => {
                let id = leg.id();
                let takes_back = self.calls.get(&to).is_some_and(|call| call.lacks(side));
                if takes_back {
                    self.with_call(from, |call, hub| call.lets_go(hub, &id));
                    self.hub.add_dialog(&id.0, &id.1, to, side);
                    self.with_call(to, |call, hub| {
                        call.outbound.dialogs.push(id);
                        call.origins[side] = origin;
                        call.policies[side] = policy;
                        call.legs[side] = Some(*leg);
                        call.resume_session(hub, side);
                    });
                } else {
                    let hops = self.hub.config.max_forwards;
                    if let Some((client, cseq)) = asked {
                        // What it may yet say to our re-INVITE is acknowledged, and changes nothing.
                        let ack = self.hub.prepare_ack(leg.ack(cseq, hops), leg.destination());
                        Call::keep_newcomer_ack(&mut self.hub, client, "", ack);
                    }
                    let bye = leg.request("BYE", hops);
                    self.hub.send(now, bye, leg.destination(), |_| Client::Farewell);
                }
            }
        }
        true
    }

    /// The 2xx of a lent party to our re-INVITE.
    pub(in crate::b2bua) fn handle_lent_accepted(
        &mut self,
        now: Timestamp,
        client: ClientKey,
        call: CallKey,
        response: &Message,
    ) {
        let mut is_taken = false;
        self.with_call(call, |call, hub| {
            is_taken = call.lent_answered(hub, now, client, response);
        });
        if is_taken {
            return;
        }
        // The transfer has failed meanwhile, and the party is back in its own call.
        let (call_id, tag) = (
            response.call_id().unwrap_or(""),
            tag_of(response, HeaderName::From),
        );
        if let Some((key, side)) = self.hub.dialog(call_id, tag) {
            self.with_call(key, |call, hub| {
                call.came_back_with_an_offer(hub, now, client, side, response);
            });
        }
    }

    /// A REFER to somebody who is in another call of ours with the transferor: attended transfer (RFC 5589 §7).
    #[expect(clippy::too_many_arguments, reason = "two dialogs and a request between them")]
    pub(super) fn transfer_to_lent(
        &mut self,
        now: Timestamp,
        call: CallKey,
        by: Side,
        (lender, replaced): (CallKey, Side),
        server: ServerKey,
        request: &Message,
        referred: &Referred,
    ) {
        let stays = self
            .calls
            .get(&call)
            .map(|call| (call.agreed[by].len(), call.media.is_ipv6(by)));
        let mut lent = Err(TransferError::NoRoute);
        if lender != call {
            self.with_call(lender, |call, hub| {
                lent = call.lend(hub, replaced.other(), stays);
            });
        }
        let newcomer = match lent {
            Ok(newcomer) => newcomer,
            Err(error) => {
                self.hub.counters.transfers_refused += 1;
                refuse(
                    &mut self.hub,
                    now,
                    server,
                    request,
                    Refusal::of(error.sip_status()),
                );
                return;
            }
        };
        let (dialog, Successor { user, known }) = newcomer;
        let id = dialog.leg.id();
        self.hub.add_dialog(&id.0, &id.1, call, by);
        let refer = (server, request.clone());
        self.with_call(call, |call, hub| {
            call.outbound.dialogs.push(id);
            let transfer = Transfer {
                by,
                stage: Stage::Calling,
                referral: None,
                has_left: false,
                user,
                uri: referred.uri.clone(),
                known,
                hops: Vec::new().into_iter(),
                max_forwards: hub.config.max_forwards,
                referred_by: None,
                replaces: None,
                client: None,
                until: now + hub.config.reinvite_timeout,
                newcomer: Some(dialog),
                sent: None,
                offers: Vec::new(),
                answer: None,
                crossed: 0,
                extended: false,
            };
            call.start_transfer(hub, now, transfer, Some(&refer));
            call.ask_lent(hub, now);
        });
    }
}

impl Call {
    /// A dialog is another call's from now on.
    fn lets_go(&mut self, hub: &Hub, id: &(String, String)) {
        let name = hub.name(&id.0, &id.1);
        self.names.retain(|it| *it != name);
        self.outbound.dialogs.retain(|it| it != id);
    }

    /// Lets the party of `side` go to another call, where `lines` media lines are needed on ports of one family.
    fn lend(
        &mut self,
        hub: &mut Hub,
        side: Side,
        needs: Option<(usize, bool)>,
    ) -> Result<(Newcomer, Successor), TransferError> {
        self.check_transfer(hub)?;
        if self.policies[side.other()] == TransferPolicy::Refuse {
            return Err(TransferError::NoRoute);
        }
        let is_fit = needs.is_some_and(|(lines, is_ipv6)| {
            self.agreed[side].len() >= lines && self.media.is_ipv6(side) == is_ipv6
        });
        if !is_fit {
            return Err(TransferError::NoRoute);
        }
        let is_busy = self.exchange.is_some() || self.late.is_some();
        let leg = self.legs[side].take_if(|leg| {
            let is_free = leg.bye == Bye::No && !leg.is_busy() && leg.refreshing.is_none();
            !is_busy && is_free
        });
        let leg = leg.ok_or(TransferError::Busy)?;
        hub.deadlines.clear(self.key, Deadline::Session(side));
        let id = leg.id();
        self.lets_go(hub, &id);
        let newcomer = Newcomer {
            leg: Box::new(leg),
            how: Entrance::Lent {
                from: self.key,
                side,
                client: None,
                cseq: 0,
                accepted: None,
            },
            origin: self.origins[side].clone(),
            policy: self.policies[side],
            srtp: self.srtp[side],
            has_offered: false,
            offer: None,
        };
        let successor = Successor {
            user: self.user_of(side),
            known: self.known(side).cloned().map(Box::new),
        };
        Ok((newcomer, successor))
    }

    /// Whether the party of `side` is somewhere else, and may come back.
    fn lacks(&self, side: Side) -> bool {
        self.phase == crate::b2bua::call::Phase::Answered && self.legs[side].is_none()
    }

    /// Asks a lent party for an offer, by a re-INVITE without one.
    fn ask_lent(&mut self, hub: &mut Hub, now: Timestamp) {
        let key = self.key;
        let policy = hub.config.session;
        let max_forwards = hub.config.max_forwards;
        let Some(transfer) = self.transfer() else { return };
        let Some(newcomer) = &mut transfer.newcomer else {
            return;
        };
        let leg = &mut newcomer.leg;
        let request = leg
            .request("INVITE", max_forwards)
            .header(HeaderName::Allow, headers::ALLOW);
        let request = crate::b2bua::session::ask(request, leg, &policy);
        let destination = leg.destination();
        let seq = leg.dialog().local_seq().unwrap_or(0);
        let client = hub.send(now, request, destination, |_| Client::Lent {
            call: key,
            ack: None,
        });
        transfer.client = client;
        if let Entrance::Lent {
            client: asked, cseq, ..
        } = &mut newcomer.how
        {
            (*asked, *cseq) = (client, seq);
        }
        if client.is_none() {
            self.fail_transfer(hub, now, 503);
        }
    }

    /// The 2xx of a lent party to our re-INVITE; false when nobody waits for it.
    fn lent_answered(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        response: &Message,
    ) -> bool {
        let is_it =
            |transfer: &&mut Transfer| transfer.stage == Stage::Calling && transfer.client == Some(client);
        if self.transfer().filter(is_it).is_none() {
            return false;
        }
        let newcomer = self.transfer().and_then(|transfer| transfer.newcomer.as_ref());
        let srtp = newcomer.map_or_else(Terms::default, |newcomer| newcomer.srtp);
        let offer = self.usable_offer(hub, response, srtp);
        let Some(transfer) = self.transfer() else {
            return false;
        };
        let Some(mut newcomer) = transfer.newcomer.take() else {
            return false;
        };
        transfer.client = None;
        newcomer.has_offered = true;
        let _ = newcomer.leg.dialog().handle_response(response);
        let _ = newcomer.leg.negotiation.offer_received();
        if let Entrance::Lent {
            accepted, cseq: seq, ..
        } = &mut newcomer.how
        {
            *accepted = Some(Box::new(response.clone()));
            *seq = cseq(response);
        }
        match offer {
            Some(offer) => {
                newcomer.offer = Some(offer);
                self.newcomer_offers(hub, now, newcomer);
                self.join(hub, now);
            }
            None => {
                // It has to be answered, and cannot be.
                transfer.newcomer = Some(newcomer);
                self.fail_transfer(hub, now, 488);
            }
        }
        true
    }

    /// A party that is back has answered the re-INVITE of the transfer that failed: it has offered, and nobody is left to answer.
    /// Its 2xx has its ACK (RFC 3261 §13.2.2.4); what it takes for agreed is not what the other party does, and the call is over.
    fn came_back_with_an_offer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        side: Side,
        response: &Message,
    ) {
        let id = (
            response.call_id().unwrap_or(""),
            tag_of(response, HeaderName::From),
        );
        let is_it = |leg: &&Leg| {
            let (call_id, tag) = leg.id();
            (call_id.as_str(), tag.as_str()) == id
        };
        let Some(leg) = self.legs[side].as_ref().filter(is_it) else {
            return;
        };
        let ack = leg.ack(cseq(response), hub.config.max_forwards);
        let sent = hub.send_ack(ack, leg.destination());
        Self::keep_newcomer_ack(hub, client, "", sent);
        let cause = Cause::ended(Released::Us, 111, "An offer after the transfer had failed");
        self.end(hub, now, Ending::of(cause));
    }

    /// A lent party refused our re-INVITE, was silent (408) or could not be reached (503).
    pub(in crate::b2bua) fn lent_refused(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        status: u16,
    ) {
        let Some(transfer) = self.transfer().filter(|it| it.client == Some(client)) else {
            return;
        };
        transfer.client = None;
        if matches!(status, 408 | 481) {
            // It has lost its dialog: there is nothing to go back to.
            if let Some(mut newcomer) = transfer.newcomer.take() {
                // RFC 3261 §12.2.1.2: it is told so, in case that it has not.
                let bye = newcomer.leg.request("BYE", hub.config.max_forwards);
                hub.send(now, bye, newcomer.leg.destination(), |_| Client::Farewell);
                if let Entrance::Lent { from, .. } = newcomer.how {
                    hub.errands.push_back(Errand::Taken { from });
                }
            }
        }
        self.fail_transfer(hub, now, headers::failure_status(status));
    }
}
