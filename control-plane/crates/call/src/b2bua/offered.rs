use media_types::LineSpec;
use sdp::sdes::{self, AnswerFault, Choice, Offer, OfferError, Refusal};
use sdp::{AnswerError, MediaLine, Session};

use super::hub::Hub;
use super::line::{Line, Lines, Security};
use super::side::{Both, Side};
use crate::srtp::Terms;

/// The reason when a party must have SRTP, and its keys may not go to it.
const CANNOT_OFFER: &str = "srtp_cannot_offer";

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
}

impl Misfit {
    /// Counts it.
    pub(super) fn count(self, hub: &mut Hub) {
        hub.counters.descriptions_refused += 1;
        if let Self::Security(fault) = self {
            hub.count_srtp(fault.reason());
        }
        tracing::debug!(fault = %self, "refused an answer");
    }
}

impl Offered {
    /// Decides on the security of each line by the `terms` with the party, whose lines are `current` now. A line that
    /// cannot be had by them is refused; an error if no other is left.
    pub(super) fn new(
        hub: &mut Hub,
        mut session: Session,
        terms: Terms,
        current: &[Line],
    ) -> Result<Self, Refusal> {
        let mut security = Vec::new();
        let mut refused: Vec<usize> = Vec::new();
        let mut refusal = None;
        for (index, line) in session.lines().enumerate() {
            if !line.is_usable() {
                refused.push(index);
                continue;
            }
            match secure(hub, &line, terms, current.get(index)) {
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
        let other = proposal.answerer.into_iter().map(|spec| Line {
            security: match other_is_secured && spec.enabled {
                true => Security::Pending,
                false => Security::Clear,
            },
            spec,
        });
        Lines::new(Both::of(offerer, self.secured(proposal.offerer), other.collect()))
    }

    /// What the answer `session` to `offers` of ours makes of the offer of `offerer`.
    pub(super) fn answered(
        &self,
        offerer: Side,
        offers: &[Offer],
        session: Session,
    ) -> Result<Answer, Misfit> {
        let agreement = sdp::agree(&self.session, &session)?;
        let in_clear = Offer::default();
        let mut theirs = Vec::with_capacity(agreement.answerer.len());
        for (index, (mut spec, line)) in agreement.answerer.into_iter().zip(session.lines()).enumerate() {
            let offer = offers.get(index).unwrap_or(&in_clear);
            let protection = match spec.enabled {
                true => sdes::accept(offer, &line)?,
                false => None,
            };
            let security = protection.map_or(Security::Clear, |it| Security::Protected(Box::new(it)));
            spec.codecs.shrink_to_fit();
            theirs.push(Line { spec, security });
        }
        let lines = Both::of(offerer, self.secured(agreement.offerer), theirs);
        Ok(Answer {
            session,
            lines: Lines::new(lines),
        })
    }

    /// The offerer's lines with their security.
    fn secured(&self, specs: Vec<LineSpec>) -> Vec<Line> {
        let with_security = |(index, mut spec): (usize, LineSpec)| {
            // Kept for the life of the call.
            spec.codecs.shrink_to_fit();
            Line {
                security: match self.security.get(index) {
                    Some(security) if spec.enabled => security.clone(),
                    _ => Security::Clear,
                },
                spec,
            }
        };
        specs.into_iter().enumerate().map(with_security).collect()
    }
}

/// What protects an offered line.
fn secure(
    hub: &mut Hub,
    line: &MediaLine<'_>,
    terms: Terms,
    current: Option<&Line>,
) -> Result<Security, Refusal> {
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
/// those without an entry.
pub(super) fn offers(
    hub: &mut Hub,
    lines: &[Line],
    current: &[Line],
    terms: Terms,
) -> Result<Vec<Offer>, OfferError> {
    let mut offers = Vec::new();
    for index in (0..lines.len()).filter(|&index| lines[index].spec.enabled) {
        let rules = terms.rules(&hub.config.srtp_suites);
        let current = current.get(index).and_then(|line| line.security.protection());
        let mut fill = |bytes: &mut [u8]| hub.random.fill(bytes);
        let offer = sdes::offer(&rules, current, &mut fill);
        let offer = offer.inspect_err(|_| hub.count_srtp(CANNOT_OFFER))?;
        if offer != Offer::default() {
            offers.resize_with(index, Offer::default);
            offers.push(offer);
        }
    }
    Ok(offers)
}

/// What an answer of ours says of the security of `lines`.
pub(super) fn restated(lines: &[Line]) -> Vec<Offer> {
    let mut offers = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(protection) = line.security.protection() {
            offers.resize_with(index, Offer::default);
            offers.push(protection.restated());
        }
    }
    offers
}
