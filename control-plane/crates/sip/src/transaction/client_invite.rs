use super::action::{Action, Transition};
use super::timers::Timer;

/// The INVITE client transaction (RFC 3261 §17.1.1, figure 5, as RFC 6026 §8.4 redraws it).
///
/// ```text
///                                  | INVITE from user
///            timer A fires,        v send it
///            reset A, send  +-------------+ timer B fires or transport error, tell user
///                     +-----|   Calling   |----------------------------------------------+
///                     +---->|             |                                              |
///                           +-------------+                                              |
///      300-699,               |    |    | 2xx, pass up                                   |
///      ACK, pass up           |    |    +------------------------------+                 |
///         +-------------------+    | 1xx, pass up                      |                 |
///         |                        v                                   |                 |
///         |   1xx, pass up  +-------------+ timer B fires after CANCEL |                 |
///         |           +-----| Proceeding  |----------------------------|---------------->|
///         |           +---->|             |                            |                 |
///         |                 +-------------+                            |                 |
///         |  300-699,         |       | 2xx, pass up                   |                 |
///         |  ACK, pass up     |       +-------------------------+      |                 |
///         v                   v                                 v      v                 |
///      +-----------------------+                             +-------------+             |
///      |       Completed       |--+ 300-699,                 |  Accepted   |--+ 2xx,     |
///      |                       |<-+ ACK again                |             |<-+ pass up  |
///      +-----------------------+                             +-------------+             |
///         | timer D fires, or transport error, tell user        | timer M fires          |
///         v                                                     v                        |
///      +---------------------------------------------------------------------------+     |
///      |                                Terminated                                 |<----+
///      +---------------------------------------------------------------------------+
/// ```
///
/// Beside the figure: in Proceeding timer B runs only once the user has cancelled. When no final response to the
/// INVITE comes within 64*T1 of the CANCEL, the transaction counts as cancelled and ends (§9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 300 to 699.
    Failure,
    TimerA,
    TimerB,
    TimerD,
    TimerM,
    TransportError,
}

/// What is done on the way into Calling. On a reliable transport timer A does not run.
pub(super) const START: Transition<State> = (
    State::Calling,
    &[Action::Send, Action::Start(Timer::A), Action::Start(Timer::B)],
);

pub(super) fn step(state: State, event: Event) -> Transition<State> {
    use Action::{Again, PassUp, Send, SendAck, Start, StopLimit, StopRepeat, TellTimeout, TellTransport};
    match (state, event) {
        (State::Calling, Event::TimerA) => (State::Calling, &[Send, Again(Timer::A)]),
        (State::Calling | State::Proceeding, Event::TimerB) => (State::Terminated, &[TellTimeout]),
        (State::Calling, Event::TransportError) => (State::Terminated, &[TellTransport]),
        (State::Calling, Event::Provisional) => (State::Proceeding, &[StopRepeat, StopLimit, PassUp]),
        (State::Proceeding, Event::Provisional) => (State::Proceeding, &[PassUp]),
        (State::Calling | State::Proceeding, Event::Success) => {
            (State::Accepted, &[StopRepeat, Start(Timer::M), PassUp])
        }
        (State::Calling | State::Proceeding, Event::Failure) => {
            (State::Completed, &[StopRepeat, SendAck, Start(Timer::D), PassUp])
        }
        (State::Completed, Event::Failure) => (State::Completed, &[Send]),
        (State::Completed, Event::TransportError) => (State::Terminated, &[TellTransport]),
        (State::Completed, Event::TimerD) => (State::Terminated, &[]),
        (State::Accepted, Event::Success) => (State::Accepted, &[PassUp]),
        (State::Accepted, Event::TimerM) => (State::Terminated, &[]),
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
            State::Calling,
            State::Proceeding,
            State::Completed,
            State::Accepted,
            State::Terminated,
        ];
        let events = [
            Event::Provisional,
            Event::Success,
            Event::Failure,
            Event::TimerA,
            Event::TimerB,
            Event::TimerD,
            Event::TimerM,
            Event::TransportError,
        ];
        table::assert_is(
            &table::print(&states, &events, step),
            "
            Calling | Provisional -> Proceeding [StopRepeat, StopLimit, PassUp]
            Calling | Success -> Accepted [StopRepeat, Start(M), PassUp]
            Calling | Failure -> Completed [StopRepeat, SendAck, Start(D), PassUp]
            Calling | TimerA -> Calling [Send, Again(A)]
            Calling | TimerB -> Terminated [TellTimeout]
            Calling | TransportError -> Terminated [TellTransport]
            Calling ignores TimerD TimerM
            Proceeding | Provisional -> Proceeding [PassUp]
            Proceeding | Success -> Accepted [StopRepeat, Start(M), PassUp]
            Proceeding | Failure -> Completed [StopRepeat, SendAck, Start(D), PassUp]
            Proceeding | TimerB -> Terminated [TellTimeout]
            Proceeding ignores TimerA TimerD TimerM TransportError
            Completed | Failure -> Completed [Send]
            Completed | TimerD -> Terminated []
            Completed | TransportError -> Terminated [TellTransport]
            Completed ignores Provisional Success TimerA TimerB TimerM
            Accepted | Success -> Accepted [PassUp]
            Accepted | TimerM -> Terminated []
            Accepted ignores Provisional Failure TimerA TimerB TimerD TransportError
            Terminated ignores Provisional Success Failure TimerA TimerB TimerD TimerM TransportError
            ",
        );
    }
}
