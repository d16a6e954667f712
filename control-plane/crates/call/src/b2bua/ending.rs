use sans_io::Timestamp;
use sip::message::{ResponseBuilder, reason_phrase};
use sip::transaction::ServerKey;
use sip::{HeaderName, Message};

use super::call::{Call, Phase};
use super::deadlines::Deadline;
use super::headers;
use super::hub::{Client, Hub};
use super::leg::Bye;
use super::redirect::with_contacts;
use super::side::Side;
use crate::{Cause, Output, Released, status_of_q850};

/// How a call ends, and what the parties are told.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    /// The reason phrase for the caller's INVITE; `None` takes the status' own.
    pub(super) phrase: Option<String>,
    /// The `Reason` for those who are told; `None` makes one of the cause, except in the response to the INVITE.
    pub(super) reason: Option<String>,
    /// `Contact` in a redirection of the caller.
    pub(super) contacts: Vec<String>,
    /// `Retry-After` in the response to the INVITE, in seconds.
    pub(super) retry_after: Option<u32>,
    /// The party that needs no BYE, because it sent one.
    pub(super) gone: Option<Side>,
}

impl Ending {
    pub(super) const fn of(cause: Cause) -> Self {
        Self {
            cause,
            phrase: None,
            reason: None,
            contacts: Vec::new(),
            retry_after: None,
            gone: None,
        }
    }
}

impl Call {
    /// Ends the call, in whatever phase it is: writes the record, then tells the parties that don't know yet, and
    /// frees the media. Does so once.
    pub(super) fn end(&mut self, hub: &mut Hub, now: Timestamp, ending: Ending) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        let mut ending = ending;
        if !self.record.is_answered() && ending.cause.sip_status < 300 {
            // What ends an answered call has ended one that is not: an UPDATE in its early dialog failed.
            ending.cause.sip_status = 500;
        }
        hub.counters.calls_ended += 1;
        hub.trunks.release(self.key);
        hub.callers.end(self.key);
        let Ending { cause, .. } = &ending;
        tracing::info!(
            released = cause.released.as_str(),
            status = cause.sip_status,
            q850 = cause.q850,
            text = %cause.text,
            "ended"
        );
        // Before anything that tells a party so: whoever knows that the call is over may rely on its record.
        hub.output(Output::Cdr(self.record.ended(now, ending.cause.clone())));
        for deadline in [
            Deadline::NextHop,
            Deadline::Branch,
            Deadline::Ring,
            Deadline::Provisional,
            Deadline::Exchange,
            Deadline::Duration,
            Deadline::Session(Side::Caller),
            Deadline::Session(Side::Callee),
        ] {
            hub.deadlines.clear(self.key, deadline);
        }
        let reason = ending
            .reason
            .clone()
            .unwrap_or_else(|| ending.cause.reason_header());
        self.answer = None;
        self.finish_provisionals();
        self.acknowledge_answer(hub);
        self.acknowledge_late(hub, None);
        self.refuse_invite(hub, now, &ending);
        self.leave_early(hub, now);
        self.abandon_exchange(hub, now);
        self.cancel_branches(hub, now, Some(&reason));
        self.abandon_transfer(hub, now, ending.cause.sip_status);
        for side in Side::BOTH {
            if ending.gone == Some(side) {
                self.hung_up(hub, side);
            } else {
                self.hang_up(hub, now, side, Some(&reason));
            }
        }
        self.media.release(hub, now);
    }

    fn refuse_invite(&mut self, hub: &mut Hub, now: Timestamp, ending: &Ending) {
        let Some(inbound) = self.inbound.take() else {
            return;
        };
        let status = ending.cause.sip_status.max(300);
        let phrase = ending.phrase.as_deref().unwrap_or(reason_phrase(status));
        // All responses of one early dialog have its tag (RFC 3261 §8.2.6.2); with none or several, a new one does.
        let tag = self.caller_tags.first().cloned().unwrap_or_else(|| hub.tag());
        let mut response = ResponseBuilder::for_request(&inbound.invite, status, phrase).to_tag(&tag);
        if let Some(seconds) = ending.retry_after {
            response = response.header(HeaderName::RetryAfter, seconds);
        }
        if let Some(reason) = ending
            .reason
            .as_deref()
            .filter(|_| ending.cause.released != Released::Caller)
        {
            response = response.header(HeaderName::Reason, reason);
        }
        response = with_contacts(response, &ending.contacts);
        hub.respond(now, inbound.server, response);
    }

    /// Sends a BYE to a party whose dialog stands; later, if it has yet to acknowledge our first 2xx.
    pub(super) fn hang_up(&mut self, hub: &mut Hub, now: Timestamp, side: Side, reason: Option<&str>) {
        let key = self.key;
        let Some(leg) = self.legs[side].as_mut().filter(|leg| leg.bye == Bye::No) else {
            return;
        };
        if leg.accept.is_some() {
            leg.bye = Bye::Wanted;
            return;
        }
        let mut bye = leg.request("BYE", hub.config.max_forwards);
        if let Some(reason) = reason {
            bye = bye.header(HeaderName::Reason, reason);
        }
        let sent = hub.send(now, bye, leg.destination(), |_| Client::Bye { call: key, side });
        leg.bye = if sent.is_some() { Bye::Sent } else { Bye::Done };
    }

    /// A party's dialog is over: by its BYE, or by the end of ours.
    pub(super) fn hung_up(&mut self, hub: &mut Hub, side: Side) {
        if let Some(leg) = &mut self.legs[side] {
            leg.bye = Bye::Done;
            leg.accept = None;
            hub.deadlines.clear(self.key, Deadline::Accept(side));
        }
    }

    /// A party's BYE, in an early dialog (RFC 3261 §15: the caller's only), before its ACK, crossing ours, or in
    /// the ordinary way. The record is written before the 200.
    pub(super) fn handle_bye(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        key: ServerKey,
        bye: &Message,
    ) {
        if self.phase == Phase::Ended {
            self.hung_up(hub, side);
        } else if !self.transferor_leaves(hub, side) {
            let mut cause = headers::bye_cause(side.released(), bye);
            if !self.record.is_answered() {
                // RFC 3398 §7.2.4: what a gateway says in its BYE is what the caller would have got for the call.
                let told = headers::q850(bye);
                let status = match side {
                    Side::Caller => 487,
                    Side::Callee => told.map_or(480, status_of_q850),
                };
                cause = Cause::failed(side.released(), status, "Hung up before the answer");
                cause.q850 = told.unwrap_or(cause.q850);
            }
            let reason = headers::reason(bye);
            self.end(
                hub,
                now,
                Ending {
                    reason,
                    gone: Some(side),
                    ..Ending::of(cause)
                },
            );
        }
        hub.respond(now, key, ResponseBuilder::for_request(bye, 200, "OK"));
    }

    /// The caller's CANCEL: its INVITE gets 487, the callee a CANCEL, or a BYE if its answer is on the way through
    /// us (RFC 3261 §9).
    pub(super) fn handle_cancel(&mut self, hub: &mut Hub, now: Timestamp, cancel: &Message) {
        let mut cause = Cause::failed(Released::Caller, 487, "Cancelled by the caller");
        cause.q850 = headers::q850(cancel).unwrap_or(cause.q850);
        let reason = headers::reason(cancel);
        self.end(
            hub,
            now,
            Ending {
                reason,
                ..Ending::of(cause)
            },
        );
    }

    /// The call has reached the longest duration that is configured.
    pub(super) fn lasted_too_long(&mut self, hub: &mut Hub, now: Timestamp) {
        self.end(
            hub,
            now,
            Ending::of(Cause::ended(Released::Us, 31, "Longest duration reached")),
        );
    }
}
