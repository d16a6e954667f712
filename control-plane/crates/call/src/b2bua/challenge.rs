//! A next hop that asks who we are.

use sans_io::Timestamp;
use sip::digest::{self, Request};
use sip::message::RequestBuilder;
use sip::transaction::ClientKey;
use sip::{HeaderName, Message};

use super::attempt::Attempt;
use super::call::Call;
use super::hub::{Client, Hub};
use super::leg::cseq;

impl Call {
    /// Answers the 401 or 407 of the current next hop to our INVITE with the account that we have there: the same INVITE
    /// with credentials and the next CSeq (RFC 3261 §22.2). False when there is nothing to answer with, or the account
    /// was refused. The caller hears nothing of it.
    pub(super) fn answer_challenge(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        response: &Message,
    ) -> bool {
        let place = self.outbound.next.checked_sub(1);
        let hop = place.and_then(|place| self.outbound.hops.get(place));
        let Some(account) = hop.and_then(|hop| hop.account.clone()) else {
            return false;
        };
        let Some(Client::Attempt(attempt)) = hub.clients.get(&client) else {
            return false;
        };
        let (invite, destination) = (attempt.invite.clone(), attempt.destination);
        let cnonce = hub.tag();
        let proofs = digest::answer(
            response,
            Request {
                method: "INVITE",
                uri: invite.request_uri().unwrap_or(""),
                body: invite.body(),
            },
            digest::Account {
                username: &account.username,
                password: &account.password,
            },
            &cnonce,
            invite.has(HeaderName::Authorization) || invite.has(HeaderName::ProxyAuthorization),
        );
        let proofs = match proofs {
            Ok(proofs) => proofs,
            Err(error) => {
                tracing::warn!(%error, next_hop = %destination.remote, "our account is not let in");
                return false;
            }
        };
        let again = with_credentials(&invite, &proofs);
        let key = self.key;
        let client = hub.send(now, again, destination, |invite| {
            Client::Attempt(Box::new(Attempt::new(key, invite.clone(), destination)))
        });
        self.outbound.current = client;
        client.is_some()
    }
}

/// The INVITE again, with the next CSeq, and these credentials in place of those it had.
fn with_credentials(invite: &Message, proofs: &[(HeaderName, String)]) -> RequestBuilder {
    let mut again = RequestBuilder::new("INVITE", invite.request_uri().unwrap_or(""));
    for header in invite.headers() {
        again = match header.id {
            // The layer and the builder make theirs.
            HeaderName::Via | HeaderName::ContentLength | HeaderName::ContentType => again,
            HeaderName::Authorization | HeaderName::ProxyAuthorization => again,
            HeaderName::CSeq => again.header(
                HeaderName::CSeq,
                format_args!("{} INVITE", cseq(invite).saturating_add(1)),
            ),
            HeaderName::Other => again.header(header.name, header.value),
            known => again.header(known, header.value),
        };
    }
    again = proofs
        .iter()
        .fold(again, |again, (name, value)| again.header(*name, value));
    match invite.content_type() {
        Some(content_type) => again.body(content_type, invite.body()),
        None => again,
    }
}
