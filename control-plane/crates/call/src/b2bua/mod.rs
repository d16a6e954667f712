//! The machine that owns all calls.

mod admission;
mod answer;
mod attempt;
mod branch;
mod by_key;
mod call;
mod callers;
mod challenge;
mod changes;
mod deadlines;
mod dialog_name;
mod diverted;
mod early;
mod early_offer;
mod ending;
mod exchange;
mod handshake;
mod headers;
mod hub;
mod identity;
mod late;
mod leg;
mod line;
mod media;
mod offered;
mod outside;
mod prack;
mod progress;
mod record;
mod redirect;
mod refusals;
mod requests;
mod responses;
mod session;
mod setup;
mod side;
mod transfer;
mod trickle;
mod trunks;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use media_types::{CallId, EndCause, EventKind, NodeName};
use sans_io::{Random, Timestamp};
use sip::transaction::{Event, ServerKey};
use sip::{Destination, HeaderName, Message, Method, Source, Transport};

use by_key::ByKey;
use call::{Call, Phase};
use changes::Untold;
use ending::Ending;
pub(crate) use hub::CallKey;
use hub::{Client, Hub, Server, tag_of};
use refusals::RefusalRecords;
pub(crate) use side::Side;

use crate::{
    Answered, Cause, Changes, Config, Counters, Lost, MediaAnswer, MediaTimeout, Output, Overview, Released,
    TrunkId, TrunkLimits, TrunkUse,
};

/// The back-to-back user agent: takes calls from callers, places them with callees by the routing table, and has a
/// media node relay between the two.
///
/// # Calling contract
///
/// - Handlers take what happened: [`handle_message`](Self::handle_message) (after the transport's framing and
///   parsing), [`handle_media`](Self::handle_media), [`handle_media_event`](Self::handle_media_event),
///   [`handle_transport_error`](Self::handle_transport_error), [`handle_timeout`](Self::handle_timeout).
/// - After any of these, poll [`poll_output`](Self::poll_output) until it is empty and carry the outputs out in that
///   order, then ask [`poll_timeout`](Self::poll_timeout) when to call `handle_timeout`.
/// - Every [`MediaRequest`](crate::MediaRequest) should be answered; one that is not is given up in time.
///
/// `now` comes from one monotonic clock and never goes back.
///
/// # What is certain
///
/// - Every INVITE that began a call has one record of stage `Ended`, before any message that tells a party of the end.
/// - An INVITE that is refused before it begins a call has one, too, up to
///   [`refusal_records_per_s_max`](Config::refusal_records_per_s_max) of them a second.
/// - Every creation of media that was not refused is followed by one `Delete`, the call's last media request.
/// - No address of one party is in a message for the other.
/// - Every state has a limit in time, every table one in number.
#[derive(Debug)]
pub struct B2bua {
    hub: Hub,
    calls: ByKey<CallKey, Box<Call>>,
    calls_begun: u64,
    draining: bool,
    untold: Untold,
    refusal_records: RefusalRecords,
}

impl B2bua {
    /// A B2BUA without calls.
    pub fn new(config: Config, random: Random) -> Self {
        Self {
            refusal_records: RefusalRecords::new(config.refusal_records_per_s_max),
            hub: Hub::new(config, random),
            calls: ByKey::default(),
            calls_begun: 0,
            draining: false,
            untold: Untold::default(),
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.hub.config
    }

    /// Replaces the routing table. Calls that are being placed keep theirs.
    pub fn set_routes(&mut self, routes: crate::Routes) {
        self.hub.config.routes = routes;
    }

    /// How many calls there are, from the INVITE until nothing is left to be done about them.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// How many dialogs are known, early ones included.
    pub fn dialog_count(&self) -> usize {
        self.hub.dialog_count()
    }

    /// The transactions, for their number and counters.
    pub fn transactions(&self) -> &sip::transaction::Layer {
        &self.hub.layer
    }

    /// What it has seen and done.
    pub fn counters(&self) -> &Counters {
        &self.hub.counters
    }

    /// How often an offer or an answer was refused, or could not be made, for its security, by reason.
    pub fn srtp_refusals(&self) -> &BTreeMap<&'static str, u64> {
        &self.hub.srtp_refusals
    }

    /// Whether anything is left that wants time: calls, transactions, deadlines.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.hub.layer.is_empty()
            && self.hub.clients.is_empty()
            && self.hub.accounts.is_empty()
            && self.hub.trunks.is_idle()
            && self.hub.callers.is_idle()
            && self.hub.errands.is_empty()
            && self.hub.servers.is_empty()
            && self.hub.media.is_empty()
            && self.hub.media_calls.is_empty()
            && self.hub.dialog_count() == 0
            && self.hub.deadlines.is_empty()
    }

    /// Takes no new calls from now on (503), or takes them again.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Has changes of calls kept for [`poll_changes`](Self::poll_changes) from now on, beginning with a list of all
    /// calls, or no longer. Watching again begins the list anew.
    pub fn watch(&mut self, on: bool) {
        self.untold.watch(on, &self.calls);
    }

    /// At most `calls_max` calls that are new, have changed or are gone; `None` when nothing is left to be told. What is
    /// not polled is kept at the cost of a few bytes a call.
    pub fn poll_changes(&mut self, calls_max: usize) -> Option<Changes> {
        self.untold.poll(calls_max, &self.calls)
    }

    /// Ends one call because an operator wants it: both parties get a `Reason` with `q850` (1 to 127) and `text`, which
    /// must be printable. Gives the call as it is then; one that is ending already goes on doing so. `None` if there is
    /// no such call.
    pub fn hang_up(
        &mut self,
        now: Timestamp,
        call: &CallId,
        q850: u8,
        text: impl Into<Cow<'static, str>>,
    ) -> Option<Overview> {
        // Calls without media yet are in no index: they are few and young.
        let key = match self.hub.media_calls.get(call) {
            Some(&key) => key,
            None => self.calls.values().find(|held| held.id == *call)?.key,
        };
        let mut overview = None;
        self.with_call(key, |call, hub| {
            let mut cause = Cause::ended(Released::Us, q850, text);
            if !call.record.is_answered() {
                cause.sip_status = 480;
            }
            let reason = Some(cause.reason_header());
            let ending = Ending {
                reason,
                ..Ending::of(cause)
            };
            call.end(hub, now, ending);
            overview = Some(call.overview());
        });
        self.handle_events(now);
        overview
    }

    /// Ends all calls, for a stop that cannot wait. Go on handling and polling for as long as the process may stay:
    /// the parties' answers to the BYEs, and the last statistics, come later.
    pub fn end_all(&mut self, now: Timestamp) {
        self.draining = true;
        let mut keys: Vec<CallKey> = self.calls.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.with_call(key, |call, hub| {
                let cause = call.cause_of_ours(41, "Stopping");
                let retry_after = Some(hub.config.retry_after_s);
                call.end(
                    hub,
                    now,
                    Ending {
                        retry_after,
                        ..Ending::of(cause)
                    },
                );
            });
        }
        self.handle_events(now);
    }

    /// Takes a message from a transport.
    pub fn handle_message(&mut self, now: Timestamp, source: Source, message: Message) {
        if self.answer_outside(&source, &message) {
            return;
        }
        self.hub.layer.handle_message(now, source, message);
        self.handle_events(now);
    }

    /// The transport could not send to `destination`.
    pub fn handle_transport_error(&mut self, now: Timestamp, destination: Destination) {
        self.hub.layer.handle_transport_error(now, destination);
        self.handle_events(now);
    }

    /// Whether a request with a tag in `To` is in a dialog that we have.
    pub fn is_in_dialog(&self, request: &Message) -> bool {
        let local_tag = tag_of(request, HeaderName::To);
        self.hub
            .dialog(request.call_id().unwrap_or(""), local_tag)
            .is_some()
    }

    /// A tag of ours, for a response that is made elsewhere.
    pub fn new_tag(&mut self) -> String {
        self.hub.tag()
    }

    /// Answers a request that came out as [`Output::Register`].
    pub fn respond(&mut self, now: Timestamp, key: ServerKey, response: Message) {
        self.hub.respond_with(now, key, response);
        self.handle_events(now);
    }

    /// Says where the call goes that came out as [`Output::Place`]. `account` is the address-of-record (a URI) of the user
    /// that has proved to be the caller.
    pub fn place(
        &mut self,
        now: Timestamp,
        asked: &crate::Asked,
        placement: crate::Placement,
        account: Option<String>,
    ) {
        self.place_call(now, asked, placement, account);
        self.handle_events(now);
    }

    /// Takes these trunks with their limits and forgets others; those that stay keep their state. Servers of a trunk count as up
    /// until [`set_server_up`](Self::set_server_up) says else.
    pub fn set_trunks(&mut self, trunks: &[(TrunkId, TrunkLimits)]) {
        self.hub.trunks.set(trunks);
    }

    /// Obeys these servers, and no others, when they want to be sent less (RFC 7339); requests to them offer it. Those that stay
    /// keep their state.
    pub fn obey(&mut self, servers: &[(Transport, SocketAddr)]) {
        self.hub.layer.obey(servers.iter().copied());
        self.hub.trunks.obey(servers.iter().copied());
    }

    /// Whether a server of a trunk is there: calls pass it over while it is not, unless none is.
    pub fn set_server_up(&mut self, trunk: TrunkId, transport: Transport, remote: SocketAddr, up: bool) {
        self.hub.trunks.set_up(trunk, transport, remote, up);
    }

    /// The `Route` values that calls to a trunk have (RFC 3608 §5).
    pub fn set_service_route(&mut self, trunk: TrunkId, route: Arc<[String]>) {
        self.hub.trunks.set_service_route(trunk, route);
    }

    /// How much of our calls a trunk has.
    pub fn trunk_use(&self, trunk: TrunkId) -> TrunkUse {
        self.hub.trunks.used(trunk)
    }

    /// Whether [`trunk_use`](Self::trunk_use) of any trunk has changed since this was asked last.
    pub fn trunks_have_changed(&mut self) -> bool {
        self.hub.trunks.have_changed()
    }

    /// How we name ourselves towards `destination`: `host` or `host:port`.
    pub fn host_towards(&self, destination: &Destination) -> &str {
        self.hub.host_towards(destination)
    }

    /// Sends a request that is no call's, in a transaction of its own: any method but INVITE, ACK and CANCEL, complete but
    /// for its Via. What becomes of it comes out once as [`Output::Answered`] with `id`.
    pub fn send_request(&mut self, now: Timestamp, id: u64, request: Message, destination: Destination) {
        let sent = match request.method() {
            Some(Method::Invite) => None,
            _ => self.hub.layer.send_request(now, request, destination).ok(),
        };
        match sent {
            Some(key) => drop(self.hub.clients.insert(key, Client::Outside(id))),
            None => self.answered(id, Err(Lost::NotSent)),
        }
    }

    fn answered(&mut self, id: u64, response: Result<Message, Lost>) {
        let answered = Answered { id, response };
        self.hub.output(Output::Answered(Box::new(answered)));
    }

    /// Takes the answer to a media request. One that was given up meanwhile is ignored.
    pub fn handle_media(&mut self, now: Timestamp, answer: MediaAnswer) {
        if let Some(key) = self.hub.media.remove(&answer.id) {
            self.with_call(key, |call, hub| {
                call.media.shows(answer.fingerprint);
                call.handle_media(hub, now, Some(answer.id), answer.result)
            });
            self.handle_events(now);
        }
    }

    /// Takes an event of the media node `node`.
    pub fn handle_media_event(&mut self, now: Timestamp, node: &NodeName, event: media_types::Event) {
        let Some(&key) = self.hub.media_calls.get(&event.call) else {
            return;
        };
        self.with_call(key, |call, hub| {
            if call.media.node() == Some(node) {
                call.handle_media_event(hub, now, event.kind);
            }
        });
        self.handle_events(now);
    }

    /// Fires what is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.hub.layer.handle_timeout(now);
        self.handle_events(now);
        while let Some((key, deadline)) = self.hub.deadlines.pop(now) {
            self.with_call(key, |call, hub| call.handle_deadline(hub, now, deadline));
            self.handle_events(now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when nothing waits.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.hub.layer.poll_timeout(), self.hub.deadlines.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.hub.poll_output()
    }

    fn handle_events(&mut self, now: Timestamp) {
        self.hub.hear_overloads(now);
        loop {
            while let Some(event) = self.hub.poll_event() {
                self.handle_event(now, event);
            }
            if !self.run_errands(now) {
                return;
            }
        }
    }

    fn handle_event(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Request { key, source, message } => self.handle_request(now, key, source, &message),
            Event::Ack { message, .. } => self.handle_ack(now, &message),
            Event::Cancelled { invite, message, .. } => match self.hub.servers.get(&invite) {
                Some(&Server::Invite(key)) => {
                    self.with_call(key, |call, hub| call.handle_cancel(hub, now, &message))
                }
                Some(&Server::Reinvite(key)) => {
                    self.with_call(key, |call, hub| call.cancel_exchange(hub, now, invite, &message));
                }
                Some(&Server::Newcomer(key)) => {
                    self.with_call(key, |call, hub| call.newcomer_cancels(hub, now, invite));
                }
                None => {}
            },
            Event::Response { key, message, .. } => {
                if let Some(key) = self.hub.accounts.first(key)
                    && !self.answer_challenge(now, key, &message)
                {
                    self.handle_response(now, key, &message);
                }
            }
            Event::TimedOut { key } => {
                if let Some(key) = self.hub.accounts.first(key) {
                    self.handle_lost(now, key, true);
                }
            }
            Event::TransportFailed { key } => {
                if let Some(key) = self.hub.accounts.first(key) {
                    self.handle_lost(now, key, false);
                }
            }
            Event::ClientTerminated { key } => {
                if let Some(key) = self.hub.accounts.terminated(key) {
                    self.hub.clients.remove(&key);
                }
            }
            Event::ServerTerminated { key } => {
                self.hub.servers.remove(&key);
            }
            // A failure without an ACK, and an answer that nobody waits for any more, are the client's matter.
            Event::Unacknowledged { .. } | Event::ResponseUndelivered { .. } | Event::Abandoned { .. } => {}
        }
    }

    fn handle_ack(&mut self, now: Timestamp, ack: &Message) {
        let local_tag = tag_of(ack, HeaderName::To);
        if let Some((key, side)) = self.hub.dialog(ack.call_id().unwrap_or(""), local_tag) {
            self.with_call(key, |call, hub| call.handle_ack(hub, now, side, ack));
        }
    }

    /// Lets a call act, with its name on what is logged, and forgets it when it is finished.
    fn with_call(&mut self, key: CallKey, act: impl FnOnce(&mut Call, &mut Hub)) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let span = tracing::info_span!("call", call = %call.id);
        let _in_span = span.enter();
        let before = self.untold.is_watched().then(|| call.glance());
        act(call, &mut self.hub);
        if call.is_finished() {
            call.forget(&mut self.hub);
            self.gone(key);
        } else if before.is_some_and(|before| before != call.glance()) {
            self.untold.changed(key);
        }
    }

    fn gone(&mut self, key: CallKey) {
        let gone_max = self.hub.config.calls_max;
        let call = self.calls.remove(&key);
        if call.is_some_and(|call| self.untold.gone(key, &call, gone_max)) {
            self.untold.watch(true, &self.calls);
        }
    }
}

/// The node's word for a party that has stopped to ask for media (RFC 7675).
const ICE_CONSENT: &str = "ice_consent";

impl Call {
    /// A cause of our own making, by whether the call was answered.
    fn cause_of_ours(&self, q850: u8, text: &'static str) -> Cause {
        if self.record.is_answered() {
            Cause::ended(Released::Us, q850, text)
        } else {
            Cause {
                q850,
                ..Cause::failed(Released::Us, 503, text)
            }
        }
    }

    /// Nothing comes from a party that should send.
    fn media_silent(&mut self, hub: &mut Hub, now: Timestamp) {
        let ends = hub.config.media_timeout_action == MediaTimeout::EndCall;
        if ends && self.phase == Phase::Answered && !self.is_in_transfer() {
            self.end(
                hub,
                now,
                Ending::of(Cause::ended(Released::Us, 102, "Media timeout")),
            );
        }
    }

    fn handle_media_event(&mut self, hub: &mut Hub, now: Timestamp, event: EventKind) {
        match event {
            EventKind::FirstPacket { leg, line } => tracing::debug!(%leg, line, "first packet"),
            EventKind::Latched { leg, line, source } => tracing::debug!(%leg, line, %source, "latched"),
            EventKind::MediaTimeout { leg, line } => {
                tracing::warn!(%leg, line, "media timeout");
                self.media_silent(hub, now);
            }
            EventKind::SetupFailed { leg, line, reason } if reason == ICE_CONSENT => {
                tracing::warn!(%leg, line, "the party no longer asks for media");
                self.media_silent(hub, now);
            }
            EventKind::SetupFailed { leg, line, reason } => {
                tracing::warn!(%leg, line, reason, "media cannot be set up");
                let cause = self.cause_of_ours(88, reason);
                self.end(hub, now, Ending::of(cause));
            }
            EventKind::Ended { cause, report } => {
                let text = match cause {
                    EndCause::LeaseExpired => "Media lease expired",
                    EndCause::Shutdown => "Media node stopped",
                };
                self.media.lost(&report);
                let cause = self.cause_of_ours(41, text);
                self.end(hub, now, Ending::of(cause));
            }
        }
    }
}
