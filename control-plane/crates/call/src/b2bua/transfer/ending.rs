use sans_io::Timestamp;
use sip::message::{ResponseBuilder, reason_phrase};
use sip::transaction::ServerKey;
use sip::{HeaderName, Message, Method};

use super::{Entrance, Errand, Newcomer, Transfer};
use crate::Cause;
use crate::b2bua::call::{Call, Phase};
use crate::b2bua::deadlines::Deadline;
use crate::b2bua::ending::Ending;
use crate::b2bua::hub::{Client, Hub, tag_of};
use crate::b2bua::leg::Bye;
use crate::b2bua::side::Side;

impl Call {
    /// The transfer under way comes to nothing: the newcomer goes, the transferor is told `status`, and the two parties have
    /// their call back; unless the transferor has left it.
    pub(super) fn fail_transfer(&mut self, hub: &mut Hub, now: Timestamp, status: u16) {
        let Some(mut transfer) = self.transfers.as_mut().and_then(|it| it.current.take()) else {
            return;
        };
        tracing::info!(status, "the transfer failed");
        hub.counters.transfers_failed += 1;
        hub.trunks.release(self.key.of_newcomer());
        hub.deadlines.clear(self.key, Deadline::Transfer);
        if let Some(client) = transfer.client.take() {
            // A 2xx that crosses is acknowledged, and hung up on if it is the newcomer's.
            hub.cancel(now, client, None);
        }
        if let Some(newcomer) = transfer.newcomer.take() {
            self.send_away(hub, now, newcomer, status);
        }
        let by = transfer.by;
        if let Some(leg) = &mut self.legs[by.other()] {
            leg.negotiation.abandon();
        }
        if let (Some(referral), Some(leg)) = (&mut transfer.referral, &mut self.legs[by]) {
            referral.tell(hub, now, self.key, leg, status.max(300));
        }
        match self.phase {
            Phase::Answered => {}
            Phase::Reserving | Phase::Calling | Phase::Ended => return,
            Phase::Answering => {
                let cause = Cause::failed(by.released(), 480, "Picked up, and hung up before the answer");
                self.end(hub, now, Ending::of(cause));
                return;
            }
        }
        let Transfer {
            has_left,
            extended,
            referral,
            ..
        } = transfer;
        if has_left {
            let text = match self.legs[by] {
                Some(_) => "Hung up, and the transfer failed",
                None => "Picked up, and the caller did not get to who did",
            };
            let cause = Cause::ended(by.released(), 16, text);
            let gone = Some(by);
            self.end(
                hub,
                now,
                Ending {
                    gone,
                    ..Ending::of(cause)
                },
            );
        } else {
            if let Some(transfers) = &mut self.transfers {
                transfers.told_last = referral
                    .filter(|referral| !referral.is_done())
                    .map(|referral| (by, referral));
            }
            if extended {
                self.restore_media(hub, now);
            }
        }
    }

    fn send_away(&mut self, hub: &mut Hub, now: Timestamp, newcomer: Newcomer, status: u16) {
        let Newcomer {
            mut leg,
            how,
            origin,
            policy,
            has_offered,
            ..
        } = newcomer;
        let max_forwards = hub.config.max_forwards;
        match how {
            Entrance::Came { server, invite, .. } => {
                let status = status.max(300);
                let tag = leg.local_tag().to_owned();
                let response =
                    ResponseBuilder::for_request(&invite, status, reason_phrase(status)).to_tag(&tag);
                hub.respond(now, server, response);
                return;
            }
            Entrance::Lent {
                from,
                side,
                client,
                cseq,
                ..
            } if !has_offered => {
                hub.errands.push_back(Errand::Returned {
                    from: self.key,
                    to: from,
                    side,
                    leg,
                    origin,
                    policy,
                    asked: client.map(|client| (client, cseq)),
                });
                return;
            }
            // It has offered in its 2xx and there is no answer to give: its session is over.
            Entrance::Lent {
                from, client, cseq, ..
            } => {
                let sent = hub.send_ack(leg.ack(cseq, max_forwards), leg.destination());
                if let Some(client) = client {
                    Self::keep_newcomer_ack(hub, client, "", sent);
                }
                hub.errands.push_back(Errand::Taken { from });
            }
            Entrance::Called {
                client, cseq, fork, ..
            } => {
                let sent = hub.send_ack(leg.ack(cseq, max_forwards), leg.destination());
                Self::keep_newcomer_ack(hub, client, &fork, sent);
            }
        }
        let bye = leg.request("BYE", max_forwards);
        hub.send(now, bye, leg.destination(), |_| Client::Farewell);
    }

    /// The call is over: so is its transfer, with the `status` of that, and nobody waits for a BYE of those who have been replaced.
    pub(in crate::b2bua) fn abandon_transfer(&mut self, hub: &mut Hub, now: Timestamp, status: u16) {
        // A call that ended well leaves a request that was under way terminated.
        self.fail_transfer(hub, now, if status < 300 { 487 } else { status });
        hub.trunks.release(self.key.of_newcomer());
        if let Some(transfers) = &mut self.transfers {
            for departed in &mut transfers.departed {
                departed.bye_at = now;
            }
        }
        self.dismiss_departed(hub, now);
    }

    /// The transferor's BYE while its transfer is under way ends its own leg alone (RFC 5589 §6). False if it is no such.
    pub(in crate::b2bua) fn transferor_leaves(&mut self, hub: &mut Hub, side: Side) -> bool {
        let Some(transfer) = self.transfer().filter(|transfer| transfer.by == side) else {
            return false;
        };
        transfer.has_left = true;
        hub.deadlines.clear(self.key, Deadline::Session(side));
        self.hung_up(hub, side);
        if let Some(leg) = &mut self.legs[side] {
            leg.session = None;
        }
        true
    }

    /// A request of somebody who is not one of the two parties: who has been replaced, or who comes. False if it is
    /// neither.
    pub(in crate::b2bua) fn handle_outsider(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        key: ServerKey,
        request: &Message,
    ) -> bool {
        let (theirs, ours) = (tag_of(request, HeaderName::From), tag_of(request, HeaderName::To));
        let is_it = |leg: &crate::b2bua::leg::Leg| leg.remote_tag() == theirs && leg.local_tag() == ours;
        let is_bye = request.method() == Some(Method::Bye);
        let Some(transfers) = &mut self.transfers else {
            return false;
        };
        if let Some(departed) = transfers.departed.iter_mut().find(|it| is_it(&it.leg)) {
            let status = match departed.leg.dialog().handle_request(request) {
                Err(error) => error.status(),
                Ok(()) if is_bye => {
                    departed.has_left = true;
                    departed.leg.bye = Bye::Done;
                    200
                }
                // Its place is taken.
                Ok(()) => 481,
            };
            respond(hub, now, key, request, status);
            self.dismiss_departed(hub, now);
            return true;
        }
        let newcomer = transfers.current.as_mut().and_then(|it| it.newcomer.as_mut());
        let Some(newcomer) = newcomer.filter(|newcomer| is_it(&newcomer.leg)) else {
            return false;
        };
        let status = match newcomer.leg.dialog().handle_request(request) {
            Err(error) => error.status(),
            Ok(()) if is_bye => 200,
            Ok(()) => 491,
        };
        let leaves = is_bye && status == 200;
        if leaves {
            self.newcomer_leaves(hub, now);
        }
        respond(hub, now, key, request, status);
        true
    }

    /// The newcomer's BYE before it has its place.
    fn newcomer_leaves(&mut self, hub: &mut Hub, now: Timestamp) {
        let newcomer = self.transfer().and_then(|it| it.newcomer.take());
        if let Some(newcomer) = newcomer
            && let Entrance::Lent { from, .. } = newcomer.how
        {
            hub.errands.push_back(Errand::Taken { from });
        }
        self.fail_transfer(hub, now, 480);
    }

    /// The caller of an INVITE with `Replaces` has cancelled it.
    pub(in crate::b2bua) fn newcomer_cancels(&mut self, hub: &mut Hub, now: Timestamp, invite: ServerKey) {
        let newcomer = self.transfer().and_then(|it| it.newcomer.as_ref());
        let is_it =
            newcomer.is_some_and(|it| matches!(it.how, Entrance::Came { server, .. } if server == invite));
        // Once the party that stays has answered it is too late.
        if is_it && self.transfer().is_none_or(|it| it.answer.is_none()) {
            self.fail_transfer(hub, now, 487);
        }
    }
}

fn respond(hub: &mut Hub, now: Timestamp, key: ServerKey, request: &Message, status: u16) {
    hub.respond(
        now,
        key,
        ResponseBuilder::for_request(request, status, reason_phrase(status)),
    );
}
