use std::sync::Arc;

use media_types::CallId;
use sans_io::Timestamp;
use sdp::sdes::Offer;
use sdp::{Origin, OurHandshake, OurLine, Session, Setup};
use sip::dialog::{ProvisionalOrder, ReliableProvisionals};
use sip::transaction::{ClientKey, ServerKey};
use sip::{Message, Source};

use super::branch::{Branch, Failure};
use super::deadlines::Deadline;
use super::dialog_name::DialogName;
use super::early_offer::EarlyOffer;
use super::exchange::Exchange;
use super::hub::{CallKey, Hub};
use super::identity::Known;
use super::leg::{Bye, Leg};
use super::line::{Line, Lines};
use super::media::{Media, Step};
use super::offered::{Answer, CannotOffer, Offered, Ours, Unfit, offers, restated};
use super::record::Record;
use super::redirect::Redirecting;
use super::side::{Both, Side};
use super::transfer::Transfers;
use crate::srtp::Terms;
use crate::{Called, MediaError, NextHop, Output, TransferPolicy};

/// How far a call is.
///
/// ```text
///  INVITE ──► Reserving ──► Calling ──► Answering ──► Answered
///   (with      │ ports       │  ▲ next    │ media       │
///    offer)    ▼             ▼──┘ hop     ▼             ▼
///            Ended ◄── failure, CANCEL, timeout, BYE, no media
/// ```
///
/// An INVITE without an offer goes straight to `Calling`, and reserves its ports in `Answering`, or for an offer in a reliable 1xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The media node is asked for ports.
    Reserving,
    /// A next hop has the INVITE.
    Calling,
    /// The callee answered; the media node is told.
    Answering,
    /// The caller has the 2xx.
    Answered,
    /// It is over: what is left is to tell both parties and the media node.
    Ended,
}

/// The caller's INVITE, until it has its final response.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) server: ServerKey,
    pub(super) source: Source,
    pub(super) invite: Message,
    pub(super) offer: Option<Offered>,
    /// What `Max-Forwards` becomes in our INVITE.
    pub(super) max_forwards: u8,
    pub(super) reliability: Reliability,
    /// How many branches it may have at once, there and beyond (RFC 5393 §5.3), and whether it says so itself.
    pub(super) breadth: u32,
    pub(super) is_breadth_told: bool,
    /// It comes from a peer whose word counts.
    pub(super) is_trusted: bool,
    /// The address-of-record of the user that has proved to be the caller.
    pub(super) account: Option<String>,
    /// Whom redirections have led to.
    pub(super) redirected: Vec<Arc<Called>>,
    /// A redirection whose targets are looked for.
    pub(super) redirecting: Option<Box<Redirecting>>,
    /// What it gets when nobody answers, as far as is known.
    pub(super) failure: Option<Failure>,
    /// What a REFER of the caller will lead to.
    pub(super) transfer: TransferPolicy,
    /// What is agreed with it about SRTP.
    pub(super) srtp: Terms,
    /// The keys that were offered to callees, by the places of their dialogs among the call's.
    pub(super) offers: Vec<Vec<Ours>>,
    /// The offer of a callee that was asked for one, made before its 2xx.
    pub(super) early_offer: Option<Box<EarlyOffer>>,
    /// The description for our 2xx to the caller, which waits for a PRACK (RFC 3262 §3).
    pub(super) held: Option<Box<str>>,
}

/// What the caller says about reliable provisional responses (RFC 3262 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reliability {
    /// Nothing: all are unreliable.
    Unsupported,
    /// `Supported: 100rel`: those that were reliable from the callee are for the caller.
    Supported,
    /// `Require: 100rel`: all are.
    Required,
}

/// Our INVITE to the callee, next hop by next hop, or to several contacts at once.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) hops: Box<[NextHop]>,
    /// The session interval that our INVITE asks for, in seconds: longer after a 422.
    pub(super) session_s: u32,
    /// The place in `hops` of the first that has not had its turn.
    pub(super) next: u16,
    /// Those that have the INVITE, until their final responses.
    pub(super) branches: Vec<Branch>,
    /// The early dialogs: each fork of the callee has a dialog of its own with the caller.
    pub(super) forks: Vec<Fork>,
    /// The place in `forks` of the early dialogs that an UPDATE has moved to the call's `legs`.
    pub(super) adopted: Option<usize>,
    /// `Call-ID` and tag of ours, one a hop that was tried.
    pub(super) dialogs: Vec<(String, String)>,
}

/// One fork of the callee that sent a provisional response.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) client: ClientKey,
    /// The place of its branch's `Call-ID` and tag of ours among the call's.
    pub(super) dialog: usize,
    pub(super) callee_tag: String,
    /// Our tag in the early dialog with the caller.
    pub(super) caller_tag: String,
    /// The description in its provisional response, which its 2xx repeats or leaves out.
    pub(super) answer: Option<Session>,
    /// The order of its reliable provisional responses.
    pub(super) order: ProvisionalOrder,
    /// Its answer came in a reliable response: it stands, whatever a later response has (RFC 6337 §2.2).
    pub(super) has_agreed: bool,
    /// Our reliable provisional responses to the caller in this fork's early dialog.
    pub(super) provisionals: Option<Box<ReliableProvisionals>>,
    /// The media node has its description.
    pub(super) is_relayed: bool,
    /// Its INVITE has failed, and its early dialogs with it.
    pub(super) is_over: bool,
    /// The lines that an UPDATE has made of its answer, while another fork's dialogs are the call's.
    pub(super) agreed: Option<Lines>,
    /// The early dialogs, from the first request within them or the first reliable response on.
    pub(super) legs: Both<Option<Leg>>,
}

/// A 2xx of the callee whose ACK waits for the media node, so that a callee which speaks on it is heard from its first
/// packet.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    /// The INVITE transaction that the 2xx belongs to.
    pub(super) client: ClientKey,
    pub(super) cseq: u32,
    pub(super) fork: String,
}

/// An offer in a 2xx, whose answer comes in the ACK (RFC 3261 §13.2.1): first from `offerer` to us, then from us to
/// the other side.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) offerer: Side,
    pub(super) offer: Offered,
    /// What of it was offered to the other side.
    pub(super) offers: Vec<Ours>,
    /// The INVITE transaction at the offerer, whose ACK carries the answer.
    pub(super) client: ClientKey,
    pub(super) cseq: u32,
    /// The fork that answered, for the initial INVITE.
    pub(super) fork: String,
}

/// One call: two dialogs, and the media between them.
///
/// What is only there for a while is boxed: most calls are held for minutes with nothing under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: CallKey,
    pub(super) id: CallId,
    pub(super) phase: Phase,
    pub(super) record: Record,
    pub(super) media: Media,
    pub(super) inbound: Option<Box<Inbound>>,
    pub(super) outbound: Outbound,
    pub(super) answer: Option<Box<Answer>>,
    pub(super) unacknowledged: Option<Box<Unacknowledged>>,
    /// The callee's 2xx, until the caller has ours.
    pub(super) accepted: Option<Box<Message>>,
    pub(super) late: Option<Box<Late>>,
    pub(super) exchange: Option<Box<Exchange>>,
    pub(super) legs: Both<Option<Leg>>,
    pub(super) origins: Both<Origin>,
    /// The lines that both parties agreed on last.
    pub(super) agreed: Lines,
    /// `Call-ID` of the caller and our tags in its dialogs, early ones included.
    pub(super) caller_call_id: Box<str>,
    pub(super) caller_tags: Vec<String>,
    pub(super) caller_tag: Box<str>,
    /// What is left of these, and of the dialogs with callees, once it is answered: the names that the hub knows them by.
    pub(super) names: Vec<DialogName>,
    /// What is known of the caller beside its `From`, for those who come later.
    pub(super) known_caller: Option<Box<Known>>,
    /// What a REFER of each party leads to.
    pub(super) policies: Both<TransferPolicy>,
    /// What is agreed with each party about SRTP.
    pub(super) srtp: Both<Terms>,
    pub(super) transfers: Option<Box<Transfers>>,
}

impl Call {
    /// What a media request led to.
    pub(super) fn handle_step(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        step: Step,
        result: Result<(), MediaError>,
    ) {
        if let Some(node) = self.media.node() {
            self.record.placed(node);
        }
        match (step, self.phase) {
            (Step::Delete, _) => {
                let quality = self.media.quality();
                let cdr = self.record.measured(quality);
                hub.output(Output::Cdr(cdr));
            }
            (_, Phase::Ended) | (Step::Early | Step::Restore, _) => {}
            (Step::Reserve, Phase::Reserving) => self.reserved(hub, now, result),
            (Step::Reserve, Phase::Calling) => self.early_offer_reserved(hub, now, result),
            // Another fork has answered than the one whose early offer they were for.
            (Step::Reserve, Phase::Answering) if !self.media.is_idle() => {}
            (Step::Reserve | Step::Answer, Phase::Answering) => self.answer_settled(hub, now, result),
            (Step::Extend, _) => self.extended(hub, now, result),
            (Step::Settle, _) => self.settled(hub, now, result),
            (Step::ExtendForNewcomer, _) => self.newcomer_extended(hub, now, result),
            (Step::SettleNewcomer, _) => self.newcomer_settled(hub, now, result),
            (Step::Reserve | Step::Answer, _) => {
                tracing::error!(?step, phase = ?self.phase, "a media step out of turn")
            }
        }
    }

    /// A deadline of the call is due.
    pub(super) fn handle_deadline(&mut self, hub: &mut Hub, now: Timestamp, deadline: Deadline) {
        match deadline {
            Deadline::NextHop => self.next_hop_silent(hub, now),
            Deadline::Branch => self.branches_unanswered(hub, now),
            Deadline::Ring => self.not_answered(hub, now),
            Deadline::Provisional => self.repeat_provisionals(hub, now),
            Deadline::Exchange => self.exchange_overdue(hub, now),
            Deadline::Media => self.handle_media(hub, now, None, Err(MediaError::Lost)),
            Deadline::Accept(side) => self.repeat_accept(hub, now, side),
            Deadline::Session(side) => self.session_due(hub, now, side),
            Deadline::Transfer => self.transfer_due(hub, now),
            Deadline::Departed => self.dismiss_departed(hub, now),
            Deadline::Duration => self.lasted_too_long(hub, now),
        }
    }

    /// The answer to a media request; `None` for the one under way, whichever that is.
    pub(super) fn handle_media(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        request: Option<crate::MediaRequestId>,
        result: Result<(media_types::NodeName, media_types::CallReport), MediaError>,
    ) {
        if let Some((step, result)) = self.media.answered(hub, now, request, result) {
            self.handle_step(hub, now, step, result);
        }
    }

    /// The description that `reader` gets for `session`, which the other party sent: as an offer when `mux` tells
    /// what the other party offered, as an answer when it tells what `reader` did. `ours` is what it says of security.
    fn describe(
        &mut self,
        reader: Side,
        session: &Session,
        lines: &[Line],
        mux: &[bool],
        ours: &[Ours],
    ) -> String {
        let locals = self.media.locals(reader);
        let fingerprint = self.media.fingerprint();
        let lines: Vec<Option<OurLine>> = lines
            .iter()
            .enumerate()
            .map(|(index, line)| {
                let mut local = locals
                    .get(index)
                    .copied()
                    .flatten()
                    .filter(|_| line.spec.enabled)?;
                let handshake = match ours.get(index) {
                    Some(Ours::Handshake(invitation)) => Some(OurHandshake {
                        // Who has no certificate was not asked for a handshake.
                        fingerprint: fingerprint?.clone(),
                        setup: invitation.setup,
                        tls_id: invitation.tls_id.clone(),
                        ice: invitation.ice.clone(),
                        is_ice_lite: invitation.is_ice_lite,
                        mid: invitation.mid.clone(),
                        is_bundled: invitation.is_bundled,
                    }),
                    Some(Ours::Keys(_)) | None => None,
                };
                let rtcp_mux = handshake.is_some() || mux.get(index).copied().unwrap_or(false);
                if !rtcp_mux && local.rtcp == local.rtp {
                    // The lines were multiplexed until now; the pair's second port comes back into use.
                    local.rtcp.set_port(local.rtp.port().saturating_add(1));
                }
                Some(OurLine {
                    local,
                    rtcp_mux,
                    // Browsers want it (RFC 8834 §4.2).
                    has_feedback: line.has_feedback
                        || handshake.as_ref().is_some_and(|it| it.setup == Setup::ActPass),
                    handshake,
                })
            })
            .collect();
        let keys: Vec<Offer> = ours
            .iter()
            .map(|ours| match ours {
                Ours::Keys(offer) => offer.clone(),
                Ours::Handshake(_) => Offer::default(),
            })
            .collect();
        sdp::rewrite(session, &lines, &keys, &mut self.origins[reader])
    }

    /// The offer of one party as `reader` gets it: on the lines that are reserved for it, with these keys.
    pub(super) fn describe_offer(&mut self, reader: Side, offer: &Offered, ours: &[Ours]) -> String {
        let lines = self.media.lines()[reader].clone();
        let mux: Vec<bool> = offer.session.lines().map(|line| line.has_rtcp_mux()).collect();
        self.describe(reader, &offer.session, &lines, &mux, ours)
    }

    /// An offer of `side` within its dialog, by the terms with it.
    pub(super) fn take_offer(&self, hub: &mut Hub, offer: Session, side: Side) -> Result<Offered, Unfit> {
        let shakes_hands = self.shakes_hands();
        Offered::new(hub, offer, self.srtp[side], &self.agreed[side], shakes_hands)
    }

    /// Whether the media node can be asked for lines with handshakes. It has been asked for others before.
    pub(super) fn shakes_hands(&self) -> bool {
        self.media.fingerprint().is_some()
    }

    /// The keys for an offer to `reader` within its dialog, which stay as they are.
    pub(super) fn offers(&self, hub: &mut Hub, reader: Side) -> Result<Vec<Ours>, CannotOffer> {
        offers(
            hub,
            &self.media.lines()[reader],
            &self.agreed[reader],
            self.srtp[reader],
            self.shakes_hands(),
        )
    }

    /// The answer of one party as `reader`, who offered, gets it.
    pub(super) fn describe_answer(&mut self, reader: Side, answer: &Answer) -> String {
        let lines = &answer.lines[reader];
        let mux: Vec<bool> = lines.iter().map(|line| line.spec.rtcp_mux).collect();
        self.describe(reader, &answer.session, lines, &mux, &restated(lines))
    }

    /// Notes what both parties agreed on.
    pub(super) fn agree(&mut self, lines: &Lines) {
        self.record.agreed(
            lines
                .caller
                .iter()
                .find(|line| line.spec.enabled)
                .and_then(|line| line.spec.codecs.first()),
        );
        self.agreed = Arc::clone(lines);
    }

    /// Both talk, mostly for minutes: gives back what only setting up has needed, and the room that its lists have grown into.
    pub(super) fn rest(&mut self, hub: &Hub) {
        self.outbound.hops = Box::default();
        self.outbound.forks = Vec::new();
        self.outbound.branches.shrink_to_fit();
        let of_caller = self
            .caller_tags
            .iter()
            .map(|tag| hub.name(&self.caller_call_id, tag));
        let of_callee = self
            .outbound
            .dialogs
            .iter()
            .map(|(call_id, tag)| hub.name(call_id, tag));
        self.names = of_caller.chain(of_callee).collect();
        self.names.shrink_to_fit();
        self.caller_tags = Vec::new();
        self.outbound.dialogs = Vec::new();
        self.caller_call_id = Box::default();
    }

    /// Whether nothing is left to be done, so that the call can be forgotten.
    pub(super) fn is_finished(&self) -> bool {
        let is_over = |leg: &Option<Leg>| leg.as_ref().is_none_or(|leg| leg.bye == Bye::Done);
        self.phase == Phase::Ended
            && self.media.is_gone()
            && Side::BOTH.iter().all(|&side| is_over(&self.legs[side]))
    }

    /// Takes the call out of all indexes.
    pub(super) fn forget(&mut self, hub: &mut Hub) {
        for &name in &self.names {
            hub.remove_name(name);
        }
        for tag in &self.caller_tags {
            hub.remove_dialog(&self.caller_call_id, tag);
        }
        for (call_id, tag) in &self.outbound.dialogs {
            hub.remove_dialog(call_id, tag);
        }
        hub.deadlines.clear_all(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_call_keeps_to_its_budget() {
        // Budget of a held call: 5 kB with all that it points to, which tests/it/memory.rs counts.
        assert!(size_of::<Call>() <= 1_536, "{} bytes", size_of::<Call>());
    }
}
