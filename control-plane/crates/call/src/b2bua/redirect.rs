//! Redirections of a callee (RFC 3261 §8.1.3.4): refused, passed on, or followed within what is allowed.

use std::sync::Arc;

use sans_io::Timestamp;
use sip::message::{NameAddr, Scheme, Uri};
use sip::{HeaderName, Message};

use super::branch::Branch;
use super::call::Call;
use super::headers;
use super::hub::Hub;
use super::side::Side;
use crate::routes::in_order_of_chance;
use crate::{Called, NextHop, Peer, Redirect};

/// Redirections that name where else to call; 305 and 380 ask for something else.
const fn is_redirection(status: u16) -> bool {
    matches!(status, 300..=302)
}

/// The users in the contacts of a redirection, those with the highest `q` first.
fn targets(response: &Message) -> Vec<(u16, Called)> {
    let names = headers::own_names(response);
    let target = |contact: NameAddr<'_>| {
        let uri = Uri::parse(contact.uri).ok()?;
        let is_known = matches!(uri.scheme(), Scheme::Sip | Scheme::Tel);
        let (user, params) = headers::user_and_params(contact.uri, &names);
        let q = contact.param("q").map_or(Some(1_000), q_permille)?;
        (is_known && !user.is_empty()).then_some((
            q,
            Called {
                user,
                is_phone: !params.is_empty(),
                by: None,
            },
        ))
    };
    let contacts = response.contacts().filter_map(Result::ok);
    let mut targets: Vec<(u16, Called)> = contacts.take(CONTACTS_MAX).filter_map(target).collect();
    targets.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    targets
}

/// Contacts of one redirection that are looked at.
const CONTACTS_MAX: usize = 16;

/// `q` in thousandths (RFC 3261 §25.1).
fn q_permille(text: &str) -> Option<u16> {
    let q: f32 = text.trim().parse().ok()?;
    // In range, and so without loss that matters.
    (0.0..=1.0).contains(&q).then_some((q * 1_000.0) as u16)
}

impl Call {
    /// A redirection of a branch, if its next hop's may be followed: the targets are next in the list then. False if it
    /// leads nowhere.
    pub(super) fn follow(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        branch: &Branch,
        response: &Message,
    ) -> bool {
        if !is_redirection(response.status().unwrap_or(0)) {
            return false;
        }
        let Some(peer) = self.peer(branch).filter(|peer| peer.redirect == Redirect::Follow) else {
            return false;
        };
        let mut hops: Vec<NextHop> = Vec::new();
        let by = self
            .outbound
            .hops
            .get(branch.hop)
            .and_then(|hop| hop.called.clone());
        for (_, called) in targets(response) {
            let called = Called {
                by: by.clone(),
                ..called
            };
            hops.extend(self.redirected(hub, now, &peer, called));
        }
        if hops.is_empty() {
            hub.counters.redirects_refused += 1;
            tracing::warn!("a redirection leads to nobody who may be called");
            return false;
        }
        hub.counters.redirects_followed += 1;
        let next = usize::from(self.outbound.next);
        let mut list = std::mem::take(&mut self.outbound.hops).into_vec();
        list.splice(next..next, hops);
        self.outbound.hops = list.into();
        true
    }

    /// The next hops of one target; none if it may not be called, was called before, or one too many is.
    fn redirected(&mut self, hub: &mut Hub, now: Timestamp, peer: &Peer, called: Called) -> Vec<NextHop> {
        let Some(inbound) = &mut self.inbound else {
            return Vec::new();
        };
        let is_allowed = peer
            .redirect_to
            .iter()
            .any(|prefix| called.user.starts_with(prefix));
        let asked = Uri::parse(inbound.invite.request_uri().unwrap_or("")).ok();
        let asked = asked.and_then(|uri| uri.user()).map(headers::unescaped);
        let is_asked = asked.as_deref() == Some(&*called.user);
        let is_known = is_asked || inbound.redirected.iter().any(|known| known.user == called.user);
        if !is_allowed || is_known || inbound.redirected.len() >= hub.config.redirects_max {
            return Vec::new();
        }
        let called = Arc::new(called);
        inbound.redirected.push(called.clone());
        // The offer names an address of one family, and a next hop of the other could not send to it.
        let family = inbound.offer.is_some().then(|| self.media.is_ipv6(Side::Callee));
        let Some(hops) = hub.config.routes.lookup(&called.user) else {
            return Vec::new();
        };
        let Ok(usable) = hub.trunks.usable(now, hops) else {
            return Vec::new();
        };
        let fits = |hop: &NextHop| family.is_none_or(|is_ipv6| hop.destination.remote.is_ipv6() == is_ipv6);
        in_order_of_chance(&usable, &mut hub.random)
            .into_vec()
            .into_iter()
            .filter(fits)
            .map(|hop| NextHop {
                called: Some(called.clone()),
                ..hop
            })
            .collect()
    }

    /// The contacts of a redirection for the caller, if it shall have them: they lead to us.
    pub(super) fn passed_contacts(&self, hub: &Hub, branch: &Branch, response: &Message) -> Vec<String> {
        let passes = |peer: &Arc<Peer>| peer.redirect == Redirect::Pass;
        let is_passed =
            is_redirection(response.status().unwrap_or(0)) && self.peer(branch).is_some_and(|it| passes(&it));
        let Some(inbound) = self.inbound.as_ref().filter(|_| is_passed) else {
            return Vec::new();
        };
        let ours = hub.contact_at(&inbound.source);
        let contact = |(q, called): (u16, Called)| {
            let Called { user, is_phone, .. } = called;
            let params = if is_phone { ";user=phone" } else { "" };
            let uri = ours.replacen("sip:", &format!("sip:{user}@"), 1);
            let uri = uri.trim_end_matches('>');
            format!("{uri}{params}>;q={}.{:03}", q / 1_000, q % 1_000)
        };
        targets(response).into_iter().map(contact).collect()
    }

    fn peer(&self, branch: &Branch) -> Option<Arc<Peer>> {
        self.outbound.hops.get(branch.hop)?.peer.clone()
    }
}

/// Adds [`Call::passed_contacts`] to a response.
pub(super) fn with_contacts<'a>(
    response: sip::message::ResponseBuilder<'a>,
    contacts: &[String],
) -> sip::message::ResponseBuilder<'a> {
    contacts.iter().fold(response, |response, contact| {
        response.header(HeaderName::Contact, contact)
    })
}
