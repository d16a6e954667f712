//! Responses to requests of ours, each to whom it is for.

use sans_io::Timestamp;
use sip::transaction::ClientKey;
use sip::{HeaderName, Message};

use super::B2bua;
use super::attempt::dismiss;
use super::hub::{CallKey, Client, tag_of};
use super::leg::cseq;
use super::requests::relay_response;
use crate::{Lost, Output};

impl B2bua {
    /// A response to a request of ours.
    pub(super) fn handle_response(&mut self, now: Timestamp, key: ClientKey, response: &Message) {
        let status = response.status().unwrap_or(0);
        match self.hub.clients.get(&key) {
            Some(Client::Attempt(attempt)) => {
                let call = attempt.call;
                match status {
                    ..200 => {
                        self.with_call(call, |call, hub| call.handle_provisional(hub, now, key, response))
                    }
                    200..300 => self.handle_accepted(now, key, call, response),
                    _ => self.with_call(call, |call, hub| call.handle_failure(hub, now, key, response)),
                }
            }
            Some(&Client::Exchange { call, side, ref ack }) => match (status, ack) {
                (..200, _) => {}
                (200..300, Some(ack)) => {
                    let ack = ack.clone();
                    self.hub.output(Output::Send(*ack));
                }
                (200..300, None) => self.with_call(call, |call, hub| {
                    call.handle_exchange_success(hub, now, key, side, response);
                }),
                _ => self.with_call(call, |call, hub| {
                    call.handle_exchange_failure(hub, now, key, status, Some(response));
                }),
            },
            Some(&Client::Refresh { call, side, ref ack }) => match (status, ack) {
                (..200, _) => {}
                (200..300, Some(ack)) => {
                    let ack = ack.clone();
                    self.hub.output(Output::Send(*ack));
                }
                (200..300, None) => {
                    self.with_call(call, |call, hub| call.refreshed(hub, now, key, side, response))
                }
                _ => self.with_call(call, |call, hub| {
                    call.refresh_failed(hub, now, key, side, status, Some(response));
                }),
            },
            Some(Client::Newcomer(attempt)) => {
                let call = attempt.call;
                match status {
                    ..200 => {
                        self.with_call(call, |call, hub| call.newcomer_progress(hub, now, key, response))
                    }
                    200..300 => self.handle_newcomer_accepted(now, key, call, response),
                    _ => self.with_call(call, |call, hub| call.newcomer_failed(hub, now, key, status)),
                }
            }
            Some(&Client::Lent { call, ref ack }) => match (status, ack) {
                (..200, _) => {}
                (200..300, Some(ack)) => {
                    let ack = ack.clone();
                    self.hub.output(Output::Send(*ack));
                }
                (200..300, None) => self.handle_lent_accepted(now, key, call, response),
                _ => self.with_call(call, |call, hub| call.lent_refused(hub, now, key, status)),
            },
            Some(&Client::Stayer { call, side, ref ack }) => match (status, ack) {
                (..200, _) => {}
                (200..300, Some(ack)) => {
                    let ack = ack.clone();
                    self.hub.output(Output::Send(*ack));
                }
                (200..300, None) => self.with_call(call, |call, hub| {
                    call.stayer_accepted(hub, now, key, side, response);
                }),
                _ => self.with_call(call, |call, hub| call.stayer_failed(hub, now, key, side, status)),
            },
            Some(&Client::Notify { call }) if status >= 200 => {
                self.with_call(call, |call, hub| call.notified(hub, now, key, status));
            }
            Some(&Client::Bye { call, side }) if status >= 200 => {
                self.with_call(call, |call, hub| call.hung_up(hub, side));
            }
            Some(Client::Relay { server, request }) if status >= 200 => {
                let (server, request) = (*server, request.clone());
                relay_response(&mut self.hub, now, server, &request, response);
                self.relayed(&request, cseq(response), response);
            }
            Some(&Client::Outside(id)) if status >= 200 => self.answered(id, Ok(response.clone())),
            Some(
                Client::Notify { .. }
                | Client::Bye { .. }
                | Client::Relay { .. }
                | Client::Farewell
                | Client::Outside(_),
            )
            | None => {}
        }
    }

    /// A 2xx to an INVITE of ours: the answer that the call waits for, the same once more, or that of a fork that is
    /// too late.
    fn handle_accepted(&mut self, now: Timestamp, key: ClientKey, call: CallKey, response: &Message) {
        let Some(Client::Attempt(mut attempt)) = self.hub.clients.remove(&key) else {
            return;
        };
        let fork = tag_of(response, HeaderName::To);
        if let Some(ack) = attempt.known(fork) {
            if let Some(ack) = ack.clone() {
                self.hub.output(Output::Send(ack));
            }
        } else if self.calls.get(&call).is_some_and(|call| call.wants_answer(key)) {
            let mut ack = None;
            self.with_call(call, |call, hub| {
                ack = call.handle_success(hub, now, key, &attempt, response)
            });
            attempt.acknowledged(fork, ack);
        } else if let Some(ack) = dismiss(&mut self.hub, now, &attempt, response) {
            attempt.acknowledged(fork, ack);
        }
        self.hub.clients.insert(key, Client::Attempt(attempt));
    }

    /// A request of ours has no final response: it timed out, or the transport could not send it.
    pub(super) fn handle_lost(&mut self, now: Timestamp, key: ClientKey, timed_out: bool) {
        let status = if timed_out { 408 } else { 503 };
        match self.hub.clients.get(&key) {
            Some(Client::Attempt(attempt)) => {
                let call = attempt.call;
                self.with_call(call, |call, hub| {
                    call.handle_lost_attempt(hub, now, key, timed_out)
                });
            }
            Some(&Client::Exchange { call, .. }) => {
                self.with_call(call, |call, hub| {
                    call.handle_exchange_failure(hub, now, key, status, None)
                });
            }
            Some(&Client::Refresh { call, side, .. }) => self.with_call(call, |call, hub| {
                call.refresh_failed(hub, now, key, side, status, None);
            }),
            Some(Client::Newcomer(attempt)) => {
                let call = attempt.call;
                self.with_call(call, |call, hub| call.newcomer_failed(hub, now, key, status));
            }
            Some(&Client::Lent { call, .. }) => {
                self.with_call(call, |call, hub| call.lent_refused(hub, now, key, status));
            }
            Some(&Client::Stayer { call, side, .. }) => {
                self.with_call(call, |call, hub| call.stayer_failed(hub, now, key, side, status));
            }
            Some(&Client::Notify { call }) => {
                self.with_call(call, |call, hub| call.notified(hub, now, key, status));
            }
            Some(&Client::Bye { call, side }) => self.with_call(call, |call, hub| call.hung_up(hub, side)),
            // RFC 4320 §4.2: when time has run out here it has at the client, and silence is the answer.
            Some(Client::Relay { server, request }) if !timed_out => {
                let (server, request) = (*server, request.clone());
                self.hub.refuse(now, server, &request, status);
            }
            Some(&Client::Outside(id)) => {
                let lost = if timed_out { Lost::TimedOut } else { Lost::NotSent };
                self.answered(id, Err(lost));
            }
            Some(Client::Relay { .. } | Client::Farewell) | None => {}
        }
    }
}
