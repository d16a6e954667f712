use super::action::{Action, Transition};
use super::timers::Timer;

/// The non-INVITE client transaction (RFC 3261 §17.1.2, figure 6).
///
/// ```text
///                                  | request from user
///            timer E fires,        v send it
///            reset E, send  +-------------+ timer F fires or transport error, tell user
///                     +-----|   Trying    |----------------------------------------+
///                     +---->|             |                                        |
///                           +-------------+                                        |
///       200-699, pass up      |    | 1xx, pass up                                  |
///         +-------------------+    v                                               |
///         |                 +-------------+ timer F fires or transport error,      |
///         |           +-----| Proceeding  | tell user                              |
///         |           +---->|             |--------------------------------------->|
///         |  timer E fires, +-------------+                                        |
///         |  reset E to T2,   |                                                    |
///         |  send;            | 200-699, pass up                                   |
///         |  1xx, pass up     |                                                    |
///         v                   v                                                    |
///      +-----------------------+  timer K fires      +-------------+               |
///      |       Completed       |-------------------->| Terminated  |<--------------+
///      +-----------------------+                     +-------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// 1xx.
    Provisional,
    /// 200 to 699.
    Final,
    TimerE,
    TimerF,
    TimerK,
    TransportError,
}

/// What is done on the way into Trying. On a reliable transport timer E does not run.
pub(super) const START: Transition<State> = (
    State::Trying,
    &[Action::Send, Action::Start(Timer::E), Action::Start(Timer::F)],
);

pub(super) fn step(state: State, event: Event) -> Transition<State> {
    use Action::{Again, AgainLongest, PassUp, Send, Start, StopRepeat, TellTimeout, TellTransport};
    match (state, event) {
        (State::Trying, Event::TimerE) => (State::Trying, &[Send, Again(Timer::E)]),
        (State::Proceeding, Event::TimerE) => (State::Proceeding, &[Send, AgainLongest(Timer::E)]),
        (State::Trying | State::Proceeding, Event::Provisional) => (State::Proceeding, &[PassUp]),
        (State::Trying | State::Proceeding, Event::Final) => {
            (State::Completed, &[StopRepeat, Start(Timer::K), PassUp])
        }
        (State::Trying | State::Proceeding, Event::TimerF) => (State::Terminated, &[TellTimeout]),
        (State::Trying | State::Proceeding, Event::TransportError) => (State::Terminated, &[TellTransport]),
        (State::Completed, Event::TimerK) => (State::Terminated, &[]),
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
            Event::Provisional,
            Event::Final,
            Event::TimerE,
            Event::TimerF,
            Event::TimerK,
            Event::TransportError,
        ];
        table::assert_is(
            &table::print(&states, &events, step),
            "
            Trying | Provisional -> Proceeding [PassUp]
            Trying | Final -> Completed [StopRepeat, Start(K), PassUp]
            Trying | TimerE -> Trying [Send, Again(E)]
            Trying | TimerF -> Terminated [TellTimeout]
            Trying | TransportError -> Terminated [TellTransport]
            Trying ignores TimerK
            Proceeding | Provisional -> Proceeding [PassUp]
            Proceeding | Final -> Completed [StopRepeat, Start(K), PassUp]
            Proceeding | TimerE -> Proceeding [Send, AgainLongest(E)]
            Proceeding | TimerF -> Terminated [TellTimeout]
            Proceeding | TransportError -> Terminated [TellTransport]
            Proceeding ignores TimerK
            Completed | TimerK -> Terminated []
            Completed ignores Provisional Final TimerE TimerF TransportError
            Terminated ignores Provisional Final TimerE TimerF TimerK TransportError
            ",
        );
    }
}
