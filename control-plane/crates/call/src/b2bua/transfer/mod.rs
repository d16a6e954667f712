//! Transfers: a newcomer takes the place of one party, the other one stays in its dialog (RFC 3515, RFC 5589).
//!
//! ```text
//!  REFER or          INVITE, or re-INVITE     the newcomer's 2xx        the stayer's 2xx
//!  an operator ──►  Calling ───────────────► Waiting ──► Extending ──► Offering ──► Settling ──► done
//!                     │ without an offer       has offered; ports        re-INVITE    the node is told; ACK with
//!                     ▼                        for it, if new                         the answer
//!  INVITE with        failure at any stage: the newcomer goes, the two parties go on talking
//!  Replaces ────────────────────────────────►┘
//! ```
//!
//! The newcomer is asked for the offer (RFC 3725 §4.1), so that a call that it does not take changes nobody's media.

mod ending;
mod joining;
mod lending;
mod newcomer;
mod notify;
mod passing;
mod pickup;
mod refer;
mod replaces;

use std::net::SocketAddr;

use sans_io::Timestamp;
use sdp::Origin;
use sip::transaction::{ClientKey, ServerKey};
use sip::{Message, Source};

use super::call::{Call, Phase};
use super::deadlines::Deadline;
use super::hub::{CallKey, Hub};
use super::identity::Known;
use super::leg::Leg;
use super::offered::{Answer, Offered, Ours};
use super::side::{Both, Side};
use crate::srtp::Terms;
use crate::{NextHop, TransferError, TransferPolicy};

pub(super) use lending::Errand;
use notify::Referral;
use passing::Passed;
use replaces::Replaces;

/// What a call has when it is, was or may be transferred by another rule than the usual one.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// How often one began.
    count: u16,
    current: Option<Transfer>,
    departed: Vec<Departed>,
    /// Of one that failed, and whose transferor has yet to hear so.
    told_last: Option<(Side, Referral)>,
    /// Where the newcomer was sent for last, and what it may do.
    hop: Option<(SocketAddr, TransferPolicy, Terms)>,
    /// REFERs that were passed on, by who sent them: NOTIFYs of the other party are for these.
    passed: Both<Vec<Passed>>,
    /// Those who came later.
    successors: Both<Option<Successor>>,
}

/// Who has taken a party's place.
#[derive(Debug)]
struct Successor {
    user: String,
    known: Option<Box<Known>>,
}

/// A transfer that is under way.
#[derive(Debug)]
struct Transfer {
    /// The party that goes.
    by: Side,
    stage: Stage,
    /// What it is told of the progress, if it asked and wants to know.
    referral: Option<Referral>,
    /// It has said BYE, or never answered: if the transfer fails now the call is over.
    has_left: bool,
    /// User part and address of the newcomer, for the record, and what is known of it beside.
    user: String,
    uri: String,
    known: Option<Box<Known>>,
    hops: std::vec::IntoIter<NextHop>,
    max_forwards: u8,
    referred_by: Option<String>,
    /// `Replaces` for a dialog of the target that is not ours.
    replaces: Option<String>,
    /// The transaction at the newcomer (`Calling`), or at the party that stays (`Offering`).
    client: Option<ClientKey>,
    /// When it is given up if the newcomer does not answer.
    until: Timestamp,
    newcomer: Option<Newcomer>,
    /// What we sent to the party that stays.
    sent: Option<Box<str>>,
    /// The keys in it.
    offers: Vec<Ours>,
    answer: Option<Answer>,
    /// How often its re-INVITE crossed one of the party that stays.
    crossed: u8,
    extended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Calling,
    Waiting,
    Extending,
    Offering,
    Settling,
}

/// The party that comes.
#[derive(Debug)]
struct Newcomer {
    leg: Box<Leg>,
    how: Entrance,
    origin: Origin,
    policy: TransferPolicy,
    srtp: Terms,
    /// It has made an offer, and waits for its answer.
    has_offered: bool,
    /// Its offer, if it is of use.
    offer: Option<Offered>,
}

/// How a newcomer comes.
#[derive(Debug)]
enum Entrance {
    /// It answered our INVITE.
    Called {
        client: ClientKey,
        cseq: u32,
        fork: String,
        accepted: Box<Message>,
    },
    /// It is in another call of ours with the party that goes: our re-INVITE.
    Lent {
        from: CallKey,
        side: Side,
        client: Option<ClientKey>,
        cseq: u32,
        accepted: Option<Box<Message>>,
    },
    /// It sent an INVITE with `Replaces`.
    Came {
        server: ServerKey,
        source: Source,
        invite: Box<Message>,
    },
}

/// A party whose place somebody else has: what is left is its BYE, and to tell it how the transfer went.
#[derive(Debug)]
struct Departed {
    leg: Leg,
    referral: Option<Referral>,
    has_left: bool,
    /// When we say BYE if it does not.
    bye_at: Timestamp,
}

impl Transfers {
    pub(super) fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        let newcomer = self
            .current
            .as_mut()
            .and_then(|it| it.newcomer.as_mut())
            .map(|it| &mut *it.leg);
        newcomer
            .into_iter()
            .chain(self.departed.iter_mut().map(|departed| &mut departed.leg))
    }
}

impl Call {
    fn transfer(&mut self) -> Option<&mut Transfer> {
        self.transfers.as_mut()?.current.as_mut()
    }

    /// Whether one of the parties is being replaced.
    pub(super) fn is_in_transfer(&self) -> bool {
        self.transfers
            .as_ref()
            .is_some_and(|transfers| transfers.current.is_some())
    }

    /// Whether a transfer changes the media, so that no party may.
    pub(super) fn is_joining(&self) -> bool {
        let current = self.transfers.as_ref().and_then(|it| it.current.as_ref());
        current.is_some_and(|it| !matches!(it.stage, Stage::Calling))
    }

    /// Whether a party may be replaced now.
    ///
    /// # Errors
    /// Why not.
    fn check_transfer(&self, hub: &Hub) -> Result<(), TransferError> {
        if self.phase != Phase::Answered || self.is_in_transfer() {
            return Err(TransferError::Busy);
        }
        let is_here = |side: Side| {
            self.legs[side]
                .as_ref()
                .is_some_and(|leg| leg.bye == super::leg::Bye::No)
        };
        if !Side::BOTH.into_iter().all(is_here) {
            return Err(TransferError::Busy);
        }
        let count = self.transfers.as_ref().map_or(0, |transfers| transfers.count);
        if count >= hub.config.transfers_per_call_max {
            return Err(TransferError::TooOften);
        }
        Ok(())
    }

    /// Begins a transfer that has passed all checks.
    fn begin_transfer(&mut self, hub: &mut Hub, now: Timestamp, transfer: Transfer) {
        hub.counters.transfers_begun += 1;
        hub.deadlines.set(self.key, Deadline::Transfer, transfer.until);
        let transfers = self.transfers.get_or_insert_default();
        transfers.count += 1;
        tracing::info!(goes = transfer.by.as_str(), to = %transfer.uri, "transfer");
        transfers.current = Some(transfer);
        self.notify_progress(hub, now, 100);
    }

    /// The user part by which the others are told of a party: one that hides is nobody to them.
    fn told_user_of(&self, side: Side) -> String {
        match self.known(side).is_some_and(Known::is_hidden) {
            true => "anonymous".to_owned(),
            false => self.user_of(side),
        }
    }

    fn successor(&self, side: Side) -> Option<&Successor> {
        self.transfers.as_ref()?.successors[side].as_ref()
    }

    /// What is known of a party beside its user part.
    fn known(&self, side: Side) -> Option<&Known> {
        match (self.successor(side), side) {
            (Some(successor), _) => successor.known.as_deref(),
            (None, Side::Caller) => self.known_caller.as_deref(),
            (None, Side::Callee) => None,
        }
    }

    /// The user part by which a party is known here.
    fn user_of(&self, side: Side) -> String {
        let later = self.successor(side).map(|successor| successor.user.clone());
        later.unwrap_or_else(|| {
            let record = self.record.so_far();
            match side {
                Side::Caller => record.caller.clone(),
                Side::Callee => record.callee.clone(),
            }
        })
    }

    /// Something about a transfer is due.
    pub(super) fn transfer_due(&mut self, hub: &mut Hub, now: Timestamp) {
        let Some(transfer) = self.transfer() else { return };
        match transfer.stage {
            Stage::Waiting => self.join(hub, now),
            Stage::Calling if transfer.until <= now => self.newcomer_silent(hub, now),
            Stage::Offering => {
                if let Some(client) = transfer.client {
                    // Its end comes as a failure.
                    hub.cancel(now, client, None);
                }
            }
            Stage::Calling | Stage::Extending | Stage::Settling => {}
        }
    }
}
