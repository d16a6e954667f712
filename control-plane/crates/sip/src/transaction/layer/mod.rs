mod receive;
mod run;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use sans_io::{Random, Timestamp};

use super::config::Config;
use super::counters::Counters;
use super::error::{CancelError, RespondError, SendError};
use super::event::{ClientKey, Event, ServerKey};
use super::fingerprint::{ByFingerprint, Secret};
use super::machine::{Input, Machine};
use super::peers::Peers;
use super::record::{Cancel, Record};
use super::schedule::Schedule;
use super::slots::{SlotKey, Slots};
use super::timers::Timer;
use super::{client_invite, client_non_invite, generated, via};
use crate::message::{HeaderName, Message, Method, Overload, SyntaxError};
use crate::{Destination, Transmit, Transport};

/// All transactions of one process or shard: the transaction layer of RFC 3261 §17 with RFC 3581, 4320 and 6026,
/// between the transports below and the transaction user (the *user*) above.
///
/// # Calling contract
///
/// - Handlers take what happened: [`handle_message`](Self::handle_message),
///   [`handle_transport_error`](Self::handle_transport_error), [`handle_timeout`](Self::handle_timeout).
/// - The user acts through [`send_request`](Self::send_request), [`respond`](Self::respond),
///   [`cancel`](Self::cancel) and [`ack`](Self::ack).
/// - After any of these, poll [`poll_transmit`](Self::poll_transmit), [`poll_event`](Self::poll_event) and, if there is
///   somebody to [`obey`](Self::obey), [`poll_overload`](Self::poll_overload) until all are empty, then [`poll_timeout`](Self::poll_timeout) for when to call `handle_timeout`.
///
/// `now` never goes back between calls; if it does, timers fire late and nothing else is harmed.
///
/// # What the layer does by itself
///
/// It makes the Via of what we send, and completes that of what we receive. It absorbs and answers retransmissions,
/// acknowledges failures, sends 100 (Trying) when the user is silent, answers CANCELs, answers 482 to a request that
/// arrives over a second path, 481 to a CANCEL without INVITE, and 503 at its limit.
///
/// # What is left to the user
///
/// - The ACK for a 2xx and its repetition, and the repetition of a 2xx (`dialog` has both).
/// - The life of an INVITE after a provisional response. No timer runs on it then (a proxy has timer C there,
///   §16.6): the user limits how long it may ring and calls [`cancel`](Self::cancel), which sets a limit again. On
///   the server side an INVITE waits for the user's final response without limit.
/// - One final response to every request, even while it shuts down.
#[derive(Debug)]
pub struct Layer {
    config: Config,
    random: Random,
    secret: Secret,
    /// Boxed: places that were once taken stay, as many as there ever were at a time.
    records: Slots<Box<Record>>,
    schedule: Schedule,
    peers: Peers,
    clients: ByFingerprint<SlotKey>,
    servers: ByFingerprint<SlotKey>,
    merged: ByFingerprint<SlotKey>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// Servers whose word about their overload counts, and what they have said.
    obeyed: HashSet<(Transport, SocketAddr)>,
    overloads: VecDeque<(Destination, Result<Overload, SyntaxError>)>,
    counters: Counters,
}

impl Layer {
    /// A layer without transactions.
    pub fn new(config: Config, mut random: Random) -> Self {
        let secret = Secret::new(&mut random);
        Self {
            schedule: Schedule::new(&config.timers),
            peers: Peers::new(secret.clone()),
            config,
            random,
            secret,
            records: Slots::new(),
            clients: ByFingerprint::default(),
            servers: ByFingerprint::default(),
            merged: ByFingerprint::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            obeyed: HashSet::new(),
            overloads: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many transactions there are, those included that linger after their final response.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no transaction.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it saw and did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The request of a server transaction, for as long as it waits for its final response.
    pub fn request(&self, key: ServerKey) -> Option<&Message> {
        self.records.find(key.0)?.request.as_deref()
    }

    /// Sends `request` (any method but ACK and CANCEL, without a Via of ours) in a new client transaction. An INVITE
    /// may draw several 2xx responses; everything else comes to one end: see [`Event`].
    ///
    /// The CSeq, the tags and the Call-ID are the user's matter; `dialog` makes them.
    pub fn send_request(
        &mut self,
        now: Timestamp,
        request: Message,
        destination: Destination,
    ) -> Result<ClientKey, SendError> {
        let machine = match request.method().ok_or(SendError::Unusable)? {
            Method::Ack | Method::Cancel => return Err(SendError::WrongMethod),
            Method::Invite => Machine::ClientInvite(client_invite::START.0),
            _ => Machine::ClientNonInvite(client_non_invite::START.0),
        };
        if self.records.len() >= self.config.limit() {
            return Err(SendError::AtLimit);
        }
        let request = self.add_via(&request, &destination)?;
        let key = self
            .begin_client(now, machine, request, destination, false)
            .ok_or(SendError::Unusable)?;
        Ok(ClientKey(key))
    }

    /// Offers to these servers, and no others, to send them less when they want so (RFC 7339 §5.1).
    pub fn obey(&mut self, servers: impl IntoIterator<Item = (Transport, SocketAddr)>) {
        self.obeyed = servers.into_iter().collect();
    }

    fn obeys(&self, destination: &Destination) -> bool {
        !self.obeyed.is_empty() && self.obeyed.contains(&(destination.transport, destination.remote))
    }

    /// The next thing that such a server said about its overload in a response to a request of ours, and where that request
    /// had gone; an error if that was bogus. There is at most one for a message that was handled.
    pub fn poll_overload(&mut self) -> Option<(Destination, Result<Overload, SyntaxError>)> {
        self.overloads.pop_front()
    }

    /// The wire image of `ack`, an ACK for a 2xx, with a Via and a branch of its own (RFC 3261 §13.2.2.4). No
    /// transaction begins: send the result, keep it, and send it again whenever the 2xx comes again.
    pub fn ack(&mut self, ack: &Message, destination: Destination) -> Result<Transmit, SendError> {
        if ack.method() != Some(Method::Ack) {
            return Err(SendError::WrongMethod);
        }
        let bytes = self.add_via(ack, &destination)?.bytes().clone();
        Ok(Transmit { destination, bytes })
    }

    /// Cancels an INVITE that we sent (§9.1), with `reason` as the value of the CANCEL's `Reason` (RFC 3326).
    ///
    /// The CANCEL leaves at once if a provisional response has come, else with the first one. The user hears nothing
    /// of the CANCEL itself. The INVITE ends as always: with a 487, with another final response that was faster (a
    /// 2xx wants an ACK and then a BYE), or with [`Event::TimedOut`] after 64*T1.
    pub fn cancel(
        &mut self,
        now: Timestamp,
        key: ClientKey,
        reason: Option<&str>,
    ) -> Result<(), CancelError> {
        let record = self.records.find_mut(key.0).ok_or(CancelError::Gone)?;
        let Machine::ClientInvite(state) = record.machine else {
            return Err(CancelError::NotInvite);
        };
        if !record.machine.is_pending() {
            return Err(CancelError::Answered);
        }
        if record.cancel == Cancel::No {
            // A line break in the value would start another header field.
            let reason = reason
                .filter(|reason| !reason.contains(['\r', '\n', '\0']))
                .map(Into::into);
            record.cancel = Cancel::Waiting(reason);
            if state == client_invite::State::Proceeding {
                self.send_cancel(now, key.0);
            }
        }
        Ok(())
    }

    /// Gives the user's response to a request. It is complete as it stands: `Via` and the rest copied from the
    /// request, a To tag, a body.
    ///
    /// Provisional responses to INVITE as many as wanted, then one final response. A 2xx to INVITE may be given
    /// again while timer L runs: its repetition is the user's matter (RFC 6026 §7.1).
    pub fn respond(&mut self, now: Timestamp, key: ServerKey, response: Message) -> Result<(), RespondError> {
        let status = response.status().ok_or(RespondError::Unusable)?;
        let record = self.records.find_mut(key.0).ok_or(RespondError::Gone)?;
        let input = Input::of_status(status);
        match record.machine {
            Machine::ServerInvite(_) => {
                let again = input == Input::Success && record.machine.is_accepted_server();
                if !record.machine.is_pending() && !again {
                    return Err(RespondError::Answered);
                }
            }
            Machine::ServerNonInvite(_) => {
                if !record.machine.is_pending() {
                    return Err(RespondError::Answered);
                }
                if status == 408 {
                    return Err(RespondError::TimeoutToNonInvite);
                }
                let early = !record.destination.transport.is_reliable();
                if input == Input::Provisional && (status != 100 || early) {
                    return Err(RespondError::ProvisionalToNonInvite);
                }
            }
            Machine::ClientInvite(_) | Machine::ClientNonInvite(_) => return Err(RespondError::Gone),
        }
        record.held = response.bytes().clone();
        record.to_tag = self.secret.tag(response.to().ok().and_then(|to| to.tag()));
        if input == Input::Failure
            && let Some(merged) = record.merged.take()
        {
            // A proxy that tries one target after the other may reach us twice with one request: only copies that
            // overlap are merged.
            self.merged.remove(&merged);
        }
        self.run(now, key.0, input, None);
        Ok(())
    }

    /// The transport could not send to `destination`: no route, a refused or a lost connection, a port that is
    /// unreachable. Transactions that wait there for an answer, or want to send there, hear of it.
    pub fn handle_transport_error(&mut self, now: Timestamp, destination: Destination) {
        for slot in self.peers.slots(&destination) {
            if let Some(key) = self.records.key_at(slot) {
                self.run(now, key, Input::TransportError, None);
            }
        }
    }

    /// Fires the timers that are due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((slot, role)) = self.schedule.expire(now) {
            self.run_timer(now, slot, role);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when no timer runs.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.schedule.next_deadline()
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing for the user to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// `request` with our Via on top.
    fn add_via(&mut self, request: &Message, destination: &Destination) -> Result<Message, SendError> {
        let listener = self.config.listener(destination).ok_or(SendError::NoListener)?;
        let obeys = self.obeys(destination);
        let via = via::own_via(listener, &mut self.random, obeys);
        // What a response is matched by, and what the ACK for a failure and a CANCEL are made from.
        let needed = [HeaderName::From, HeaderName::To, HeaderName::CallId];
        let cseq = request.cseq().map_err(|_| SendError::Unusable)?;
        if Some(cseq.method) != request.method() || !needed.iter().all(|&name| request.has(name)) {
            return Err(SendError::Unusable);
        }
        request.with_via(&via).ok_or(SendError::Unusable)
    }

    /// `None` if the request lacks what a response is matched by.
    fn begin_client(
        &mut self,
        now: Timestamp,
        machine: Machine,
        request: Message,
        destination: Destination,
        is_internal: bool,
    ) -> Option<SlotKey> {
        let fingerprint = self
            .secret
            .client(request.via().ok()?.branch()?, request.method()?.as_str());
        let key = self.records.insert(Box::new(Record {
            machine,
            repeat: Timer::A,
            limit: Timer::B,
            step: 0,
            cancel: Cancel::No,
            is_internal,
            destination,
            fingerprint,
            merged: None,
            to_tag: 0,
            held: request.bytes().clone(),
            request: Some(Box::new(request)),
        }));
        self.clients.insert(fingerprint, key);
        self.peers.add(key.slot, &destination);
        self.counters.client_transactions += 1;
        let actions = match machine {
            Machine::ClientInvite(_) => client_invite::START.1,
            _ => client_non_invite::START.1,
        };
        self.act(now, key, actions, None);
        Some(key)
    }

    fn send_cancel(&mut self, now: Timestamp, invite: SlotKey) {
        let Some(record) = self.records.find_mut(invite) else {
            return;
        };
        let Cancel::Waiting(reason) = std::mem::replace(&mut record.cancel, Cancel::Done) else {
            return;
        };
        let destination = record.destination;
        let cancel = record
            .request
            .as_ref()
            .and_then(|request| generated::cancel(request, reason.as_deref()));
        // No final response by 64*T1 after the CANCEL, and the INVITE counts as cancelled (§9.1).
        self.start(now, invite, Timer::B);
        // Not held to the limit: there are never more CANCELs than INVITEs.
        if let Some(cancel) = cancel.and_then(|bytes: Bytes| Message::parse_datagram(bytes).ok()) {
            let machine = Machine::ClientNonInvite(client_non_invite::START.0);
            self.begin_client(now, machine, cancel, destination, true);
        }
    }
}
