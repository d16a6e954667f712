use sans_io::Timestamp;
use sip::{Destination, HeaderName, Message, Transmit};

use super::hub::{CallKey, Client, Hub};
use super::leg::{Leg, cseq};

/// One INVITE to one next hop. It outlives its call for as long as its transaction may pass up a 2xx: every fork
/// that answers wants an ACK, whatever has become of the call (RFC 3261 §13.2.2.4).
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) call: CallKey,
    /// As it was given to the layer, without Via; once a fork has answered no more than a dialog is made of.
    pub(super) invite: Message,
    pub(super) destination: Destination,
    /// When it was sent first.
    pub(super) began: Timestamp,
    /// The forks that answered with a 2xx, by their tag, and the ACK once it is known: the answer to a late offer
    /// makes it wait for the caller's.
    pub(super) answered: Vec<(String, Option<Transmit>)>,
}

/// What the dialog with a fork takes from the INVITE (RFC 3261 §12.1.2), beside its URI.
const OF_A_DIALOG: [HeaderName; 4] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
];

/// How many forks of one INVITE are answered at most; further ones are left to their own timers.
const FORKS_MAX: usize = 32;

impl Attempt {
    pub(super) const fn new(
        call: CallKey,
        now: Timestamp,
        invite: Message,
        destination: Destination,
    ) -> Self {
        Self {
            call,
            invite,
            destination,
            began: now,
            answered: Vec::new(),
        }
    }

    /// The ACK for a fork that has answered before; `None` for a new fork.
    pub(super) fn known(&self, fork: &str) -> Option<&Option<Transmit>> {
        self.answered
            .iter()
            .find(|(tag, _)| tag == fork)
            .map(|(_, ack)| ack)
    }

    /// Notes the ACK for a fork.
    pub(super) fn acknowledged(&mut self, fork: &str, ack: Option<Transmit>) {
        match self.answered.iter_mut().find(|(tag, _)| tag == fork) {
            Some(entry) => entry.1 = ack,
            None => {
                if self.answered.is_empty() {
                    // Kept for 32 s after every call: mostly one fork answers, and what was offered is no longer needed.
                    self.invite = self.invite.gist(&OF_A_DIALOG);
                    self.answered.reserve_exact(1);
                }
                self.answered.push((fork.to_owned(), ack));
            }
        }
    }
}

/// Acknowledges a 2xx that the call has no use for, and hangs up on that fork (RFC 3261 §13.2.2.4, and §9.1 when the
/// 2xx crossed our CANCEL). Gives back the ACK, to be sent again with the 2xx.
pub(super) fn dismiss(
    hub: &mut Hub,
    now: Timestamp,
    attempt: &Attempt,
    response: &Message,
) -> Option<Option<Transmit>> {
    if attempt.answered.len() >= FORKS_MAX {
        return None;
    }
    hub.counters.forks_dismissed += 1;
    let contact = hub.contact(&attempt.destination);
    let (invite, destination) = (&attempt.invite, attempt.destination);
    let leg = Leg::of_callee(invite, response, destination, contact.clone())
        .or_else(|| Leg::to_hang_up(invite, response, destination, contact))?;
    Some(hang_up_on(hub, now, cseq(invite), leg))
}

/// Acknowledges the 2xx to our INVITE `cseq`, and hangs up on who sent it. Gives the ACK.
pub(super) fn hang_up_on(hub: &mut Hub, now: Timestamp, cseq: u32, mut leg: Leg) -> Option<Transmit> {
    let hops = hub.config.max_forwards;
    let ack = hub.send_ack(leg.ack(cseq, hops), leg.destination());
    let bye = leg.request("BYE", hops);
    hub.send(now, bye, leg.destination(), |_| Client::Farewell);
    ack
}
