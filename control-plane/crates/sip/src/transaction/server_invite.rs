use super::action::{Action, Transition};
use super::timers::Timer;

/// The INVITE server transaction (RFC 3261 §17.2.1, figure 7, as RFC 6026 §8.7 redraws it).
///
/// ```text
///                                  | INVITE, pass up
///                                  v (100 if the user is silent for 200 ms)
///        INVITE, send       +-------------+ 101-199 from user, send
///        latest 1xx   +-----|             |-----+
///                     +---->| Proceeding  |<----+
///     transport error,+-----|             |
///     tell user       +---->+-------------+
///     300-699 from user,      |         | 2xx from user, send
///     send                    |         |
///           +-----------------+         +----------------------+
///           v                                                  v
///      +-------------+ INVITE or timer G fires, send     +-------------+ INVITE, nothing
///      |             |-----+                             |             |-----+
///      |  Completed  |<----+                             |  Accepted   |<----+
///      |             |-----+                             |             |-----+
///      +-------------+<----+ transport error, tell user  +-------------+<----+ ACK, pass up;
///        |     | ACK                                           |       2xx from user, send;
///        |     v                                               |       transport error,
///        |  +-------------+ ACK, nothing                       |       tell user
///        |  |  Confirmed  |-----+                              |
///        |  |             |<----+                              |
///        |  +-------------+                                    |
///        |     | timer I fires                                 | timer L fires
///        |     v                                               v
///        |  +---------------------------------------------------------+
///        +->|                       Terminated                        |
/// timer H   +---------------------------------------------------------+
/// fires, tell user
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The INVITE again.
    Request,
    Ack,
    /// 1xx from the user.
    Provisional,
    /// 2xx from the user.
    Success,
    /// 300 to 699 from the user.
    Failure,
    TimerTrying,
    TimerG,
    TimerH,
    TimerI,
    TimerL,
    TransportError,
}

/// What is done on the way into Proceeding.
pub(super) const START: Transition<State> =
    (State::Proceeding, &[Action::PassUp, Action::Start(Timer::Trying)]);

pub(super) fn step(state: State, event: Event) -> Transition<State> {
    use Action::{Again, PassUp, Send, SendTrying, Start, StopRepeat, TellTimeout, TellTransport};
    match (state, event) {
        (State::Proceeding, Event::Request) => (state, &[Send]),
        (State::Proceeding, Event::TimerTrying) => (state, &[SendTrying]),
        (State::Proceeding, Event::Provisional) => (state, &[StopRepeat, Send]),
        (State::Proceeding, Event::Success) => (State::Accepted, &[StopRepeat, Send, Start(Timer::L)]),
        (State::Proceeding, Event::Failure) => (
            State::Completed,
            &[Send, StopRepeat, Start(Timer::G), Start(Timer::H)],
        ),
        (State::Completed, Event::Request) => (state, &[Send]),
        (State::Completed, Event::TimerG) => (state, &[Send, Again(Timer::G)]),
        (State::Completed, Event::TimerH) => (State::Terminated, &[TellTimeout]),
        (State::Completed, Event::Ack) => (State::Confirmed, &[StopRepeat, Start(Timer::I)]),
        (State::Confirmed, Event::TimerI) => (State::Terminated, &[]),
        (State::Accepted, Event::Success) => (state, &[Send]),
        (State::Accepted, Event::Ack) => (state, &[PassUp]),
        (State::Accepted, Event::TimerL) => (State::Terminated, &[]),
        (State::Proceeding | State::Completed | State::Accepted, Event::TransportError) => {
            (state, &[TellTransport])
        }
        (state, _) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::table;
    use super::*;

    #[test]
    fn every_state_and_event() {
        let states = [
            State::Proceeding,
            State::Completed,
            State::Confirmed,
            State::Accepted,
            State::Terminated,
        ];
        let events = [
            Event::Request,
            Event::Ack,
            Event::Provisional,
            Event::Success,
            Event::Failure,
            Event::TimerTrying,
            Event::TimerG,
            Event::TimerH,
            Event::TimerI,
            Event::TimerL,
            Event::TransportError,
        ];
        table::assert_is(
            &table::print(&states, &events, step),
            "
            Proceeding | Request -> Proceeding [Send]
            Proceeding | Provisional -> Proceeding [StopRepeat, Send]
            Proceeding | Success -> Accepted [StopRepeat, Send, Start(L)]
            Proceeding | Failure -> Completed [Send, StopRepeat, Start(G), Start(H)]
            Proceeding | TimerTrying -> Proceeding [SendTrying]
            Proceeding | TransportError -> Proceeding [TellTransport]
            Proceeding ignores Ack TimerG TimerH TimerI TimerL
            Completed | Request -> Completed [Send]
            Completed | Ack -> Confirmed [StopRepeat, Start(I)]
            Completed | TimerG -> Completed [Send, Again(G)]
            Completed | TimerH -> Terminated [TellTimeout]
            Completed | TransportError -> Completed [TellTransport]
            Completed ignores Provisional Success Failure TimerTrying TimerI TimerL
            Confirmed | TimerI -> Terminated []
            Confirmed ignores Request Ack Provisional Success Failure TimerTrying TimerG TimerH TimerL TransportError
            Accepted | Ack -> Accepted [PassUp]
            Accepted | Success -> Accepted [Send]
            Accepted | TimerL -> Terminated []
            Accepted | TransportError -> Accepted [TellTransport]
            Accepted ignores Request Provisional Failure TimerTrying TimerG TimerH TimerI
            Terminated ignores Request Ack Provisional Success Failure TimerTrying TimerG TimerH TimerI TimerL TransportError
            ",
        );
    }
}
