use super::route_set::RouteSet;
use super::{DialogError, DialogId};
use crate::Transmit;
use crate::message::{CSeq, HeaderName, Message, Method, NameAddr, RequestBuilder};

/// How far a dialog is (RFC 3261 §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogState {
    /// Made by a provisional response.
    Early,
    /// Made or confirmed by a 2xx.
    Confirmed,
}

/// One end of a peer-to-peer relation between two user agents (RFC 3261 §12): identifiers, sequence numbers, routes and
/// the peer's address. The session, its offers and answers, is the call's matter.
///
/// The dialog makes requests and judges those that arrive; it sends nothing. When it is over, drop it.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    state: DialogState,
    /// The From of what we send: our name-addr with our tag.
    local: Box<str>,
    /// The To of what we send: the peer's name-addr with its tag.
    remote: Box<str>,
    /// CSeq number of our latest request; `None` before the first.
    local_seq: Option<u32>,
    /// CSeq number of the peer's latest request; `None` before the first.
    remote_seq: Option<u32>,
    target: Box<str>,
    routes: RouteSet,
    /// The ACK for the latest 2xx, to be sent again when that comes again: CSeq number of the INVITE, and the ACK.
    ack: Option<Box<(u32, Transmit)>>,
}

impl Dialog {
    /// The dialog of a server that answers `request` with a 101 to 199 or 2xx that has `local_tag` (§12.1.1). It is
    /// early; a 2xx calls for [`confirm`](Self::confirm).
    ///
    /// The response must repeat the request's Record-Route and have a Contact.
    pub fn of_server(request: &Message, local_tag: &str) -> Result<Self, DialogError> {
        let from = request.from()?;
        Ok(Self {
            id: DialogId {
                call_id: request.call_id()?.into(),
                local_tag: local_tag.into(),
                remote_tag: from.tag().map(Into::into),
            },
            state: DialogState::Early,
            local: party(&request.to()?, Some(local_tag)),
            remote: party(&from, from.tag()),
            local_seq: None,
            remote_seq: Some(request.cseq()?.seq),
            target: target(request)?.ok_or(DialogError::NoContact)?,
            routes: RouteSet::of_request(request)?,
            ack: None,
        })
    }

    /// The dialog of a client whose `request` drew `response`, a 101 to 299 with a To tag (§12.1.2). Early or confirmed
    /// by the response's status.
    pub fn of_client(request: &Message, response: &Message) -> Result<Self, DialogError> {
        let status = response
            .status()
            .filter(|status| (101..300).contains(status))
            .ok_or(DialogError::NoDialog)?;
        let (from, to) = (request.from()?, response.to()?);
        let remote_tag = to.tag().ok_or(DialogError::NoDialog)?;
        Ok(Self {
            id: DialogId {
                call_id: request.call_id()?.into(),
                local_tag: from.tag().unwrap_or_default().into(),
                remote_tag: Some(remote_tag.into()),
            },
            state: if status < 200 {
                DialogState::Early
            } else {
                DialogState::Confirmed
            },
            local: party(&from, from.tag()),
            remote: party(&to, Some(remote_tag)),
            local_seq: Some(request.cseq()?.seq),
            remote_seq: None,
            // A provisional response without a Contact makes a dialog that only a later one can reach.
            target: match target(response)? {
                Some(target) => target,
                None if status < 200 => request.request_uri().unwrap_or_default().into(),
                None => return Err(DialogError::NoContact),
            },
            routes: RouteSet::of_response(response)?,
            ack: None,
        })
    }

    /// What a client needs to acknowledge a 2xx from which no dialog can be made, and to hang up on it (RFC 3261 §13.2.2.4 has
    /// an ACK for every 2xx). What is missing or cannot be read is done without: no Contact makes it the `request`'s URI, no
    /// readable Record-Route none.
    ///
    /// # Errors
    /// `response` is no 2xx, or one of the two lacks what the layer lets nothing pass without.
    pub fn to_hang_up(request: &Message, response: &Message) -> Result<Self, DialogError> {
        let is_success = response
            .status()
            .is_some_and(|status| (200..300).contains(&status));
        let (from, to) = (request.from()?, response.to()?);
        if !is_success {
            return Err(DialogError::NoDialog);
        }
        let target = target(response).ok().flatten();
        Ok(Self {
            id: DialogId {
                call_id: request.call_id()?.into(),
                local_tag: from.tag().unwrap_or_default().into(),
                remote_tag: to.tag().map(Into::into),
            },
            state: DialogState::Confirmed,
            local: party(&from, from.tag()),
            remote: party(&to, to.tag()),
            local_seq: Some(request.cseq()?.seq),
            remote_seq: None,
            target: target.unwrap_or_else(|| request.request_uri().unwrap_or_default().into()),
            routes: RouteSet::of_response(response).unwrap_or_default(),
            ack: None,
        })
    }

    /// What identifies it.
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// How far it is.
    pub fn state(&self) -> DialogState {
        self.state
    }

    /// The peer's address: the Request-URI of what we send, unless a strict router is first.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The Route values of what we send, in order, unless a strict router is first.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.routes()
    }

    /// The URI whose host our requests are sent to (§8.1.2): the first route, or the target.
    pub fn next_hop(&self) -> &str {
        self.routes.next_hop(&self.target)
    }

    /// The server sends its 2xx.
    pub fn confirm(&mut self) {
        self.state = DialogState::Confirmed;
    }

    /// The client received the 2xx for the INVITE that made this early dialog, or a further response in it. A 2xx
    /// confirms it and brings the route set anew (§13.2.2.4); either may bring a new target.
    pub fn handle_response(&mut self, response: &Message) -> Result<(), DialogError> {
        let success = response
            .status()
            .is_some_and(|status| (200..300).contains(&status));
        let new_target = target(response)?;
        if self.state == DialogState::Early {
            if success {
                self.routes = RouteSet::of_response(response)?;
                self.state = DialogState::Confirmed;
            }
            if let Some(new_target) = new_target {
                self.target = new_target;
            }
        } else if success && is_target_refresh(response.cseq()?.method) {
            self.target = new_target.unwrap_or_else(|| std::mem::take(&mut self.target));
        }
        Ok(())
    }

    /// Checks a request of the peer before anything else is done with it (§12.2.2). ACK and CANCEL have the CSeq of their
    /// INVITE and pass.
    ///
    /// # Errors
    /// [`DialogError::OutOfOrder`]: answer 500.
    pub fn handle_request(&mut self, request: &Message) -> Result<(), DialogError> {
        let cseq = request.cseq()?;
        if matches!(cseq.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        if self.remote_seq.is_some_and(|latest| cseq.seq < latest) {
            return Err(DialogError::OutOfOrder);
        }
        self.remote_seq = Some(cseq.seq);
        Ok(())
    }

    /// Takes the Contact of a re-INVITE or UPDATE of the peer for its new address. Call it when the request is
    /// accepted (RFC 6141 §4.4); other methods change nothing.
    pub fn refresh_target(&mut self, request: &Message) -> Result<(), DialogError> {
        if is_target_refresh(request.cseq()?.method)
            && let Some(target) = target(request)?
        {
            self.target = target;
        }
        Ok(())
    }

    /// A new request in the dialog (§12.2.1.1), with the next CSeq: BYE, INVITE, INFO and so on. The caller adds
    /// Contact, body and the rest and gives it to `transaction::Layer`. For an ACK see [`ack`](Self::ack).
    pub fn request(&mut self, method: &str, max_forwards: u8) -> RequestBuilder {
        let seq = self.next_seq();
        self.request_with(method, seq, max_forwards)
    }

    /// The CSeq number of a request that is sent again, with credentials (§22.2): it counts as a new one.
    pub fn next_seq(&mut self) -> u32 {
        // §8.1.1.5: below 2**31. Two thousand million requests in one dialog are not to be expected.
        let seq = self.local_seq.map_or(1, |seq| (seq + 1).min(CSeq::MAX));
        self.local_seq = Some(seq);
        seq
    }

    /// The ACK for a 2xx to our INVITE with CSeq number `invite_seq` (§13.2.2.4): see
    /// [`Layer::ack`](crate::transaction::Layer::ack), then [`keep_ack`](Self::keep_ack). It repeats the INVITE's
    /// credentials if the caller adds them.
    pub fn ack(&self, invite_seq: u32, max_forwards: u8) -> RequestBuilder {
        self.request_with("ACK", invite_seq, max_forwards)
    }

    /// Remembers the ACK that was sent for a 2xx, in place of the one before.
    pub fn keep_ack(&mut self, invite_seq: u32, ack: Transmit) {
        self.ack = Some(Box::new((invite_seq, ack)));
    }

    /// The ACK to send again, if `response` is a 2xx to INVITE that has been acknowledged already: it was repeated
    /// because the ACK was lost or is late.
    pub fn repeat_ack(&self, response: &Message) -> Option<Transmit> {
        let (seq, ack) = &**self.ack.as_ref()?;
        let cseq = response.cseq().ok()?;
        let success = response
            .status()
            .is_some_and(|status| (200..300).contains(&status));
        let same_dialog = response.to().ok()?.tag() == self.id.remote_tag.as_deref();
        (success && same_dialog && cseq.method == Method::Invite && cseq.seq == *seq).then(|| ack.clone())
    }

    /// CSeq number of our latest request.
    pub fn local_seq(&self) -> Option<u32> {
        self.local_seq
    }

    fn request_with(&self, method: &str, seq: u32, max_forwards: u8) -> RequestBuilder {
        self.routes
            .request(method, &self.target)
            .header(HeaderName::MaxForwards, max_forwards)
            .header(HeaderName::From, &self.local)
            .header(HeaderName::To, &self.remote)
            .header(HeaderName::CallId, &self.id.call_id)
            .header(HeaderName::CSeq, format_args!("{seq} {method}"))
    }
}

/// Methods whose Contact is the sender's new address (RFC 3261 §12.2, RFC 3311 §5.1).
fn is_target_refresh(method: Method<'_>) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
    )
}

fn target(message: &Message) -> Result<Option<Box<str>>, DialogError> {
    Ok(message.contact()?.map(|contact| contact.uri.into()))
}

/// A From or To value: display name, URI, tag. Other parameters belong to the message they came in.
fn party(name: &NameAddr<'_>, tag: Option<&str>) -> Box<str> {
    let display = name.display.unwrap_or_default();
    let space = if display.is_empty() { "" } else { " " };
    let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
    format!("{display}{space}<{}>{tag}", name.uri).into()
}
