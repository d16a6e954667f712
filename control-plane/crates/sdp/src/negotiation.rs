/// Where an offer/answer exchange of one dialog stands (RFC 3264 §4, RFC 6337 §2).
///
/// ```text
///            offer_sent                    answer_received
///   Idle ───────────────► LocalOffer ───────────────────────► Stable
///     │                                                        │  ▲
///     │ offer_received                     answer_sent         │  │
///     └─────────────────► RemoteOffer ─────────────────────────┼──┘
///                 (both also from Stable)  ◄───────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// No description was exchanged yet.
    #[default]
    Idle,
    /// We offered and wait for the answer.
    LocalOffer,
    /// The peer offered and waits for ours.
    RemoteOffer,
    /// Both sides agree.
    Stable,
}

/// Why an offer or answer is out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NegotiationError {
    /// The peer's offer crossed ours: 491 (RFC 3261 §14.2, RFC 3311 §5.2).
    #[error("both sides made an offer at the same time")]
    Glare,
    /// The peer made a second offer before we answered its first: 500 with Retry-After (RFC 3261 §14.2).
    #[error("an earlier offer of the peer is not answered yet")]
    Unanswered,
    /// We want to offer while an exchange is under way: wait.
    #[error("an offer is pending")]
    Pending,
    /// An answer that nobody asked for.
    #[error("an answer without an offer")]
    NoOffer,
}

/// The offer/answer state of one dialog, with what a failed exchange falls back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Negotiation {
    state: State,
    agreed: bool,
}

impl Negotiation {
    /// Where the exchange stands.
    pub const fn state(self) -> State {
        self.state
    }

    /// Whether an exchange has succeeded before; a later failure leaves its result in force (RFC 6141 §3.4).
    pub const fn has_agreed(self) -> bool {
        self.agreed
    }

    /// We send an offer.
    pub fn offer_sent(&mut self) -> Result<(), NegotiationError> {
        self.step(
            &[State::Idle, State::Stable],
            State::LocalOffer,
            NegotiationError::Pending,
        )
    }

    /// The peer's offer arrived.
    pub fn offer_received(&mut self) -> Result<(), NegotiationError> {
        let fault = match self.state {
            State::LocalOffer => NegotiationError::Glare,
            _ => NegotiationError::Unanswered,
        };
        self.step(&[State::Idle, State::Stable], State::RemoteOffer, fault)
    }

    /// We send the answer.
    pub fn answer_sent(&mut self) -> Result<(), NegotiationError> {
        self.step(&[State::RemoteOffer], State::Stable, NegotiationError::NoOffer)
    }

    /// The peer's answer arrived.
    pub fn answer_received(&mut self) -> Result<(), NegotiationError> {
        self.step(&[State::LocalOffer], State::Stable, NegotiationError::NoOffer)
    }

    /// The request that carried the offer failed: back to what was agreed before (RFC 3261 §14.1, RFC 6141 §3).
    pub fn abandon(&mut self) {
        self.state = if self.agreed { State::Stable } else { State::Idle };
    }

    fn step(&mut self, from: &[State], to: State, fault: NegotiationError) -> Result<(), NegotiationError> {
        if !from.contains(&self.state) {
            return Err(fault);
        }
        self.state = to;
        self.agreed |= to == State::Stable;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table: each state × event.
    #[test]
    fn every_state_answers_every_event() {
        use NegotiationError::{Glare, NoOffer, Pending, Unanswered};
        use State::{Idle, LocalOffer, RemoteOffer, Stable};
        type Event = fn(&mut Negotiation) -> Result<(), NegotiationError>;
        let events: [Event; 4] = [
            Negotiation::offer_sent,
            Negotiation::offer_received,
            Negotiation::answer_sent,
            Negotiation::answer_received,
        ];
        let table = [
            (
                Idle,
                [Ok(LocalOffer), Ok(RemoteOffer), Err(NoOffer), Err(NoOffer)],
            ),
            (LocalOffer, [Err(Pending), Err(Glare), Err(NoOffer), Ok(Stable)]),
            (
                RemoteOffer,
                [Err(Pending), Err(Unanswered), Ok(Stable), Err(NoOffer)],
            ),
            (
                Stable,
                [Ok(LocalOffer), Ok(RemoteOffer), Err(NoOffer), Err(NoOffer)],
            ),
        ];
        for (state, expected) in table {
            for (event, expected) in events.iter().zip(expected) {
                let mut negotiation = Negotiation {
                    state,
                    agreed: state == Stable,
                };
                let result = event(&mut negotiation).map(|()| negotiation.state());
                assert_eq!(result, expected, "{state:?}");
                if result.is_err() {
                    assert_eq!(negotiation.state(), state, "a refused event changes nothing");
                }
            }
        }
    }

    #[test]
    fn a_failed_exchange_falls_back() {
        let mut first = Negotiation::default();
        first.offer_received().unwrap();
        first.abandon();
        assert_eq!((first.state(), first.has_agreed()), (State::Idle, false));
        first.offer_received().unwrap();
        first.answer_sent().unwrap();
        first.offer_sent().unwrap();
        first.abandon();
        assert_eq!((first.state(), first.has_agreed()), (State::Stable, true));
    }
}
