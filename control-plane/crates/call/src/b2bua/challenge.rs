//! Next hops that ask who we are (RFC 3261 §22): what they challenge is sent again with credentials before anybody hears
//! of it. The parts of a call know a request by the key of its first copy, whichever copy is under way.

use std::sync::Arc;

use sans_io::Timestamp;
use sip::digest::{Challenges, Login, Request};
use sip::message::RequestBuilder;
use sip::transaction::ClientKey;
use sip::{Destination, HeaderName, Message, Method};

use super::B2bua;
use super::by_key::ByKey;
use super::call::Call;
use super::dialog_name::{DialogName, DialogNames};
use super::hub::{Client, tag_of};
use super::leg::cseq;

/// What we send in dialogs where we have an account.
#[derive(Debug)]
pub(super) struct Accounts {
    names: DialogNames,
    dialogs: ByKey<DialogName, AtDialog>,
    /// Requests that have no final response, by the key of their first copy.
    pending: ByKey<ClientKey, Box<Pending>>,
    /// The copy that is under way of those that were sent again, by the first; and the other way round.
    latest: ByKey<ClientKey, ClientKey>,
    firsts: ByKey<ClientKey, ClientKey>,
}

#[derive(Debug)]
struct AtDialog {
    logins: Arc<[Login]>,
    shown: Option<Box<Shown>>,
}

/// What the latest INVITE of a dialog showed.
#[derive(Debug)]
struct Shown {
    cseq: u32,
    fields: Vec<(HeaderName, String)>,
}

/// A request that may be challenged.
#[derive(Debug)]
pub(super) struct Pending {
    /// As it was given to the layer last, without Via.
    request: Message,
    destination: Destination,
    logins: Arc<[Login]>,
    challenges: Challenges,
    retries: u8,
    is_cancelled: bool,
}

impl Accounts {
    pub(super) fn new(names: DialogNames) -> Self {
        Self {
            names,
            dialogs: ByKey::default(),
            pending: ByKey::default(),
            latest: ByKey::default(),
            firsts: ByKey::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dialogs.is_empty() && self.pending.is_empty() && self.latest.is_empty() && self.firsts.is_empty()
    }

    pub(super) fn add_dialog(&mut self, name: DialogName, logins: Arc<[Login]>) {
        self.dialogs.insert(name, AtDialog { logins, shown: None });
    }

    pub(super) fn remove_dialog(&mut self, name: DialogName) {
        // Most calls are nobody's account.
        if !self.dialogs.is_empty() {
            self.dialogs.remove(&name);
        }
    }

    /// What has to be kept of a request that is about to be sent, if it may be challenged.
    pub(super) fn keep(&self, request: &Message, destination: Destination) -> Option<Pending> {
        if self.dialogs.is_empty() {
            return None;
        }
        let dialog = self.dialogs.get(&self.name_of(request))?;
        Some(Pending {
            request: request.clone(),
            destination,
            logins: dialog.logins.clone(),
            challenges: Challenges::default(),
            retries: 0,
            is_cancelled: false,
        })
    }

    pub(super) fn sent(&mut self, key: ClientKey, pending: Pending) {
        self.pending.insert(key, Box::new(pending));
    }

    /// The key by which the request is known that an event is about; `None` if a later copy has taken its place.
    pub(super) fn first(&self, key: ClientKey) -> Option<ClientKey> {
        match self.firsts.get(&key) {
            Some(&first) => Some(first),
            None => (!self.latest.contains_key(&key)).then_some(key),
        }
    }

    /// The transaction is gone: the key of its request, if that is over, too.
    pub(super) fn terminated(&mut self, key: ClientKey) -> Option<ClientKey> {
        let first = self.first(key)?;
        if self.firsts.remove(&key).is_some() {
            self.latest.remove(&first);
        }
        self.pending.remove(&first);
        Some(first)
    }

    /// Notes that nobody wants the request any more. Gives the key of its copy that is under way.
    pub(super) fn cancelled(&mut self, first: ClientKey) -> ClientKey {
        if let Some(pending) = self.pending.get_mut(&first) {
            pending.is_cancelled = true;
        }
        self.latest.get(&first).copied().unwrap_or(first)
    }

    fn replaced(&mut self, first: ClientKey, copy: ClientKey) {
        if let Some(before) = self.latest.insert(first, copy) {
            self.firsts.remove(&before);
        }
        self.firsts.insert(copy, first);
    }

    /// The dialog that a request of ours is in or is to make.
    fn name_of(&self, request: &Message) -> DialogName {
        let tag = tag_of(request, HeaderName::From);
        self.names.of(request.call_id().unwrap_or(""), tag)
    }

    /// Notes what the latest INVITE of a dialog showed.
    fn show(&mut self, invite: &Message, shown: Shown) {
        let name = self.name_of(invite);
        if let Some(dialog) = self.dialogs.get_mut(&name) {
            dialog.shown = Some(Box::new(shown));
        }
    }

    /// An ACK for a 2xx shows what its INVITE showed (RFC 3261 §22.1).
    pub(super) fn with_credentials_of_invite(&self, ack: Message) -> Message {
        if self.dialogs.is_empty() {
            return ack;
        }
        let shown = self
            .dialogs
            .get(&self.name_of(&ack))
            .and_then(|it| it.shown.as_ref());
        match shown.filter(|shown| shown.cseq == cseq(&ack)) {
            Some(shown) => again(&ack, shown.cseq, &shown.fields).build().unwrap_or(ack),
            None => ack,
        }
    }
}

impl B2bua {
    /// Answers the 401 or 407 to a request of ours with the account that we have there: the same request with credentials
    /// and the next CSeq (RFC 3261 §22.2). False when there is nothing to answer with, the account was refused, or it was
    /// sent often enough: then the failure counts.
    pub(super) fn answer_challenge(&mut self, now: Timestamp, key: ClientKey, response: &Message) -> bool {
        let status = response.status().unwrap_or(0);
        if status < 200 {
            return false;
        }
        let Some(mut pending) = self.hub.accounts.pending.remove(&key) else {
            return false;
        };
        if !matches!(status, 401 | 407) || pending.is_cancelled {
            return false;
        }
        let remote = pending.destination.remote;
        if pending.retries >= self.hub.config.request_retries_max {
            tracing::warn!(next_hop = %remote, "challenged again and again");
            return false;
        }
        if let Err(error) = pending.challenges.take(response, &pending.logins) {
            tracing::warn!(%error, next_hop = %remote, "our account is not let in");
            return false;
        }
        pending.retries += 1;
        let cnonce = self.hub.tag();
        let request = &pending.request;
        let method = request.method().map_or("", |method| method.as_str());
        let asked = Request {
            method,
            uri: request.request_uri().unwrap_or(""),
            body: request.body(),
        };
        let fields = pending.challenges.credentials(asked, &pending.logins, &cnonce);
        let seq = self.next_seq(request);
        let Ok(copy) = again(request, seq, &fields).build() else {
            return false;
        };
        if copy.method() == Some(Method::Invite) {
            self.hub.accounts.show(&copy, Shown { cseq: seq, fields });
        }
        let sent = self
            .hub
            .layer
            .send_request(now, copy.clone(), pending.destination);
        let Ok(latest) = sent else { return false };
        self.hub.accounts.replaced(key, latest);
        if let Some(Client::Newcomer(attempt)) = self.hub.clients.get_mut(&key) {
            attempt.invite = copy.clone();
        }
        let mut invited = None;
        if let Some(Client::Attempt(attempt)) = self.hub.clients.get_mut(&key) {
            attempt.invite = copy.clone();
            invited = Some(attempt.call);
        }
        pending.request = copy;
        self.hub.accounts.pending.insert(key, pending);
        if let Some(call) = invited {
            self.with_call(call, |call, hub| call.invite_repeated(hub, now, key));
        }
        true
    }

    /// The CSeq number after that of `request`, in the order of its dialog if there is one yet.
    fn next_seq(&mut self, request: &Message) -> u32 {
        let (ours, theirs) = (tag_of(request, HeaderName::From), tag_of(request, HeaderName::To));
        let found = self.hub.dialog(request.call_id().unwrap_or(""), ours);
        let call = found.and_then(|(key, _)| self.calls.get_mut(&key));
        let in_dialog = call.and_then(|call| call.next_seq(ours, theirs));
        in_dialog.unwrap_or_else(|| cseq(request).saturating_add(1))
    }
}

impl Call {
    /// The next CSeq number in the dialog with these tags, early or confirmed.
    fn next_seq(&mut self, local_tag: &str, remote_tag: &str) -> Option<u32> {
        let early = self
            .outbound
            .forks
            .iter_mut()
            .flat_map(|fork| [fork.legs.caller.as_mut(), fork.legs.callee.as_mut()]);
        let legs = [self.legs.caller.as_mut(), self.legs.callee.as_mut()];
        let moved = self.transfers.iter_mut().flat_map(|it| it.legs_mut());
        let mut legs = legs.into_iter().chain(early).flatten().chain(moved);
        let leg = legs.find(|leg| leg.local_tag() == local_tag && leg.remote_tag() == remote_tag)?;
        Some(leg.dialog().next_seq())
    }
}

/// The request again with that CSeq number, and these credentials in place of those it had.
fn again(request: &Message, seq: u32, fields: &[(HeaderName, String)]) -> RequestBuilder {
    let method = request.method().map_or("", |method| method.as_str());
    let mut again = RequestBuilder::new(method, request.request_uri().unwrap_or(""));
    for header in request.headers() {
        again = match header.id {
            // The layer and the builder make theirs.
            HeaderName::Via | HeaderName::ContentLength | HeaderName::ContentType => again,
            HeaderName::Authorization | HeaderName::ProxyAuthorization => again,
            HeaderName::CSeq => again.header(HeaderName::CSeq, format_args!("{seq} {method}")),
            HeaderName::Other => again.header(header.name, header.value),
            known => again.header(known, header.value),
        };
    }
    again = fields
        .iter()
        .fold(again, |again, (name, value)| again.header(*name, value));
    match request.content_type() {
        Some(content_type) => again.body(content_type, request.body()),
        None => again,
    }
}
