use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use media_types::{CallId, NodeName};
use sans_io::{Random, Timestamp};
use sip::dialog::{new_call_id, new_tag};
use sip::digest::Login;
use sip::message::{RequestBuilder, ResponseBuilder};
use sip::transaction::{ClientKey, Event, Layer, Listener, ServerKey};
use sip::{Destination, HeaderName, Message, Source, Transport};

use super::attempt::Attempt;
use super::by_key::ByKey;
use super::callers::Callers;
use super::challenge::Accounts;
use super::deadlines::Deadlines;
use super::dialog_name::{DialogName, DialogNames};
use super::side::Side;
use super::transfer::Errand;
use super::trunks::Trunks;
use crate::{Config, Counters, MediaKind, MediaRequest, MediaRequestId, Output};

/// Names a call within the process; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallKey(pub(super) u64);

/// What a client transaction is for.
#[derive(Debug)]
pub(super) enum Client {
    /// The INVITE of a call to one next hop.
    Attempt(Box<Attempt>),
    /// A re-INVITE or UPDATE that we passed on to `side`, and for a re-INVITE the ACK of its 2xx once that is known.
    Exchange {
        call: CallKey,
        side: Side,
        ack: Option<Box<sip::Transmit>>,
    },
    /// A refresh of the session of `side`, and for a re-INVITE the ACK of its 2xx once that is known.
    Refresh {
        call: CallKey,
        side: Side,
        ack: Option<Box<sip::Transmit>>,
    },
    /// The INVITE to somebody who shall take a party's place.
    Newcomer(Box<Attempt>),
    /// A re-INVITE without an offer to a party of another call that shall take a party's place in this one, and the ACK of
    /// its 2xx once that is known.
    Lent {
        call: CallKey,
        ack: Option<Box<sip::Transmit>>,
    },
    /// A re-INVITE with a newcomer's offer to the party that stays, and the ACK of its 2xx once that is known.
    Stayer {
        call: CallKey,
        side: Side,
        ack: Option<Box<sip::Transmit>>,
    },
    /// A NOTIFY to a transferor.
    Notify { call: CallKey },
    /// The BYE to `side`.
    Bye { call: CallKey, side: Side },
    /// A request that was passed on within the dialogs and means nothing to us: its response goes back.
    Relay {
        server: ServerKey,
        request: Box<Message>,
    },
    /// A BYE to a fork that lost: nobody waits for the response.
    Farewell,
    /// A request that is no call's, with the number that its sender knows it by.
    Outside(u64),
}

/// What a server transaction that has no final response yet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The INVITE that began the call.
    Invite(CallKey),
    /// A re-INVITE.
    Reinvite(CallKey),
    /// An INVITE whose sender takes the place of a party (RFC 3891).
    Newcomer(CallKey),
}

/// What all calls share: the transactions, the outputs, the clockwork and the indexes by which a call is found.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: Config,
    pub(super) layer: Layer,
    pub(super) random: Random,
    pub(super) deadlines: Deadlines,
    pub(super) counters: Counters,
    /// How often an offer or an answer was of no use for its security, by reason.
    pub(super) srtp_refusals: BTreeMap<&'static str, u64>,
    pub(super) clients: ByKey<ClientKey, Client>,
    pub(super) servers: ByKey<ServerKey, Server>,
    pub(super) media: ByKey<MediaRequestId, CallKey>,
    pub(super) media_calls: HashMap<CallId, CallKey>,
    /// What may be challenged.
    pub(super) accounts: Accounts,
    pub(super) trunks: Trunks,
    pub(super) callers: Callers,
    /// What calls want of each other.
    pub(super) errands: VecDeque<Errand>,
    names: DialogNames,
    dialogs: ByKey<DialogName, (CallKey, Side)>,
    media_requests: u64,
    outputs: VecDeque<Output>,
}

impl Hub {
    /// Counts an offer or an answer that is of no use for its security.
    pub(super) fn count_srtp(&mut self, reason: &'static str) {
        *self.srtp_refusals.entry(reason).or_default() += 1;
    }

    pub(super) fn new(config: Config, mut random: Random) -> Self {
        let names = DialogNames::default();
        Self {
            layer: Layer::new(config.transactions.clone(), random.fork()),
            trunks: Trunks::new(config.rest_max, random.fork()),
            callers: Callers::default(),
            config,
            random,
            deadlines: Deadlines::default(),
            counters: Counters::default(),
            srtp_refusals: BTreeMap::new(),
            clients: ByKey::default(),
            servers: ByKey::default(),
            media: ByKey::default(),
            media_calls: HashMap::new(),
            accounts: Accounts::new(names.clone()),
            errands: VecDeque::new(),
            names,
            dialogs: ByKey::default(),
            media_requests: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Puts an output in line, behind what the layer wants to send by now: a record stays before the messages that
    /// are sent after it.
    pub(super) fn output(&mut self, output: Output) {
        self.drain_layer();
        self.outputs.push_back(output);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.drain_layer();
        self.outputs.pop_front()
    }

    fn drain_layer(&mut self) {
        while let Some(transmit) = self.layer.poll_transmit() {
            self.outputs.push_back(Output::Send(transmit));
        }
    }

    /// Takes what servers have said about their overload.
    pub(super) fn hear_overloads(&mut self, now: Timestamp) {
        while let Some((destination, overload)) = self.layer.poll_overload() {
            let is_taken = overload.is_ok_and(|overload| self.trunks.hear(now, &destination, overload));
            match is_taken {
                true => self.counters.overloads_heard += 1,
                false => self.counters.overloads_ignored += 1,
            }
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.layer.poll_event()
    }

    /// A tag of ours.
    pub(super) fn tag(&mut self) -> String {
        new_tag(&mut self.random)
    }

    /// A party's description, as far as parties may agree on what it says.
    pub(super) fn read_session(&self, body: &[u8]) -> Result<sdp::Session, sdp::ParseError> {
        let mut session = sdp::Session::parse_with(body, &self.config.sdp_limits)?;
        if let Some(uris) = &self.config.header_extensions {
            session.keep_header_extensions(uris);
        }
        Ok(session)
    }

    /// A `Call-ID` of ours: it says nothing about the caller's.
    pub(super) fn sip_call_id(&mut self) -> String {
        new_call_id(&mut self.random)
    }

    /// A new call's name: 26 characters of base 32, 128 random bits.
    pub(super) fn call_id(&mut self) -> CallId {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let bits = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let digit = |place: u32| char::from(DIGITS[(bits >> (5 * place) & 31) as usize]);
        let name: String = (0..26).rev().map(digit).collect();
        CallId::new(&name).expect("26 printable characters are a name")
    }

    /// Finds the dialog that a request belongs to, by `Call-ID` and our tag (RFC 3261 §12.2.2).
    pub(super) fn dialog(&self, call_id: &str, local_tag: &str) -> Option<(CallKey, Side)> {
        self.dialogs.get(&self.name(call_id, local_tag)).copied()
    }

    /// How a dialog is known, whatever becomes of it.
    pub(super) fn name(&self, call_id: &str, local_tag: &str) -> DialogName {
        self.names.of(call_id, local_tag)
    }

    pub(super) fn add_dialog(&mut self, call_id: &str, local_tag: &str, call: CallKey, side: Side) {
        self.dialogs.insert(self.name(call_id, local_tag), (call, side));
    }

    pub(super) fn remove_dialog(&mut self, call_id: &str, local_tag: &str) {
        self.remove_name(self.name(call_id, local_tag));
    }

    pub(super) fn remove_name(&mut self, name: DialogName) {
        self.accounts.remove_dialog(name);
        self.dialogs.remove(&name);
    }

    /// What we send in this dialog may be challenged, and is answered with `logins`. To be told before the first request.
    pub(super) fn log_in(&mut self, call_id: &str, local_tag: &str, logins: &Arc<[Login]>) {
        let name = self.name(call_id, local_tag);
        self.accounts.add_dialog(name, logins.clone());
    }

    /// How many dialogs are known, early ones included.
    pub(super) fn dialog_count(&self) -> usize {
        self.dialogs.len()
    }

    /// Asks the media plane.
    pub(super) fn ask_media(
        &mut self,
        call: CallKey,
        id: &CallId,
        node: Option<NodeName>,
        kind: MediaKind,
    ) -> MediaRequestId {
        self.media_requests += 1;
        let request = MediaRequestId(self.media_requests);
        let key = media_types::IdempotencyKey::new(&format!("{id}-{}", self.media_requests))
            .expect("a call id and a number are a name");
        self.media.insert(request, call);
        self.output(Output::Media(MediaRequest {
            id: request,
            call: id.clone(),
            key,
            node,
            kind,
        }));
        request
    }

    /// Sends a request in a transaction of its own. `None` when it could not even be begun; the reason is logged.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        builder: RequestBuilder,
        destination: Destination,
        client: impl FnOnce(&Message) -> Client,
    ) -> Option<ClientKey> {
        let request = match builder.build() {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(%error, "a request could not be built");
                return None;
            }
        };
        let client = client(&request);
        let challengeable = self.accounts.keep(&request, destination);
        match self.layer.send_request(now, request, destination) {
            Ok(key) => {
                self.clients.insert(key, client);
                if let Some(pending) = challengeable {
                    self.accounts.sent(key, pending);
                }
                Some(key)
            }
            Err(error) => {
                tracing::warn!(%error, "a request could not be sent");
                None
            }
        }
    }

    /// Cancels an INVITE of ours, whichever copy of it is under way (RFC 3261 §9.1). One that is challenged from now on is
    /// not sent again.
    pub(super) fn cancel(&mut self, now: Timestamp, client: ClientKey, reason: Option<&str>) {
        let client = self.accounts.cancelled(client);
        // That it has its final response, or is gone, is what §9.1 means by no effect.
        let _ = self.layer.cancel(now, client, reason);
    }

    /// Sends an ACK for a 2xx and gives it back, to be sent again when the 2xx comes again.
    pub(super) fn send_ack(
        &mut self,
        builder: RequestBuilder,
        destination: Destination,
    ) -> Option<sip::Transmit> {
        let transmit = self.prepare_ack(builder, destination)?;
        self.output(Output::Send(transmit.clone()));
        Some(transmit)
    }

    /// An ACK for a 2xx that has not come yet.
    pub(super) fn prepare_ack(
        &mut self,
        builder: RequestBuilder,
        destination: Destination,
    ) -> Option<sip::Transmit> {
        let ack = builder
            .build()
            .inspect_err(|error| tracing::warn!(%error, "an ACK could not be built"))
            .ok()?;
        let ack = self.accounts.with_credentials_of_invite(ack);
        self.layer.ack(&ack, destination).ok()
    }

    /// Gives a response to a transaction. That the client has gone meanwhile is no fault.
    pub(super) fn respond(&mut self, now: Timestamp, key: ServerKey, response: ResponseBuilder<'_>) {
        match response.build() {
            Ok(response) => self.respond_with(now, key, response),
            Err(error) => tracing::warn!(%error, "a response could not be built"),
        }
    }

    pub(super) fn respond_with(&mut self, now: Timestamp, key: ServerKey, response: Message) {
        if response.status().is_some_and(|status| status >= 200) {
            self.servers.remove(&key);
        }
        if let Err(error) = self.layer.respond(now, key, response) {
            tracing::debug!(%error, "a response was not sent");
        }
    }

    /// Gives a final response without a body; the tag is for a request that has none in `To`.
    pub(super) fn refuse(&mut self, now: Timestamp, key: ServerKey, request: &Message, status: u16) {
        let tag = self.tag();
        let response =
            ResponseBuilder::for_request(request, status, sip::message::reason_phrase(status)).to_tag(&tag);
        self.respond(now, key, response);
    }

    /// The value of `Contact` in what goes to `destination`.
    pub(super) fn contact(&self, destination: &Destination) -> String {
        contact(destination.transport, self.host_towards(destination))
    }

    /// The value of `Contact` in what answers a request from `source`: the very socket that it came to, so that a
    /// party on one of our networks is not sent to another.
    pub(super) fn contact_at(&self, source: &Source) -> String {
        let is_it = |listener: &&Listener| {
            let is_address = listener.local.ip() == source.local.ip() || listener.local.ip().is_unspecified();
            listener.transport == source.transport
                && is_address
                && listener.local.port() == source.local.port()
        };
        match self.config.transactions.listeners.iter().find(is_it) {
            Some(listener) => contact(source.transport, &listener.sent_by),
            None => self.contact(&(*source).into()),
        }
    }

    /// How we name ourselves towards `destination`: `host` or `host:port`.
    pub(super) fn host_towards(&self, destination: &Destination) -> &str {
        let transactions = &self.config.transactions;
        let listener = transactions
            .listener(destination)
            .or_else(|| transactions.listeners.first());
        listener.map_or("invalid", |listener| listener.sent_by.as_str())
    }
}

fn contact(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Udp => format!("<sip:{host}>"),
        other => format!("<sip:{host};transport={}>", other.uri_param()),
    }
}

/// The tag in a header, or the empty one of RFC 2543.
pub(super) fn tag_of(message: &Message, name: HeaderName) -> &str {
    let address = if name == HeaderName::From {
        message.from()
    } else {
        message.to()
    };
    address.ok().and_then(|address| address.tag()).unwrap_or("")
}
