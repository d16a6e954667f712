use media_types::LineSpec;
use sdp::sdes::{self, AnswerFault, Choice, Offer, Profile, Refusal};
use sdp::{AnswerError, HandshakeFault, MediaLine, Session};

use super::handshake::{Handshake, Invitation};
use super::hub::Hub;
use super::line::{Line, Lines, Security};
use super::side::{Both, Side};
use crate::srtp::Terms;

/// The reason when a party must have SRTP, and its keys may not go to it.
const CANNOT_OFFER: &str = "srtp_cannot_offer";

/// What our description says of the security of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// These keys; RTP in clear without any.
    Keys(Offer),
    /// A handshake.
    Handshake(Invitation),
}

impl Default for Ours {
    fn default() -> Self {
        Self::Keys(Offer::default())
    }
}

/// A party must have SRTP, and we cannot offer it. We or our configuration are at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CannotOffer;

/// Why the security of an offer is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("SRTP: {0}")]
    Keys(#[from] Refusal),
    #[error("DTLS: {0}")]
    Handshake(#[from] HandshakeFault),
    #[error("DTLS: the media node shows no certificate")]
    NoCertificate,
}

impl Unfit {
    const fn reason(self) -> &'static str {
        match self {
            Self::Keys(refusal) => refusal.reason(),
            Self::Handshake(fault) => fault.reason(),
            Self::NoCertificate => "dtls_no_certificate",
        }
    }
}

/// The offer of one party, and what protects its lines then: an offer has its keys and we make ours for the answer at
/// once, so that all forks of the other party lead to one answer.
#[derive(Debug)]
pub(super) struct Offered {
    /// As it came, but for lines that were refused for their security.
    pub(super) session: Session,
    /// By line; in clear where there is no entry.
    security: Vec<Security>,
}

/// An answer, and what both parties agree on with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) session: Session,
    pub(super) lines: Lines,
}

/// Why an answer is of no use. The answerer is at fault, or somebody on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("There is no answer, or none that can be read")]
    Missing,
    #[error("The answer does not fit the offer")]
    Lines(#[from] AnswerError),
    #[error("SRTP: {0}")]
    Security(#[from] AnswerFault),
    #[error("DTLS: {0}")]
    Handshake(#[from] HandshakeFault),
}

impl Misfit {
    /// Counts it.
    pub(super) fn count(self, hub: &mut Hub) {
        hub.counters.descriptions_refused += 1;
        match self {
            Self::Security(fault) => hub.count_srtp(fault.reason()),
            Self::Handshake(fault) => hub.count_srtp(fault.reason()),
            Self::Missing | Self::Lines(_) => {}
        }
        tracing::debug!(fault = %self, "refused an answer");
    }
}

impl Offered {
    /// Decides on the security of each line by the `terms` with the party, whose lines are `current` now. A line that
    /// cannot be had by them is refused; an error if no other is left. `shakes_hands`: the media node can, for all we know.
    pub(super) fn new(
        hub: &mut Hub,
        mut session: Session,
        terms: Terms,
        current: &[Line],
        shakes_hands: bool,
    ) -> Result<Self, Unfit> {
        let mut security = Vec::new();
        let mut refused: Vec<usize> = Vec::new();
        let mut refusal = None;
        for (index, line) in session.lines().enumerate() {
            if !line.is_usable() {
                refused.push(index);
                continue;
            }
            match secure(hub, &line, terms, current.get(index), shakes_hands) {
                Ok(Security::Clear) => {}
                Ok(secured) => {
                    security.resize_with(index, Security::default);
                    security.push(secured);
                }
                Err(reason) => {
                    hub.count_srtp(reason.reason());
                    refusal = refusal.or(Some(reason));
                    refused.push(index);
                }
            }
        }
        if let Some(refusal) = refusal {
            // Those that were of no use before stay so: which family is relayed follows from the lines that are left.
            refused.into_iter().for_each(|index| session.refuse_line(index));
            if !session.has_usable_line() {
                hub.counters.descriptions_refused += 1;
                tracing::debug!(%refusal, "refused an offer");
                return Err(refusal);
            }
        }
        Ok(Self { session, security })
    }

    /// What to reserve while the offer of `offerer` waits for its answer. Where the other party must have SRTP nothing
    /// passes until then.
    pub(super) fn proposal(&self, offerer: Side, other_is_secured: bool) -> Lines {
        let proposal = sdp::propose(&self.session);
        let protocols = self.session.lines().map(|line| Profile::named(line.protocol()));
        let other = proposal
            .answerer
            .into_iter()
            .zip(protocols)
            .map(|(spec, profile)| Line {
                security: match other_is_secured && spec.enabled {
                    true => Security::Pending,
                    false => Security::Clear,
                },
                // Who speaks with browsers alone of feedback is not asked for it (RFC 4585 §4).
                has_feedback: profile.is_some_and(|profile| profile.has_feedback && !profile.is_dtls),
                spec,
            });
        Lines::new(Both::of(offerer, self.secured(proposal.offerer), other.collect()))
    }

    /// What the answer `session` to `offers` of ours makes of the offer of `offerer`.
    pub(super) fn answered(
        &self,
        offerer: Side,
        offers: &[Ours],
        session: Session,
    ) -> Result<Answer, Misfit> {
        let agreement = sdp::agree(&self.session, &session)?;
        let in_clear = Ours::default();
        let mut theirs = Vec::with_capacity(agreement.answerer.len());
        for (index, (mut spec, line)) in agreement.answerer.into_iter().zip(session.lines()).enumerate() {
            let ours = offers.get(index).unwrap_or(&in_clear);
            let security = match (spec.enabled, ours) {
                (false, _) => Security::Clear,
                (true, Ours::Keys(offer)) => sdes::accept(offer, &line)?
                    .map_or(Security::Clear, |it| Security::Protected(Box::new(it))),
                (true, Ours::Handshake(invitation)) => {
                    if !line.has_handshake() {
                        return Err(HandshakeFault::Transport.into());
                    }
                    spec.rtcp_mux = true;
                    let handshake = Handshake::accepted(invitation, line.handshake()?)?;
                    Security::Handshake(Box::new(handshake))
                }
            };
            spec.codecs.shrink_to_fit();
            theirs.push(Line {
                spec,
                security,
                has_feedback: has_feedback(&line),
            });
        }
        let lines = Both::of(offerer, self.secured(agreement.offerer), theirs);
        Ok(Answer {
            session,
            lines: Lines::new(lines),
        })
    }

    /// The offerer's lines with their security.
    fn secured(&self, specs: Vec<LineSpec>) -> Vec<Line> {
        let with_security = |(index, (mut spec, line)): (usize, (LineSpec, MediaLine<'_>))| {
            // Kept for the life of the call.
            spec.codecs.shrink_to_fit();
            Line {
                security: match self.security.get(index) {
                    Some(security) if spec.enabled => security.clone(),
                    _ => Security::Clear,
                },
                has_feedback: has_feedback(&line),
                spec,
            }
        };
        let lines = specs.into_iter().zip(self.session.lines());
        lines.enumerate().map(with_security).collect()
    }
}

fn has_feedback(line: &MediaLine<'_>) -> bool {
    Profile::named(line.protocol()).is_some_and(|profile| profile.has_feedback)
}

/// What protects an offered line.
fn secure(
    hub: &mut Hub,
    line: &MediaLine<'_>,
    terms: Terms,
    current: Option<&Line>,
    shakes_hands: bool,
) -> Result<Security, Unfit> {
    if line.has_handshake() {
        if !terms.takes_handshake() {
            return Err(HandshakeFault::Forbidden.into());
        }
        if !shakes_hands {
            return Err(Unfit::NoCertificate);
        }
        let current = current.and_then(|line| line.security.handshake());
        let handshake = Handshake::answering(line.handshake()?, current, &mut hub.random);
        return Ok(Security::Handshake(Box::new(handshake)));
    }
    let rules = terms.rules(&hub.config.srtp_suites);
    match sdes::choose(&rules, line)? {
        Choice::Clear => Ok(Security::Clear),
        Choice::Protected {
            is_insistent,
            receive,
        } => {
            let current = current.and_then(|line| line.security.protection());
            let mut fill = |bytes: &mut [u8]| hub.random.fill(bytes);
            let protection = sdes::answer(is_insistent, receive, current, &mut fill)?;
            Ok(Security::Protected(Box::new(protection)))
        }
    }
}

/// What we offer a party on its `lines` by the `terms` with it, where `current` is in force: nothing but RTP in clear on
/// those without an entry. `shakes_hands`: the media node can.
pub(super) fn offers(
    hub: &mut Hub,
    lines: &[Line],
    current: &[Line],
    terms: Terms,
    shakes_hands: bool,
) -> Result<Vec<Ours>, CannotOffer> {
    let mut offers = Vec::new();
    for index in (0..lines.len()).filter(|&index| lines[index].spec.enabled) {
        let ours = offer(hub, index, current.get(index), terms);
        let can = |ours: &Ours| shakes_hands || matches!(ours, Ours::Keys(_));
        let Some(ours) = ours.filter(can) else {
            hub.count_srtp(CANNOT_OFFER);
            return Err(CannotOffer);
        };
        if ours != Ours::default() {
            offers.resize_with(index, Ours::default);
            offers.push(ours);
        }
    }
    Ok(offers)
}

/// What we offer on the line at `index`; `None` when the party must have what we cannot offer.
fn offer(hub: &mut Hub, index: usize, current: Option<&Line>, terms: Terms) -> Option<Ours> {
    // What was agreed in clear is not made another thing by our asking for a new answer.
    let is_clear = current.is_some_and(Line::is_open);
    let current = current.map(|line| &line.security);
    let protection = current.and_then(Security::protection);
    if let Some(handshake) = current.and_then(Security::handshake) {
        return Some(Ours::Handshake(handshake.offered_again()));
    }
    if terms.offers_handshake() && protection.is_none() && !is_clear {
        return Some(Ours::Handshake(Invitation::new(index, &mut hub.random)));
    }
    let rules = terms.rules(&hub.config.srtp_suites);
    let mut fill = |bytes: &mut [u8]| hub.random.fill(bytes);
    sdes::offer(&rules, protection, &mut fill).ok().map(Ours::Keys)
}

/// What an answer of ours says of the security of `lines`.
pub(super) fn restated(lines: &[Line]) -> Vec<Ours> {
    let mut offers = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let ours = match &line.security {
            Security::Clear | Security::Pending | Security::Invited(_) => continue,
            Security::Protected(protection) => Ours::Keys(protection.restated()),
            Security::Handshake(handshake) => Ours::Handshake(handshake.restated()),
        };
        offers.resize_with(index, Ours::default);
        offers.push(ours);
    }
    offers
}
