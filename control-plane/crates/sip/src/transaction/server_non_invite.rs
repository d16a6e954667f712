use super::action::{Action, Transition};
use super::timers::Timer;

/// The non-INVITE server transaction (RFC 3261 §17.2.2, figure 8, with RFC 4320).
///
/// ```text
///                                  | request, pass up
///                                  v
///             request, nothing +-------------+ no final response from user for 64*T1
///                        +-----|   Trying    |------------------------------------------+
///                        +---->|             |                                          |
///                              +-------------+                                          |
///     200-699 from user, send    |    | 100 from user, or no response from user by     |
///         +----------------------+    v the time that timer E of the client is T2, send |
///         |                    +-------------+ transport error, tell user;              |
///         |              +-----| Proceeding  | no final response from user for 64*T1    |
///         |              +---->|             |----------------------------------------->|
///         |   request, or 100  +-------------+                                          |
///         |   from user, send    | 200-699 from user, send                              |
///         v                      v                                                      |
///      +--------------------------+ timer J fires, or                +-------------+    |
///      |        Completed         | transport error, tell user       | Terminated  |<---+
///      |                          |--------------------------------->|             |
///      +--------------------------+                                  +-------------+
///        |  ^ request, send
///        +--+
/// ```
///
/// RFC 4320 §4: the only provisional response is 100, unreliable transports see it not before timer E of the client
/// has grown to T2, and a transaction without a final response ends in silence, never by a 408: the client has given
/// up by its own timer F.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The request again.
    Request,
    /// 100 from the user.
    Provisional,
    /// 200 to 699 from the user.
    Final,
    TimerTrying,
    TimerJ,
    TimerAbandon,
    TransportError,
}

/// What is done on the way into Trying.
pub(super) const START: Transition<State> = (
    State::Trying,
    &[
        Action::PassUp,
        Action::Start(Timer::Trying),
        Action::Start(Timer::Abandon),
    ],
);

pub(super) fn step(state: State, event: Event) -> Transition<State> {
    use Action::{Send, SendTrying, Start, StopRepeat, TellTimeout, TellTransport};
    match (state, event) {
        (State::Trying, Event::TimerTrying) => (State::Proceeding, &[SendTrying]),
        (State::Trying | State::Proceeding, Event::Provisional) => (State::Proceeding, &[StopRepeat, Send]),
        (State::Trying | State::Proceeding, Event::Final) => {
            (State::Completed, &[StopRepeat, Send, Start(Timer::J)])
        }
        (State::Trying | State::Proceeding, Event::TimerAbandon) => (State::Terminated, &[TellTimeout]),
        (State::Proceeding | State::Completed, Event::Request) => (state, &[Send]),
        (State::Proceeding | State::Completed, Event::TransportError) => {
            (State::Terminated, &[TellTransport])
        }
        (State::Completed, Event::TimerJ) => (State::Terminated, &[]),
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
            State::Trying,
            State::Proceeding,
            State::Completed,
            State::Terminated,
        ];
        let events = [
            Event::Request,
            Event::Provisional,
            Event::Final,
            Event::TimerTrying,
            Event::TimerJ,
            Event::TimerAbandon,
            Event::TransportError,
        ];
        table::assert_is(
            &table::print(&states, &events, step),
            "
            Trying | Provisional -> Proceeding [StopRepeat, Send]
            Trying | Final -> Completed [StopRepeat, Send, Start(J)]
            Trying | TimerTrying -> Proceeding [SendTrying]
            Trying | TimerAbandon -> Terminated [TellTimeout]
            Trying ignores Request TimerJ TransportError
            Proceeding | Request -> Proceeding [Send]
            Proceeding | Provisional -> Proceeding [StopRepeat, Send]
            Proceeding | Final -> Completed [StopRepeat, Send, Start(J)]
            Proceeding | TimerAbandon -> Terminated [TellTimeout]
            Proceeding | TransportError -> Terminated [TellTransport]
            Proceeding ignores TimerTrying TimerJ
            Completed | Request -> Completed [Send]
            Completed | TimerJ -> Terminated []
            Completed | TransportError -> Terminated [TellTransport]
            Completed ignores Provisional Final TimerTrying TimerAbandon
            Terminated ignores Request Provisional Final TimerTrying TimerJ TimerAbandon TransportError
            ",
        );
    }
}
