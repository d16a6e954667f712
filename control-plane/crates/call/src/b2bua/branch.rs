//! Where the INVITE goes: to next hops one after the other, to a user's contacts by preference and at once (RFC 3261
//! §16.6 and §16.7, as one who answers the caller itself does it).

use std::net::SocketAddr;
use std::ops::Range;

use guard::Rank;
use sans_io::Timestamp;
use sip::transaction::ClientKey;

use super::call::{Call, Outbound, Phase};
use super::deadlines::Deadline;
use super::ending::Ending;
use super::hub::Hub;
use super::setup::attempt_timeout;
use crate::{Cause, NextHop, Released};

/// Whoever loses is told that another one has answered (RFC 3326 §2).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// One next hop that has our INVITE and has not answered it finally.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) client: ClientKey,
    /// Its place among the call's next hops.
    pub(super) hop: usize,
    /// The place of its dialog among the call's.
    pub(super) dialog: usize,
    /// How often it got the INVITE again because it wants a longer session.
    pub(super) retries: u8,
    /// The session interval that it was asked for, in seconds.
    pub(super) session_s: u32,
    /// Its `Max-Breadth`, if it has one.
    pub(super) breadth: Option<u32>,
    /// It has said something.
    pub(super) is_heard: bool,
}

/// How a branch failed: what the caller gets when nobody answers.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) ending: Ending,
    /// The branch: where it was, and its `Call-ID`.
    pub(super) at: Option<(SocketAddr, String)>,
    /// The next hop was spared: it is overloaded, and we are not.
    pub(super) is_spared: bool,
}

impl Failure {
    pub(super) fn of(cause: Cause) -> Self {
        Self {
            ending: Ending::of(cause),
            at: None,
            is_spared: false,
        }
    }

    fn status(&self) -> u16 {
        self.ending.cause.sip_status
    }

    /// The order in which RFC 3261 §16.7 step 6 chooses among several; the lowest is the best.
    fn rank(&self) -> u8 {
        match self.status() {
            600.. => 0,
            300..400 => 1,
            // What the caller can mend by itself.
            415 | 420 | 484 | 488 => 2,
            // Somebody is there.
            486 => 3,
            // Nobody said anything, or was asked any longer.
            408 | 487 => 5,
            ..500 => 4,
            503 => 7,
            _ => 6,
        }
    }
}

/// Whether two next hops are ways to one device of a user (RFC 5626 §6).
fn is_same_device(a: &NextHop, b: &NextHop) -> bool {
    let is_contact = a.contact.is_some() && b.contact.is_some();
    is_contact && (a.place.rank, a.place.server) == (b.place.rank, b.place.server)
}

/// The next hops that are called at once, from the first of `hops` on: one that routes by itself, or a user's contacts
/// of one preference.
fn group(hops: &[NextHop]) -> &[NextHop] {
    let is_of_group = |first: &NextHop, hop: &NextHop| {
        first.contact.is_some() && hop.contact.is_some() && first.place.rank == hop.place.rank
    };
    let end = hops
        .first()
        .and_then(|first| hops.iter().skip(1).position(|hop| !is_of_group(first, hop)));
    &hops[..end.map_or(hops.len(), |end| end + 1)]
}

/// How many branches `hops` make at once at the most.
pub(super) fn breadth(mut hops: &[NextHop]) -> usize {
    let mut widest = 0;
    while !hops.is_empty() {
        let group = group(hops);
        widest = widest.max(group.chunk_by(is_same_device).count());
        hops = &hops[group.len()..];
    }
    widest
}

impl Outbound {
    /// The branch of an INVITE transaction.
    pub(super) fn branch(&mut self, client: ClientKey) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.client == client)
    }

    /// Takes out a branch that has its final response.
    pub(super) fn take_branch(&mut self, client: ClientKey) -> Option<Branch> {
        let place = self.branches.iter().position(|branch| branch.client == client)?;
        Some(self.branches.remove(place))
    }

    /// Whether somebody is left who has not been called.
    pub(super) fn has_next(&self) -> bool {
        usize::from(self.next) < self.hops.len()
    }

    /// Another way to the device of a branch.
    fn alternate(&self, hop: usize) -> Option<usize> {
        let (this, other) = (self.hops.get(hop)?, self.hops.get(hop + 1)?);
        is_same_device(this, other).then_some(hop + 1)
    }

    fn has_alternate(&self) -> bool {
        self.branches
            .iter()
            .any(|branch| self.alternate(branch.hop).is_some())
    }

    /// Those whose turn it is, which they have had then.
    fn take_group(&mut self) -> Option<Range<usize>> {
        let next = usize::from(self.next);
        let rest = self.hops.get(next..).filter(|rest| !rest.is_empty())?;
        let group = next..next + group(rest).len();
        // Who would be beyond 65,535 others is not called.
        self.next = u16::try_from(group.end).ok()?;
        Some(group)
    }
}

impl Call {
    /// Notes how a branch failed. A next hop that routes by itself has the last word; among contacts the best failure
    /// counts, and the first of those.
    fn note(&mut self, branch: &Branch, mut failure: Failure) {
        let (hop, dialog) = (
            self.outbound.hops.get(branch.hop),
            self.outbound.dialogs.get(branch.dialog),
        );
        failure.at = hop
            .zip(dialog)
            .map(|(hop, (call_id, _))| (hop.destination.remote, call_id.clone()));
        let is_contact = hop.is_some_and(|hop| hop.contact.is_some());
        let Some(inbound) = &mut self.inbound else { return };
        let is_better = |known: &Failure| !is_contact || failure.rank() < known.rank();
        if inbound.failure.as_ref().is_none_or(is_better) {
            inbound.failure = Some(failure);
        }
    }

    /// Calls those whose turn it is. When nobody is left the call ends with the best failure.
    pub(super) fn call_next(&mut self, hub: &mut Hub, now: Timestamp) {
        let under_way = self.outbound.branches.len();
        while let Some(group) = self.outbound.take_group() {
            let devices = self.outbound.hops[group.clone()].chunk_by(is_same_device).count();
            let mut hop = group.start;
            for device in 0..devices {
                let breadth = self.breadth_of(device, devices);
                self.call_device(hub, now, hop, breadth);
                while let Some(other) = self.outbound.alternate(hop) {
                    hop = other;
                }
                hop += 1;
            }
            if self.outbound.branches.len() > under_way {
                if self.outbound.hops[group.start].contact.is_some() && self.outbound.has_next() {
                    let at = now + hub.config.branch_ring_timeout;
                    hub.deadlines.set(self.key, Deadline::Branch, at);
                }
                self.await_word(hub, now);
                return;
            }
        }
        if self.outbound.branches.is_empty() {
            self.end_unanswered(hub, now);
        }
    }

    /// The share of the caller's `Max-Breadth` for one of `devices` that are called at once (RFC 5393 §5.3.3); `None`
    /// where the default says the same.
    fn breadth_of(&self, device: usize, devices: usize) -> Option<u32> {
        let inbound = self.inbound.as_ref()?;
        let devices = u32::try_from(devices).unwrap_or(u32::MAX);
        if devices == 1 {
            return inbound.is_breadth_told.then_some(inbound.breadth);
        }
        let rest = if device == 0 { inbound.breadth % devices } else { 0 };
        Some(inbound.breadth / devices + rest)
    }

    /// Calls a device by the first of its ways, from `hop` on, that a request can be sent by.
    fn call_device(&mut self, hub: &mut Hub, now: Timestamp, hop: usize, breadth: Option<u32>) -> bool {
        let mut way = Some(hop);
        while let Some(hop) = way {
            if self.is_admitted(hub, now, hop) && self.send_invite(hub, now, hop, breadth, None) {
                return true;
            }
            way = self.outbound.alternate(hop);
        }
        false
    }

    /// Counts the call to the trunk of a next hop; false if that has as many as it takes.
    fn is_admitted(&mut self, hub: &mut Hub, now: Timestamp, hop: usize) -> bool {
        let rank = self.rank(hub);
        let Some(next_hop) = self.outbound.hops.get(hop) else {
            return true;
        };
        let is_spared = hub.trunks.spares(now, next_hop, rank);
        let text = match is_spared {
            true => {
                hub.counters.next_hops_spared += 1;
                "The next hop is overloaded"
            }
            false if hub.trunks.admit(now, self.key, next_hop) => return true,
            false => {
                hub.counters.next_hops_at_limit += 1;
                "The trunk has as many calls as it takes"
            }
        };
        if let Some(inbound) = &mut self.inbound {
            let failure = || Failure {
                is_spared,
                ..Failure::of(Cause::failed(Released::Us, 503, text))
            };
            inbound.failure.get_or_insert_with(failure);
        }
        false
    }

    /// How important the call is to an overloaded next hop (RFC 7339 §5.10.1).
    pub(super) fn rank(&self, hub: &Hub) -> Rank {
        let inbound = self.inbound.as_deref();
        let uri = inbound.and_then(|inbound| inbound.invite.request_uri());
        let is_users = inbound.is_some_and(|inbound| inbound.account.is_some());
        match uri {
            Some(uri) if hub.config.emergency_numbers.includes(uri) => Rank::Emergency,
            _ if is_users => Rank::UserInvite,
            _ => Rank::TrunkInvite,
        }
    }

    /// Sets the clock for branches that say nothing, if there is somebody else to be called then.
    pub(super) fn await_word(&self, hub: &mut Hub, now: Timestamp) {
        if self.outbound.has_next() || self.outbound.has_alternate() {
            let limits = self.outbound.branches.iter();
            let limits = limits.filter_map(|branch| attempt_timeout(self.outbound.hops.get(branch.hop)?));
            let silence = hub.config.next_hop_timeout;
            let silence = limits.min().map_or(silence, |limit| limit.min(silence));
            hub.deadlines.set(self.key, Deadline::NextHop, now + silence);
        }
    }

    /// A branch is over without an answer: another way to its device has its turn if `by_another_way`, the next in the
    /// list when it was the last one under way, or else the call ends.
    pub(super) fn branch_failed(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        branch: &Branch,
        failure: Failure,
        by_another_way: bool,
    ) {
        let status = failure.status();
        let way = self.outbound.alternate(branch.hop).filter(|_| by_another_way);
        if let Some(hop) = way {
            hub.counters.next_hops_skipped += 1;
            if self.call_device(hub, now, hop, branch.breadth) {
                self.forks_over(hub, now, branch.client, status);
                self.await_word(hub, now);
                return;
            }
        }
        let is_contact = self
            .outbound
            .hops
            .get(branch.hop)
            .is_some_and(|hop| hop.contact.is_some());
        self.note(branch, failure);
        // RFC 3261 §16.7 step 5: a 6xx is for the user wherever it is. What a next hop that routes by itself says counts,
        // unless it is out of service or the route says to go on.
        let is_decided = !by_another_way && (status >= 600 || !is_contact);
        if !is_decided && !self.outbound.branches.is_empty() {
            self.forks_over(hub, now, branch.client, status);
            self.secure_callee(hub, now, &[], false);
            return;
        }
        if is_decided || !self.outbound.has_next() {
            self.end_unanswered(hub, now);
            return;
        }
        if !is_contact {
            hub.counters.next_hops_skipped += 1;
        }
        self.forks_over(hub, now, branch.client, status);
        self.call_next(hub, now);
    }

    /// Nobody is left: the call ends with the best failure there was.
    fn end_unanswered(&mut self, hub: &mut Hub, now: Timestamp) {
        let failure = self.inbound.as_mut().and_then(|inbound| inbound.failure.take());
        let nobody = || Failure::of(Cause::failed(Released::Us, 503, "No next hop can be reached"));
        let Failure {
            mut ending,
            at,
            is_spared,
        } = failure.unwrap_or_else(nobody);
        if let Some((remote, call_id)) = at {
            self.record.tried(remote, &call_id);
        }
        // Whom we tell a time leaves us alone altogether, and it is not we who are overloaded.
        if ending.cause.released == Released::Us && ending.cause.sip_status == 503 && !is_spared {
            ending.retry_after = Some(hub.config.retry_after_s);
        }
        self.end(hub, now, ending);
    }

    /// Who was called has said nothing for its time: another way to it, or the one after it, gets the call. The old
    /// transaction is cancelled, and a 2xx that still comes from there is acknowledged and hung up on.
    pub(super) fn next_hop_silent(&mut self, hub: &mut Hub, now: Timestamp) {
        if self.phase != Phase::Calling {
            return;
        }
        let nobody_heard = self.outbound.branches.iter().all(|branch| !branch.is_heard);
        let is_given_up = |outbound: &Outbound, branch: &Branch| {
            let has_other = outbound.alternate(branch.hop).is_some();
            !branch.is_heard && (has_other || nobody_heard && outbound.has_next())
        };
        let silent: Vec<Branch> = self
            .outbound
            .branches
            .iter()
            .filter(|branch| is_given_up(&self.outbound, branch))
            .cloned()
            .collect();
        for branch in silent {
            tracing::warn!("the next hop is silent");
            hub.cancel(now, branch.client, None);
            self.outbound.take_branch(branch.client);
            let failure = Failure::of(Cause::failed(Released::Us, 408, "No next hop answered"));
            self.branch_failed(hub, now, &branch, failure, true);
        }
    }

    /// Contacts have rung for their time: those with the next lower preference get the call.
    pub(super) fn branches_unanswered(&mut self, hub: &mut Hub, now: Timestamp) {
        if self.phase != Phase::Calling || !self.outbound.has_next() {
            return;
        }
        for branch in std::mem::take(&mut self.outbound.branches) {
            hub.cancel(now, branch.client, None);
            let (status, text) = match branch.is_heard {
                true => (480, "No answer from the callee"),
                false => (408, "No response from the callee"),
            };
            let failure = Failure::of(Cause::failed(Released::Us, status, text));
            self.note(&branch, failure);
            self.forks_over(hub, now, branch.client, 487);
        }
        self.call_next(hub, now);
    }

    /// Cancels everybody who still has the INVITE.
    pub(super) fn cancel_branches(&mut self, hub: &mut Hub, now: Timestamp, reason: Option<&str>) {
        for branch in std::mem::take(&mut self.outbound.branches) {
            // The transaction goes on without the call: a 2xx that crosses is acknowledged and hung up on.
            hub.cancel(now, branch.client, reason);
        }
    }

    /// One has answered: the others need not go on (RFC 3261 §16.7 step 10).
    pub(super) fn cancel_losers(&mut self, hub: &mut Hub, now: Timestamp) {
        self.cancel_branches(hub, now, Some(ELSEWHERE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_failure_is_the_one_that_says_most() {
        let rank = |status| Failure::of(Cause::failed(Released::Callee, status, "")).rank();
        let statuses = [603, 302, 488, 486, 404, 480, 408, 500, 503];
        assert!(statuses.is_sorted_by_key(|&status| rank(status)));
        assert_eq!(
            rank(502),
            rank(500),
            "a challenge that is not ours to answer became 502"
        );
    }
}
