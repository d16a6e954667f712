//! Session timers (RFC 4028), on each leg by itself: a party that has them is refreshed, or refreshes, whatever the
//! other one has.

use std::time::Duration;

use sans_io::Timestamp;
use sip::dialog::{
    Refresher, SessionAgreed, SessionExpires, SessionPolicy, SessionStep, SessionTimer, TIMER,
};
use sip::message::{RequestBuilder, ResponseBuilder};
use sip::transaction::{ClientKey, ServerKey};
use sip::{HeaderName, Message};

use super::call::{Call, Phase};
use super::deadlines::Deadline;
use super::ending::Ending;
use super::headers;
use super::hub::{Client, Hub};
use super::leg::{Leg, cseq};
use super::requests::Refusal;
use super::side::Side;
use super::trickle::Describe as _;
use crate::{Cause, Released};

/// How long a refresh waits for another request on its leg.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// Adds what a request to `leg` says of its session: roles stay as they are (RFC 4028 §7.4).
pub(super) fn ask(builder: RequestBuilder, leg: &Leg, policy: &SessionPolicy) -> RequestBuilder {
    let builder = builder.header(HeaderName::Supported, headers::SUPPORTED);
    let Some(timer) = &leg.session else { return builder };
    let refresher = match timer.we_refresh() {
        true => Refresher::Uac,
        false => Refresher::Uas,
    };
    builder
        .header(
            HeaderName::SessionExpires,
            format_args!("{};refresher={}", timer.interval_s(), refresher.as_str()),
        )
        .header(HeaderName::MinSe, policy.min_s)
}

/// Adds what a 2xx of ours agrees to.
pub(super) fn agree<'a>(builder: ResponseBuilder<'a>, agreed: Option<&SessionAgreed>) -> ResponseBuilder<'a> {
    let Some(agreed) = agreed else { return builder };
    let builder = builder.header(
        HeaderName::SessionExpires,
        format_args!("{};refresher={}", agreed.interval_s, agreed.refresher.as_str()),
    );
    match agreed.is_required {
        true => builder.header(HeaderName::Require, TIMER),
        false => builder,
    }
}

impl Call {
    /// What our 2xx to `request` of a party agrees to. A party that takes UPDATE is refreshed even if it knows no session
    /// timers.
    pub(super) fn agree_session(hub: &Hub, request: &Message, leg: Option<&Leg>) -> Option<SessionAgreed> {
        let takes_update = headers::allows_update(request) || leg.is_some_and(|leg| leg.takes_update);
        hub.config.session.answer(request, takes_update)
    }

    /// Our 2xx to a party's request was sent: its session runs anew, or without a limit.
    pub(super) fn session_answered(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        request: &Message,
        agreed: Option<&SessionAgreed>,
    ) {
        let timer = agreed
            .map(|agreed| SessionTimer::new(now, agreed.interval_s, agreed.refresher == Refresher::Uas));
        self.start_session(hub, side, request, timer);
    }

    /// A party's 2xx to a request of ours that refreshes its session.
    pub(super) fn session_accepted(&mut self, hub: &mut Hub, now: Timestamp, side: Side, response: &Message) {
        let timer = match SessionExpires::of(response) {
            Some(told) => {
                let interval_s = told.interval_s.max(hub.config.session.min_s);
                Some(SessionTimer::new(
                    now,
                    interval_s,
                    told.refresher != Some(Refresher::Uas),
                ))
            }
            None => {
                let takes_update = headers::allows_update(response)
                    || self.legs[side].as_ref().is_some_and(|leg| leg.takes_update);
                takes_update.then(|| SessionTimer::new(now, hub.config.session.interval_s, true))
            }
        };
        self.start_session(hub, side, response, timer);
    }

    fn start_session(&mut self, hub: &mut Hub, side: Side, message: &Message, timer: Option<SessionTimer>) {
        if self.phase != Phase::Answered {
            return;
        }
        let Some(leg) = &mut self.legs[side] else { return };
        if message.has(HeaderName::Allow) {
            leg.takes_update = headers::allows_update(message);
        }
        leg.session = timer.map(Box::new);
        if !leg.needs_description() {
            leg.description = None;
        }
        match timer {
            Some(timer) => hub
                .deadlines
                .set(self.key, Deadline::Session(side), timer.poll_timeout()),
            None => hub.deadlines.clear(self.key, Deadline::Session(side)),
        }
    }

    /// An UPDATE that refreshes the session of its sender and says nothing of media: it is answered by us, for the other
    /// party has a session of its own.
    pub(super) fn answer_refresh(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        request: &Message,
    ) -> Result<(), Refusal> {
        let agreed = Self::agree_session(hub, request, self.legs[side].as_ref());
        let leg = self.legs[side].as_mut().ok_or_else(|| Refusal::of(481))?;
        // A Contact that cannot be read leaves the target as it was.
        let _ = leg.dialog().refresh_target(request);
        let response = ResponseBuilder::for_request(request, 200, "OK")
            .header(HeaderName::Contact, leg.contact())
            .header(HeaderName::Allow, headers::ALLOW);
        hub.respond(now, server, agree(response, agreed.as_ref()));
        self.session_answered(hub, now, side, request, agreed.as_ref());
        Ok(())
    }

    /// A session wants its refresh, or was not refreshed in time.
    pub(super) fn session_due(&mut self, hub: &mut Hub, now: Timestamp, side: Side) {
        let Some(timer) = self.legs[side].as_mut().and_then(|leg| leg.session.as_mut()) else {
            return;
        };
        match timer.handle_timeout(now) {
            Some(SessionStep::Expired) => {
                hub.counters.sessions_expired += 1;
                let cause = Cause::ended(Released::Us, 102, "Session timer expired");
                self.end(hub, now, Ending::of(cause));
                return;
            }
            Some(SessionStep::Refresh) => self.refresh_session(hub, now, side),
            None => {}
        }
        self.set_session_deadline(hub, side);
    }

    /// The session of a party that has come back goes on.
    pub(super) fn resume_session(&self, hub: &mut Hub, side: Side) {
        self.set_session_deadline(hub, side);
    }

    fn set_session_deadline(&self, hub: &mut Hub, side: Side) {
        if self.phase == Phase::Ended {
            return;
        }
        if let Some(timer) = self.legs[side].as_ref().and_then(|leg| leg.session.as_ref()) {
            hub.deadlines
                .set(self.key, Deadline::Session(side), timer.poll_timeout());
        }
    }

    /// Sends a refresh: an UPDATE without an offer if the party takes it, else a re-INVITE with the description that it
    /// has (RFC 4028 §7.4, §9).
    fn refresh_session(&mut self, hub: &mut Hub, now: Timestamp, side: Side) {
        let is_engaged = self.is_joining()
            || self.exchange.is_some()
            || self.late.is_some()
            || self.phase != Phase::Answered;
        let Some(leg) = &mut self.legs[side] else { return };
        let body = leg.description.clone();
        let is_blocked = leg.is_busy() || leg.refreshing.is_some() || (is_engaged && !leg.takes_update);
        if is_blocked || (!leg.takes_update && body.is_none()) {
            if let Some(timer) = &mut leg.session {
                timer.retry(now, Some(BUSY_WAIT));
            }
            return;
        }
        let method = if leg.takes_update { "UPDATE" } else { "INVITE" };
        let request = leg
            .request(method, hub.config.max_forwards)
            .header(HeaderName::Allow, headers::ALLOW);
        let mut request = ask(request, leg, &hub.config.session);
        if let Some(body) = body.filter(|_| method == "INVITE") {
            request = request.describe(&body);
        }
        let (key, destination) = (self.key, leg.destination());
        let client = hub.send(now, request, destination, |_| Client::Refresh {
            call: key,
            side,
            ack: None,
        });
        leg.refreshing = client;
        if let (None, Some(timer)) = (client, &mut leg.session) {
            timer.retry(now, None);
        }
    }

    /// The 2xx to a refresh.
    pub(super) fn refreshed(
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
        if response
            .cseq()
            .is_ok_and(|cseq| cseq.method == sip::Method::Invite)
        {
            let sent = hub.send_ack(leg.ack(cseq(response), max_forwards), leg.destination());
            if let Some(Client::Refresh { ack, .. }) = hub.clients.get_mut(&client) {
                *ack = sent.map(Box::new);
            }
        }
        if leg.refreshing.take_if(|it| *it == client).is_some() && self.phase == Phase::Answered {
            self.session_accepted(hub, now, side, response);
        }
    }

    /// A refresh failed. Only a party that has lost the dialog ends the session; for all else it goes on to its end, and
    /// the refresh is tried again (RFC 4028 §10).
    pub(super) fn refresh_failed(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        side: Side,
        status: u16,
        response: Option<&Message>,
    ) {
        let Some(leg) = &mut self.legs[side] else { return };
        if leg.refreshing.take_if(|it| *it == client).is_none() || self.phase != Phase::Answered {
            return;
        }
        if matches!(status, 408 | 481) {
            let cause = Cause::ended(Released::Us, 102, "The party has lost the dialog");
            self.end(hub, now, Ending::of(cause));
            return;
        }
        let wait = match status {
            // RFC 3261 §14.1: 2.1 to 4 seconds for the owner of the Call-ID, up to 2 for the other one.
            491 if side == Side::Callee => Some(Duration::from_millis(2_100 + hub.random.below(191) * 10)),
            491 => Some(Duration::from_millis(hub.random.below(201) * 10)),
            _ => None,
        };
        if matches!(status, 405 | 501) && leg.takes_update {
            // It said that it takes UPDATE and does not: it is there, and has no session that could be refreshed.
            leg.session = None;
            hub.deadlines.clear(self.key, Deadline::Session(side));
            return;
        }
        let min_s = response.and_then(|response| response.number(HeaderName::MinSe).ok().flatten());
        if let Some(timer) = &mut leg.session {
            timer.retry(now, wait);
            if let Some(min_s) = min_s.filter(|&min_s| status == 422 && min_s > timer.interval_s()) {
                timer.lengthen(now, min_s);
            }
        }
        self.set_session_deadline(hub, side);
    }
}
