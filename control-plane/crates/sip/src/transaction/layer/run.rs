use sans_io::Timestamp;

use super::super::action::Action;
use super::super::event::{ClientKey, Event, ServerKey};
use super::super::generated;
use super::super::machine::{Input, Machine};
use super::super::record::Cancel;
use super::super::schedule::Role;
use super::super::slots::SlotKey;
use super::super::timers::{Class, Timer};
use super::Layer;
use crate::message::Message;
use crate::{Source, Transmit};

/// The message that an event is about, for the user.
pub(super) type Incoming = Option<(Source, Message)>;

impl Layer {
    /// Steps the machine of `key` and does what the transition says.
    pub(super) fn run(&mut self, now: Timestamp, key: SlotKey, input: Input, incoming: Incoming) {
        let Some(record) = self.records.find_mut(key) else {
            return;
        };
        let (machine, actions) = record.machine.step(input);
        record.machine = machine;
        match input {
            Input::TransportError if actions.contains(&Action::TellTransport) => {
                self.counters.transport_failures += 1;
            }
            Input::Timer(_) if actions.contains(&Action::TellTimeout) => self.counters.timeouts += 1,
            Input::Timer(_) if actions.contains(&Action::Send) => self.counters.retransmissions_sent += 1,
            _ => {}
        }
        self.act(now, key, actions, incoming);
        if let Some(record) = self.records.find_mut(key) {
            record.collapse();
            if matches!(record.cancel, Cancel::Waiting(_)) && input == Input::Provisional {
                self.send_cancel(now, key);
            }
        }
        if machine.is_terminated() {
            self.end(key);
        }
    }

    /// Fires the timer that `role` of the transaction at `slot` stands for.
    pub(super) fn run_timer(&mut self, now: Timestamp, slot: u32, role: Role) {
        let Some(key) = self.records.key_at(slot) else {
            return;
        };
        let Some(record) = self.records.find(key) else {
            return;
        };
        let timer = match role {
            Role::Repeat => record.repeat,
            Role::Limit => record.limit,
        };
        self.run(now, key, Input::Timer(timer), None);
    }

    pub(super) fn act(&mut self, now: Timestamp, key: SlotKey, actions: &[Action], mut incoming: Incoming) {
        for action in actions {
            match *action {
                Action::Send => self.send(key),
                Action::SendAck => {
                    if let Some(record) = self.records.find_mut(key)
                        && let Some((_, response)) = &incoming
                        && let Some(invite) = &record.request
                        && let Some(ack) = generated::ack_for_failure(invite, response)
                    {
                        record.held = ack;
                        self.send(key);
                    }
                }
                Action::SendTrying => {
                    if let Some(record) = self.records.find_mut(key)
                        && let Some(request) = &record.request
                        && let Some(trying) = generated::response(request, 100, "Trying", "", None)
                    {
                        record.held = trying;
                        self.send(key);
                    }
                }
                Action::PassUp => self.pass_up(key, incoming.take()),
                Action::Start(timer) => self.start(now, key, timer),
                Action::Again(timer) => {
                    if let Some(record) = self.records.find_mut(key) {
                        record.step = record.step.saturating_add(1);
                        self.set(now, key, timer);
                    }
                }
                Action::AgainLongest(timer) => {
                    if let Some(record) = self.records.find_mut(key) {
                        record.step = u8::MAX;
                        self.set(now, key, timer);
                    }
                }
                Action::StopRepeat => self.schedule.cancel(key.slot, Role::Repeat),
                Action::StopLimit => self.schedule.cancel(key.slot, Role::Limit),
                Action::TellTimeout => self.tell(key, |machine| match machine {
                    Machine::ClientInvite(_) | Machine::ClientNonInvite(_) => {
                        Event::TimedOut { key: ClientKey(key) }
                    }
                    Machine::ServerInvite(_) => Event::Unacknowledged { key: ServerKey(key) },
                    Machine::ServerNonInvite(_) => Event::Abandoned { key: ServerKey(key) },
                }),
                Action::TellTransport => self.tell(key, |machine| {
                    if machine.is_client() {
                        Event::TransportFailed { key: ClientKey(key) }
                    } else {
                        Event::ResponseUndelivered { key: ServerKey(key) }
                    }
                }),
            }
        }
    }

    /// Sets `timer` to its first interval.
    pub(super) fn start(&mut self, now: Timestamp, key: SlotKey, timer: Timer) {
        if let Some(record) = self.records.find_mut(key) {
            match role(timer) {
                Role::Repeat => (record.repeat, record.step) = (timer, 0),
                Role::Limit => record.limit = timer,
            }
            self.set(now, key, timer);
        }
    }

    fn set(&mut self, now: Timestamp, key: SlotKey, timer: Timer) {
        let Some(record) = self.records.find(key) else {
            return;
        };
        let reliable = record.destination.transport.is_reliable();
        let class = Class::of(
            timer,
            record.step,
            record.machine.is_invite(),
            reliable,
            &self.config.timers,
        );
        if let Some(class) = class {
            self.schedule.set(now, key.slot, role(timer), class);
        }
    }

    fn send(&mut self, key: SlotKey) {
        if let Some(record) = self.records.find(key).filter(|record| !record.held.is_empty()) {
            let transmit = Transmit {
                destination: record.destination,
                bytes: record.held.clone(),
            };
            self.transmits.push_back(transmit);
        }
    }

    fn pass_up(&mut self, key: SlotKey, incoming: Incoming) {
        let Some((source, message)) = incoming else { return };
        self.tell(key, |machine| match machine {
            Machine::ClientInvite(_) | Machine::ClientNonInvite(_) => Event::Response {
                key: ClientKey(key),
                source,
                message,
            },
            // A request other than the one that began the transaction can only be an ACK in state Accepted.
            Machine::ServerInvite(_) if message.method() == Some(crate::message::Method::Ack) => {
                Event::Ack { source, message }
            }
            Machine::ServerInvite(_) | Machine::ServerNonInvite(_) => Event::Request {
                key: ServerKey(key),
                source,
                message,
            },
        });
    }

    fn tell(&mut self, key: SlotKey, event: impl FnOnce(Machine) -> Event) {
        if let Some(record) = self.records.find(key).filter(|record| !record.is_internal) {
            self.events.push_back(event(record.machine));
        }
    }

    /// Forgets the transaction.
    fn end(&mut self, key: SlotKey) {
        self.tell(key, |machine| {
            if machine.is_client() {
                Event::ClientTerminated { key: ClientKey(key) }
            } else {
                Event::ServerTerminated { key: ServerKey(key) }
            }
        });
        let Some(record) = self.records.remove(key) else {
            return;
        };
        self.schedule.cancel(key.slot, Role::Repeat);
        self.schedule.cancel(key.slot, Role::Limit);
        self.peers.remove(key.slot, &record.destination);
        let table = if record.machine.is_client() {
            &mut self.clients
        } else {
            &mut self.servers
        };
        table.remove(&record.fingerprint);
        if let Some(merged) = record.merged {
            self.merged.remove(&merged);
        }
        debug_assert!(
            self.records.len() > 0
                || (self.clients.is_empty()
                    && self.servers.is_empty()
                    && self.merged.is_empty()
                    && self.peers.is_empty()
                    && self.schedule.next_deadline().is_none()),
            "something of a transaction outlived it"
        );
    }
}

fn role(timer: Timer) -> Role {
    match timer {
        Timer::A | Timer::E | Timer::G | Timer::Trying => Role::Repeat,
        Timer::B
        | Timer::D
        | Timer::F
        | Timer::H
        | Timer::I
        | Timer::J
        | Timer::K
        | Timer::L
        | Timer::M
        | Timer::Abandon => Role::Limit,
    }
}
