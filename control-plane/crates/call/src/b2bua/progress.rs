use std::time::Duration;

use sans_io::Timestamp;
use sip::dialog::{ProvisionalOrder, Received, reliable_rseq};
use sip::message::{Overload, ResponseBuilder};
use sip::transaction::ClientKey;
use sip::{HeaderName, Message};

use super::branch::{Branch, Failure};
use super::call::{Call, Fork, Phase, Reliability};
use super::deadlines::Deadline;
use super::ending::Ending;
use super::headers;
use super::hub::{Client, Hub, tag_of};
use super::leg::cseq;
use super::media::Step;
use super::offered::Answer;
use super::setup::attempt_timeout;
use super::side::{Both, Side};
use super::trickle::Describe as _;
use crate::{Cause, Released};

/// Early dialogs of one call at most; provisional responses of further forks are not passed on.
const FORKS_MAX: usize = 32;

impl Call {
    /// A provisional response of the callee: passed on with its description (early media), in an early dialog of its
    /// own for every fork.
    pub(super) fn handle_provisional(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        response: &Message,
    ) {
        let Some(branch) = self
            .outbound
            .branch(client)
            .filter(|_| self.phase == Phase::Calling)
        else {
            return;
        };
        let dialog = branch.dialog;
        let status = response.status().unwrap_or(100);
        self.note_word(hub, client, status);
        // 199 tells of a fork that is gone; it is for those who asked for it (RFC 6228 §4).
        if matches!(status, 100 | 199) {
            return;
        }
        let Some(fork) = self.fork(hub, client, dialog, tag_of(response, HeaderName::To)) else {
            return;
        };
        let rseq = reliable_rseq(response);
        if let Some(rseq) = rseq {
            if self.outbound.forks[fork].order.receive(rseq) == Received::Ignored {
                return;
            }
            if self.take_early_offer(hub, now, fork, response, rseq) {
                return;
            }
            self.send_prack(hub, now, fork, response, rseq, None);
        }
        let answer = self.early_answer(hub, now, fork, response);
        if answer.is_some() && rseq.is_some() {
            self.early_agreed(fork);
        }
        let body = answer.map(|answer| self.describe_answer(Side::Caller, &answer));
        self.record.ringing(now);
        if self.provisional_is_reliable(fork, rseq.is_some()) {
            self.pass_reliably(hub, now, fork, response, body);
            return;
        }
        let Some(inbound) = self
            .inbound
            .as_ref()
            .filter(|it| it.reliability != Reliability::Required)
        else {
            // All that the caller takes is reliable, and a reliable response to an INVITE without an offer would have
            // to bring one (RFC 3262 §5), which we have not.
            return;
        };
        let body = body.filter(|_| {
            let provisionals = &self.outbound.forks[fork].provisionals;
            !provisionals.as_ref().is_some_and(|it| it.will_be_described())
        });
        let contact = hub.contact_at(&inbound.source);
        let phrase = headers::phrase(response);
        let mut passed = ResponseBuilder::for_request(&inbound.invite, status, &phrase)
            .to_tag(&self.outbound.forks[fork].caller_tag)
            .record_routes()
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Allow, headers::ALLOW);
        passed = headers::pass_back(passed, response);
        if let Some(body) = &body {
            passed = passed.describe(body);
        }
        hub.respond(now, inbound.server, passed);
    }

    /// The place of a fork, new or known; `None` when there are too many.
    fn fork(&mut self, hub: &mut Hub, client: ClientKey, dialog: usize, callee_tag: &str) -> Option<usize> {
        if let Some(place) = self.outbound.place(client, callee_tag) {
            return Some(place);
        }
        if self.outbound.forks.len() >= FORKS_MAX {
            return None;
        }
        let caller_tag = hub.tag();
        self.add_caller_tag(hub, caller_tag.clone());
        self.outbound.forks.push(Fork {
            client,
            dialog,
            callee_tag: callee_tag.to_owned(),
            caller_tag,
            answer: None,
            order: ProvisionalOrder::default(),
            has_agreed: false,
            provisionals: None,
            is_relayed: false,
            is_over: false,
            agreed: None,
            legs: Both::default(),
        });
        Some(self.outbound.forks.len() - 1)
    }

    /// Makes the dialog with the caller of that tag of ours known.
    pub(super) fn add_caller_tag(&mut self, hub: &mut Hub, tag: String) {
        hub.add_dialog(&self.caller_call_id, &tag, self.key, Side::Caller);
        self.caller_tags.push(tag);
    }

    /// The description in a provisional response, if it is a usable answer to the caller's offer. The media node is
    /// told, and nobody waits for it: of several forks it relays the first that has a description.
    fn early_answer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        fork: usize,
        response: &Message,
    ) -> Option<Answer> {
        let inbound = self.inbound.as_ref()?;
        let offer = inbound.offer.as_ref()?;
        let offers = inbound.offers.get(self.outbound.forks[fork].dialog)?;
        if self.outbound.forks[fork].has_agreed || headers::has_description(response) != Ok(true) {
            return None;
        }
        let session = hub.read_session(response.body()).ok()?;
        let answer = offer.answered(Side::Caller, offers, session);
        let answer = answer.inspect_err(|misfit| misfit.count(hub)).ok()?;
        let relayed = self
            .outbound
            .relayed()
            .filter(|&it| !self.outbound.forks[it].is_over);
        if relayed.is_none_or(|relayed| relayed == fork) {
            self.relay_fork(hub, now, fork, Step::Early, answer.lines.clone());
        }
        self.outbound.forks[fork].answer = Some(answer.session.clone());
        Some(answer)
    }

    /// A failure of the callee: the caller's answer, unless others are still asked or have their turn now.
    pub(super) fn handle_failure(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        response: &Message,
    ) {
        let Some(branch) = self.outbound.take_branch(client) else {
            return;
        };
        let status = response.status().unwrap_or(500);
        if self.phase != Phase::Calling {
            return;
        }
        let min_s = response.number(HeaderName::MinSe).ok().flatten();
        if status == 422
            && let Some(min_s) = min_s
            && self.lengthen_session(hub, now, &branch, min_s, cseq(response))
        {
            return;
        }
        let hop = self.outbound.hops.get(branch.hop);
        let is_contact = hop.is_some_and(|hop| hop.contact.is_some());
        // Who says by a share how much less it wants does not want to be left alone.
        let has_share = hop.is_some_and(|hop| hub.trunks.obeys(&hop.destination))
            && response
                .via()
                .is_ok_and(|via| matches!(Overload::of(&via), Some(Ok(word)) if word.percent > 0));
        if let Some(seconds) = headers::retry_after(response).filter(|_| status == 503 && !has_share)
            && let Some(hop) = hop.filter(|_| !is_contact)
        {
            let rest = Duration::from_secs(seconds.into()).min(hub.config.rest_max);
            hub.counters.next_hops_rested += 1;
            hub.trunks.rest(&hop.destination, now + rest);
        }
        if !self.follow(hub, now, &branch, response) {
            self.branch_refused(hub, now, &branch, response);
        }
    }

    /// A branch has failed with `response`, and nothing else comes of that.
    pub(super) fn branch_refused(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        branch: &Branch,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(500);
        let hop = self.outbound.hops.get(branch.hop);
        let is_contact = hop.is_some_and(|hop| hop.contact.is_some());
        // RFC 5626 §5.3: 430 says that a flow has failed, and nothing of the device at its end.
        let goes_on = status == 503
            || is_contact && status == 430
            || hop
                .and_then(|hop| hop.failover.as_ref())
                .is_some_and(|failover| failover.codes.contains(&status));
        let contacts = self.passed_contacts(hub, branch, response);
        let passed = match contacts.is_empty() {
            true => headers::failure_status(status),
            false => status,
        };
        // A phrase that belongs to another status would mislead.
        let phrase = match passed == status {
            true => headers::phrase(response),
            false => sip::message::reason_phrase(passed).to_owned(),
        };
        let mut cause = Cause::failed(Released::Callee, passed, phrase.clone());
        let q850 = headers::q850(response);
        cause.q850 = q850.unwrap_or(cause.q850);
        let reason = q850.map(|_| cause.reason_header());
        let retry_after = headers::retry_after(response);
        let ending = Ending {
            contacts,
            phrase: Some(phrase),
            reason,
            retry_after,
            ..Ending::of(cause)
        };
        let failure = Failure {
            ending,
            at: None,
            is_spared: false,
        };
        self.branch_failed(hub, now, branch, failure, goes_on);
    }

    /// No response at all from a next hop (timer B), or the transport could not reach it.
    pub(super) fn handle_lost_attempt(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        timed_out: bool,
    ) {
        let Some(branch) = self.outbound.take_branch(client) else {
            return;
        };
        if self.phase != Phase::Calling {
            return;
        }
        let (status, text) = match timed_out {
            true => (408, "No response from the callee"),
            false => (503, "The next hop cannot be reached"),
        };
        let failure = Failure::of(Cause::failed(Released::Us, status, text));
        self.branch_failed(hub, now, &branch, failure, true);
    }

    /// A next hop gets the INVITE once more, with credentials: it has as long again to say something.
    pub(super) fn invite_repeated(&mut self, hub: &mut Hub, now: Timestamp, client: ClientKey) {
        if self.phase == Phase::Calling
            && let Some(branch) = self.outbound.branch(client)
        {
            branch.is_heard = false;
            self.await_word(hub, now);
        }
    }

    /// A next hop has the INVITE. One that has a limit of its own for ringing is not heard before it rings.
    fn note_word(&mut self, hub: &mut Hub, client: ClientKey, status: u16) {
        let Some(branch) = self.outbound.branch(client) else {
            return;
        };
        let (hop, was_heard) = (branch.hop, branch.is_heard);
        let limit = self.outbound.hops.get(hop).and_then(attempt_timeout);
        let has_next = self.outbound.has_next();
        if let Some(limit) = limit.filter(|_| status == 100 && !was_heard && has_next)
            && let Some(Client::Attempt(attempt)) = hub.clients.get(&client)
        {
            let at = attempt.began + limit;
            hub.deadlines.set(self.key, Deadline::NextHop, at);
            return;
        }
        if let Some(branch) = self.outbound.branch(client) {
            branch.is_heard = true;
        }
        if self.outbound.branches.iter().all(|branch| branch.is_heard) {
            hub.deadlines.clear(self.key, Deadline::NextHop);
        }
    }
}
