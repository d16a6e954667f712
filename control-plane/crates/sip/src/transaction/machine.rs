use super::action::Action;
use super::timers::Timer;
use super::{client_invite, client_non_invite, server_invite, server_non_invite};

/// One of the four state machines, in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "the RFC's names: of the four two are for INVITE and two for the rest"
)]
pub(super) enum Machine {
    ClientInvite(client_invite::State),
    ClientNonInvite(client_non_invite::State),
    ServerInvite(server_invite::State),
    ServerNonInvite(server_non_invite::State),
}

/// What happens to a transaction, whichever of the four it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// 1xx: received by a client, given by the user of a server.
    Provisional,
    /// 2xx.
    Success,
    /// 300 to 699.
    Failure,
    /// Server: the request came again.
    Request,
    /// Server: an ACK came.
    Ack,
    /// A timer fired.
    Timer(Timer),
    /// The transport could not send.
    TransportError,
}

impl Input {
    /// Of a response with this status.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            ..200 => Self::Provisional,
            200..300 => Self::Success,
            _ => Self::Failure,
        }
    }
}

impl Machine {
    /// The state after `input`, and what to do on the way. What a machine has no word for, it ignores.
    pub(super) fn step(self, input: Input) -> (Self, &'static [Action]) {
        match self {
            Self::ClientInvite(state) => {
                use client_invite::Event;
                let event = match input {
                    Input::Provisional => Event::Provisional,
                    Input::Success => Event::Success,
                    Input::Failure => Event::Failure,
                    Input::Timer(Timer::A) => Event::TimerA,
                    Input::Timer(Timer::B) => Event::TimerB,
                    Input::Timer(Timer::D) => Event::TimerD,
                    Input::Timer(Timer::M) => Event::TimerM,
                    Input::TransportError => Event::TransportError,
                    _ => return (self, &[]),
                };
                let (state, actions) = client_invite::step(state, event);
                (Self::ClientInvite(state), actions)
            }
            Self::ClientNonInvite(state) => {
                use client_non_invite::Event;
                let event = match input {
                    Input::Provisional => Event::Provisional,
                    Input::Success | Input::Failure => Event::Final,
                    Input::Timer(Timer::E) => Event::TimerE,
                    Input::Timer(Timer::F) => Event::TimerF,
                    Input::Timer(Timer::K) => Event::TimerK,
                    Input::TransportError => Event::TransportError,
                    _ => return (self, &[]),
                };
                let (state, actions) = client_non_invite::step(state, event);
                (Self::ClientNonInvite(state), actions)
            }
            Self::ServerInvite(state) => {
                use server_invite::Event;
                let event = match input {
                    Input::Request => Event::Request,
                    Input::Ack => Event::Ack,
                    Input::Provisional => Event::Provisional,
                    Input::Success => Event::Success,
                    Input::Failure => Event::Failure,
                    Input::Timer(Timer::Trying) => Event::TimerTrying,
                    Input::Timer(Timer::G) => Event::TimerG,
                    Input::Timer(Timer::H) => Event::TimerH,
                    Input::Timer(Timer::I) => Event::TimerI,
                    Input::Timer(Timer::L) => Event::TimerL,
                    Input::TransportError => Event::TransportError,
                    Input::Timer(_) => return (self, &[]),
                };
                let (state, actions) = server_invite::step(state, event);
                (Self::ServerInvite(state), actions)
            }
            Self::ServerNonInvite(state) => {
                use server_non_invite::Event;
                let event = match input {
                    Input::Request => Event::Request,
                    Input::Provisional => Event::Provisional,
                    Input::Success | Input::Failure => Event::Final,
                    Input::Timer(Timer::Trying) => Event::TimerTrying,
                    Input::Timer(Timer::J) => Event::TimerJ,
                    Input::Timer(Timer::Abandon) => Event::TimerAbandon,
                    Input::TransportError => Event::TransportError,
                    _ => return (self, &[]),
                };
                let (state, actions) = server_non_invite::step(state, event);
                (Self::ServerNonInvite(state), actions)
            }
        }
    }

    pub(super) fn is_client(self) -> bool {
        matches!(self, Self::ClientInvite(_) | Self::ClientNonInvite(_))
    }

    pub(super) fn is_invite(self) -> bool {
        matches!(self, Self::ClientInvite(_) | Self::ServerInvite(_))
    }

    pub(super) fn is_terminated(self) -> bool {
        matches!(
            self,
            Self::ClientInvite(client_invite::State::Terminated)
                | Self::ClientNonInvite(client_non_invite::State::Terminated)
                | Self::ServerInvite(server_invite::State::Terminated)
                | Self::ServerNonInvite(server_non_invite::State::Terminated)
        )
    }

    /// Whether the final response is still to come.
    pub(super) fn is_pending(self) -> bool {
        match self {
            Self::ClientInvite(state) => {
                matches!(
                    state,
                    client_invite::State::Calling | client_invite::State::Proceeding
                )
            }
            Self::ClientNonInvite(state) => {
                matches!(
                    state,
                    client_non_invite::State::Trying | client_non_invite::State::Proceeding
                )
            }
            Self::ServerInvite(state) => state == server_invite::State::Proceeding,
            Self::ServerNonInvite(state) => {
                matches!(
                    state,
                    server_non_invite::State::Trying | server_non_invite::State::Proceeding
                )
            }
        }
    }

    /// Whether the user may give a 2xx again.
    pub(super) fn is_accepted_server(self) -> bool {
        self == Self::ServerInvite(server_invite::State::Accepted)
    }

    /// Whether a message may have to be sent again in this state.
    pub(super) fn holds_message(self) -> bool {
        self.is_pending()
            || matches!(
                self,
                Self::ClientInvite(client_invite::State::Completed)
                    | Self::ServerInvite(server_invite::State::Completed)
                    | Self::ServerNonInvite(server_non_invite::State::Completed)
            )
    }
}
