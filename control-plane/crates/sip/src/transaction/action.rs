use super::timers::Timer;

/// What a transition asks the [`Layer`](super::Layer) to do, in order. The four state machines are pure functions
/// from (state, event) to (state, actions), so that the whole of each can be read, and printed by a test, as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send the message that the transaction holds: a client its request or the ACK that took its place, a server
    /// its latest response.
    Send,
    /// Client: build the ACK for this failure, hold it in place of the request, and send it (§17.1.1.3).
    SendAck,
    /// Server: make a 100 (Trying), hold it as the latest response and send it.
    SendTrying,
    /// Give the message to the transaction user.
    PassUp,
    /// Set a timer; those that repeat start at their first interval.
    Start(Timer),
    /// Set a repeating timer again, at its next interval.
    Again(Timer),
    /// Set a repeating timer again, at its longest interval.
    AgainLongest(Timer),
    /// Stop the retransmission timer.
    StopRepeat,
    /// Stop the timer that ends the state.
    StopLimit,
    /// Tell the user that the other side stayed silent.
    TellTimeout,
    /// Tell the user that the transport could not send.
    TellTransport,
}

/// The state after an event, and what to do on the way.
pub(super) type Transition<S> = (S, &'static [Action]);

#[cfg(test)]
pub(super) mod table {
    use std::fmt::{Debug, Write};

    use super::Transition;

    /// Every state × event of a machine, a line each; events that change and do nothing are gathered in one line.
    pub(crate) fn print<S, E>(states: &[S], events: &[E], step: impl Fn(S, E) -> Transition<S>) -> String
    where
        S: Copy + Debug + PartialEq,
        E: Copy + Debug,
    {
        let mut table = String::new();
        for &state in states {
            let mut ignored = String::new();
            for &event in events {
                let (next, actions) = step(state, event);
                if next == state && actions.is_empty() {
                    let _ = write!(ignored, " {event:?}");
                } else {
                    let _ = writeln!(table, "{state:?} | {event:?} -> {next:?} {actions:?}");
                }
            }
            let _ = writeln!(table, "{state:?} ignores{ignored}");
        }
        table
    }

    /// Compares with the expected table, line by line, indentation aside.
    pub(crate) fn assert_is(actual: &str, expected: &str) {
        let expected: Vec<&str> = expected
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let actual: Vec<&str> = actual.lines().collect();
        assert!(actual == expected, "the table is now:\n{}", actual.join("\n"));
    }
}
