//! Redirections of a callee (RFC 3261 §8.1.3.4): refused, passed on, or followed within what is allowed.

use std::sync::Arc;

use sans_io::Timestamp;
use sip::message::{NameAddr, Scheme, Uri};
use sip::{HeaderName, Message};

use super::B2bua;
use super::branch::Branch;
use super::call::{Call, Phase};
use super::headers;
use super::hub::Hub;
use super::side::Side;
use crate::routes::in_order_of_chance;
use crate::{Called, NextHop, Output, Peer, Place, Placement, Redirect, Wanted};

/// Redirections that name where else to call; 305 and 380 ask for something else.
const fn is_redirection(status: u16) -> bool {
    matches!(status, 300..=302)
}

/// A contact of a redirection.
struct Target {
    /// Its preference in thousandths.
    q: u16,
    called: Called,
    /// As it is written, without headers: whose user it is depends on the host.
    uri: String,
}

/// The contacts of a redirection, those with the highest `q` first.
fn targets(response: &Message) -> Vec<Target> {
    let names = headers::own_names(response);
    let target = |contact: NameAddr<'_>| {
        let uri = Uri::parse(contact.uri).ok()?;
        let is_known = matches!(uri.scheme(), Scheme::Sip | Scheme::Tel);
        let (user, params) = headers::user_and_params(contact.uri, &names);
        let q = contact.param("q").map_or(Some(1_000), q_permille)?;
        (is_known && !user.is_empty()).then(|| Target {
            q,
            called: Called {
                user,
                is_phone: !params.is_empty(),
                by: None,
            },
            uri: uri.without_headers().to_owned(),
        })
    };
    let contacts = response.contacts().filter_map(Result::ok);
    let mut targets: Vec<Target> = contacts.take(CONTACTS_MAX).filter_map(target).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.q));
    targets
}

fn note_refusal(hub: &mut Hub) {
    hub.counters.redirects_refused += 1;
    tracing::warn!("a redirection leads to nobody who may be called");
}

/// More than the preferences of one user's contacts are.
const RANKS_OF_A_USER: u32 = 10_000;

/// Contacts of one redirection that are looked at.
const CONTACTS_MAX: usize = 16;

/// `q` in thousandths (RFC 3261 §25.1).
fn q_permille(text: &str) -> Option<u16> {
    let q: f32 = text.trim().parse().ok()?;
    // In range, and so without loss that matters.
    (0.0..=1.0).contains(&q).then_some((q * 1_000.0) as u16)
}

/// A redirection that is followed, while the shell says where its targets are.
#[derive(Debug)]
pub(super) struct Redirecting {
    branch: Branch,
    response: Message,
    /// Targets of which nothing is known yet.
    waiting: usize,
    hops: Vec<NextHop>,
}

impl B2bua {
    /// Says where the target of a redirection is.
    pub(super) fn redirection_located(
        &mut self,
        now: Timestamp,
        wanted: &Wanted,
        called: &Arc<Called>,
        placement: Placement,
    ) {
        self.with_call(wanted.call, |call, hub| {
            let inbound = call.inbound.as_mut();
            let Some(mut redirecting) = inbound.and_then(|inbound| inbound.redirecting.take()) else {
                return;
            };
            let hops = match placement {
                Placement::Routed => call.routed(hub, now, called),
                Placement::To(hops) => call.at_user(hub, called, hops),
                Placement::Refused(_) => Vec::new(),
            };
            redirecting.hops.extend(hops);
            redirecting.waiting -= 1;
            match &mut call.inbound {
                Some(inbound) if redirecting.waiting > 0 => inbound.redirecting = Some(redirecting),
                _ => {
                    let Redirecting {
                        branch,
                        response,
                        hops,
                        ..
                    } = *redirecting;
                    call.redirected_to(hub, now, &branch, &response, hops);
                }
            }
        });
    }
}

impl Call {
    /// Follows a redirection of a branch, if its next hop's may be: the targets are next in the list then. False if it leads
    /// nowhere.
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
        let by = self
            .outbound
            .hops
            .get(branch.hop)
            .and_then(|hop| hop.called.clone());
        let targets: Vec<(Arc<Called>, String)> = targets(response)
            .into_iter()
            .filter_map(|target| {
                let by = by.clone();
                let called = self.admitted(hub, &peer, Called { by, ..target.called })?;
                Some((called, target.uri))
            })
            .collect();
        if targets.is_empty() {
            note_refusal(hub);
            return false;
        }
        let inbound = self.inbound.as_mut();
        let Some(inbound) = inbound.filter(|inbound| inbound.redirecting.is_none()) else {
            return false;
        };
        if !hub.config.has_registrar {
            let hops = targets
                .iter()
                .flat_map(|(called, _)| self.routed(hub, now, called));
            let hops = hops.collect();
            self.redirected_to(hub, now, branch, response, hops);
            return true;
        }
        inbound.redirecting = Some(Box::new(Redirecting {
            branch: branch.clone(),
            response: response.clone(),
            waiting: targets.len(),
            hops: Vec::new(),
        }));
        for (called, uri) in targets {
            hub.output(Output::Locate(Box::new(Wanted {
                uri,
                call: self.key,
                by: Side::Callee,
                refer: None,
                redirected: Some(called),
            })));
        }
        true
    }

    /// A target that may be called, and was not before.
    fn admitted(&mut self, hub: &Hub, peer: &Peer, called: Called) -> Option<Arc<Called>> {
        let inbound = self.inbound.as_mut()?;
        let is_allowed = peer
            .redirect_to
            .iter()
            .any(|prefix| called.user.starts_with(prefix));
        let (asked, _) = headers::user_and_params(inbound.invite.request_uri().unwrap_or(""), &[]);
        let is_asked = asked == called.user;
        let is_known = is_asked || inbound.redirected.iter().any(|known| known.user == called.user);
        if !is_allowed || is_known || inbound.redirected.len() >= hub.config.redirects_max {
            return None;
        }
        let called = Arc::new(called);
        inbound.redirected.push(called.clone());
        Some(called)
    }

    /// Calls the targets of a redirection next; without any it is a failure as another.
    fn redirected_to(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        branch: &Branch,
        response: &Message,
        hops: Vec<NextHop>,
    ) {
        if self.phase != Phase::Calling {
            return;
        }
        if hops.is_empty() {
            note_refusal(hub);
            self.branch_refused(hub, now, branch, response);
            return;
        }
        hub.counters.redirects_followed += 1;
        let next = usize::from(self.outbound.next);
        let mut list = std::mem::take(&mut self.outbound.hops).into_vec();
        list.splice(next..next, hops);
        self.outbound.hops = list.into();
        self.forks_over(hub, now, branch.client, response.status().unwrap_or(302));
        self.call_next(hub, now);
    }

    /// Whether a next hop can send to the address of ours that the offer names.
    fn fits_the_offer(&self, hop: &NextHop) -> bool {
        let has_offer = self
            .inbound
            .as_ref()
            .is_some_and(|inbound| inbound.offer.is_some());
        !has_offer || hop.destination.remote.is_ipv6() == self.media.is_ipv6(Side::Callee)
    }

    /// The next hops of a target by the routing table.
    fn routed(&self, hub: &mut Hub, now: Timestamp, called: &Arc<Called>) -> Vec<NextHop> {
        let Some(hops) = hub.config.routes.lookup(&called.user) else {
            return Vec::new();
        };
        let Ok(usable) = hub.trunks.usable(now, hops) else {
            return Vec::new();
        };
        in_order_of_chance(&usable, &mut hub.random)
            .into_vec()
            .into_iter()
            .filter(|hop| self.fits_the_offer(hop))
            .map(|hop| NextHop {
                called: Some(called.clone()),
                ..hop
            })
            .collect()
    }

    /// The contacts of a target that is a user, as many as one call is tried at and may have at once.
    fn at_user(&self, hub: &mut Hub, called: &Arc<Called>, hops: Vec<NextHop>) -> Vec<NextHop> {
        let Some(inbound) = &self.inbound else {
            return Vec::new();
        };
        let breadth = usize::try_from(inbound.breadth).unwrap_or(usize::MAX);
        let most = hub.config.branches_max.min(breadth);
        hub.counters.branches_left_out += hops.len().saturating_sub(most) as u64;
        // Devices and preferences are this user's: they are none of another one's.
        let others = u32::try_from(inbound.redirected.len()).unwrap_or(u32::MAX);
        let beyond = others.saturating_mul(RANKS_OF_A_USER);
        hops.into_iter()
            .filter(|hop| self.fits_the_offer(hop))
            .take(most)
            .map(|hop| NextHop {
                place: Place {
                    rank: hop.place.rank.saturating_add(beyond),
                    ..hop.place
                },
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
        let contact = |Target { q, called, .. }: Target| {
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
