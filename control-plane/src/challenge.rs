//! Requests that would begin something and do not show who asks: answered before any state is kept.

use call::Asked;
use guard::Offence;
use registrar::Refusal;
use sans_io::Timestamp;
use sip::digest;
use sip::message::{ResponseBuilder, reason_phrase};
use sip::transaction::response_destination;
use sip::{Message, Method, Source, Transmit};

use crate::shell::Shell;

/// What the registrar said of the request that is being worked on, before its transaction began.
#[derive(Debug)]
pub enum Prepared {
    /// The response to a REGISTER.
    Registered(Option<Message>),
    /// Whether a call may be made.
    Admitted(Result<Option<String>, Option<Message>>),
}

impl Shell {
    /// Takes a message and gives what is left to be worked on: nothing when it was a REGISTER or INVITE that was challenged, or is in
    /// no dialog. Such an answer leaves no transaction, no timer and no repetition behind, whoever sent the request.
    pub(crate) fn challenge(&mut self, now: Timestamp, source: Source, message: Message) -> Option<Message> {
        if self.is_in_no_dialog(&source, &message) {
            return None;
        }
        let Some(registrar) = &mut self.registrar else {
            return Some(message);
        };
        let is_outside = || message.to().is_ok_and(|to| to.tag().is_none());
        let is_closed = registrar.config().authentication.is_some();
        let is_register = match message.method() {
            Some(Method::Register) if is_closed && is_outside() => true,
            Some(Method::Invite) if registrar.challenges_call(&source) && is_outside() => {
                if self.trusts_next_hops && self.next_hops.contains(&source.remote.ip().to_canonical()) {
                    self.prepared = Some(Prepared::Admitted(Ok(None)));
                    return Some(message);
                }
                false
            }
            _ => return Some(message),
        };
        let Some((request, tag)) = self.b2bua.transactions().stateless(&source, &message) else {
            return Some(message);
        };
        let (prepared, response) = if is_register {
            registrar.set_full(!self.journal.has_room());
            let response = registrar.register(now, &source, &request, &tag);
            (Prepared::Registered(response.clone()), response)
        } else {
            let admitted = registrar.admit_call(now, &source, &request, &tag);
            let response = admitted.as_ref().err().cloned().flatten();
            (Prepared::Admitted(admitted), response)
        };
        let refused = registrar.refused();
        let is_proven = registrar.answers_challenge(now, &source, &request);
        self.keep_bindings();
        match refused {
            Some(Refusal::Credentials(why)) => {
                match why {
                    digest::Refusal::None => self.transport.report(&source, Offence::Challenged),
                    digest::Refusal::Wrong if is_proven => {
                        self.transport.report(&source, Offence::Credentials)
                    }
                    _ => {}
                }
                if let (Some(response), Some(destination)) =
                    (response, response_destination(&source, &request))
                {
                    let bytes = response.bytes().clone();
                    self.transport.send(Transmit { destination, bytes });
                }
                None
            }
            Some(_) => {
                self.prepared = Some(prepared);
                Some(request)
            }
            None => {
                self.transport.vouch(&source);
                self.prepared = Some(prepared);
                Some(request)
            }
        }
    }

    /// Answers a request that has a tag of ours and is in no dialog, which anybody can make up (RFC 3261 §12.2.2).
    fn is_in_no_dialog(&mut self, source: &Source, message: &Message) -> bool {
        let status = match message.method() {
            None | Some(Method::Ack | Method::Cancel) => return false,
            Some(Method::Other(_)) => 501,
            Some(_) => 481,
        };
        let has_tag = message.to().is_ok_and(|to| to.tag().is_some());
        if !has_tag || self.b2bua.is_in_dialog(message) {
            return false;
        }
        // A repetition belongs to the transaction that its dialog left behind.
        let Some((request, tag)) = self.b2bua.transactions().stateless(source, message) else {
            return false;
        };
        let response = ResponseBuilder::for_request(&request, status, reason_phrase(status)).to_tag(&tag);
        if let (Ok(response), Some(destination)) = (response.build(), response_destination(source, &request))
        {
            let bytes = response.bytes().clone();
            self.transport.send(Transmit { destination, bytes });
        }
        self.standing.now().outside_dialogs += 1;
        true
    }

    /// The response to a REGISTER that has a transaction now.
    pub(crate) fn registered(&mut self, now: Timestamp, asked: &Asked) -> Option<Message> {
        if let Some(Prepared::Registered(response)) = self.prepared.take() {
            return response;
        }
        let tag = self.b2bua.new_tag();
        let registrar = self.registrar.as_mut()?;
        registrar.set_full(!self.journal.has_room());
        registrar.register(now, &asked.source, &asked.request, &tag)
    }

    /// Whether a call that has a transaction now may be made.
    pub(crate) fn admitted(
        &mut self,
        now: Timestamp,
        asked: &Asked,
    ) -> Result<Option<String>, Option<Message>> {
        if let Some(Prepared::Admitted(admitted)) = self.prepared.take() {
            return admitted;
        }
        let tag = self.b2bua.new_tag();
        match &mut self.registrar {
            Some(registrar) => registrar.admit_call(now, &asked.source, &asked.request, &tag),
            None => Ok(None),
        }
    }
}
