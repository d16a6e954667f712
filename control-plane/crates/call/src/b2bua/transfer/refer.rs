use sans_io::Timestamp;
use sip::message::{NameAddr, ResponseBuilder, Scheme, Uri, reason_phrase};
use sip::transaction::ServerKey;
use sip::{HeaderName, Message};

use super::notify::Referral;
use super::replaces::Replaces;
use super::{Stage, Transfer};
use crate::b2bua::B2bua;
use crate::b2bua::call::{Call, Phase};
use crate::b2bua::headers;
use crate::b2bua::hub::{CallKey, Hub};
use crate::b2bua::requests::{Refusal, check, refuse};
use crate::b2bua::side::Side;
use crate::cdr::bounded;
use crate::routes::in_order_of_chance;
use crate::{NextHop, Output, Overview, Party, Placement, TransferError, TransferPolicy, Wanted};

/// Where a REFER sends the other party.
#[derive(Debug)]
pub(super) struct Referred {
    /// Without headers.
    pub(super) uri: String,
    pub(super) replaces: Option<Replaces>,
    /// `Replaces` as it was written, without escapes.
    pub(super) replaces_text: Option<String>,
}

impl Referred {
    /// Reads `Refer-To` (RFC 3515 §2.1). A method other than INVITE, and a scheme that cannot be called, are refused.
    fn of(request: &Message) -> Result<Self, Refusal> {
        let value = request
            .header(HeaderName::ReferTo)
            .ok_or_else(|| Refusal::of(400))?;
        let address = NameAddr::parse(value).map_err(|_| Refusal::of(400))?;
        let uri = address.parsed_uri().map_err(|_| Refusal::of(400))?;
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Tel) {
            return Err(Refusal::of(416));
        }
        let is_invite = |method: &str| method.eq_ignore_ascii_case("INVITE");
        if uri.param("method").is_some_and(|method| !is_invite(method)) {
            return Err(Refusal::of(403));
        }
        let replaces_text = uri.headers().and_then(|headers| header_in(headers, "Replaces"));
        let replaces = match &replaces_text {
            Some(text) => Some(Replaces::parse(text).ok_or_else(|| Refusal::of(400))?),
            None => None,
        };
        Ok(Self {
            uri: uri.without_headers().to_owned(),
            replaces,
            replaces_text,
        })
    }
}

/// The value of a header in the `headers` of a URI, without escapes (RFC 3261 §19.1.1).
fn header_in(headers: &str, name: &str) -> Option<String> {
    let (_, value) = headers
        .split('&')
        .filter_map(|header| header.split_once('='))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

impl B2bua {
    /// A REFER within a call (RFC 3515 §2.4.2).
    pub(in crate::b2bua) fn handle_refer(
        &mut self,
        now: Timestamp,
        call: CallKey,
        side: Side,
        server: ServerKey,
        request: &Message,
    ) {
        let mut checked = Err(Refusal::of(481));
        self.with_call(call, |call, hub| checked = call.check_refer(hub, side, request));
        let (policy, referred, max_forwards) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                self.hub.counters.transfers_refused += 1;
                refuse(&mut self.hub, now, server, request, refusal);
                return;
            }
        };
        let lender = referred
            .replaces
            .as_ref()
            .and_then(|replaces| self.find(replaces));
        if policy == TransferPolicy::Pass {
            self.pass_refer(now, call, side, server, request, &referred, lender, max_forwards);
            return;
        }
        let refer = Some((server, request.clone()));
        match lender {
            Some(lender) => self.transfer_to_lent(now, call, side, lender, server, request, &referred),
            None => {
                let wanted = Wanted {
                    uri: referred.uri,
                    call,
                    by: side,
                    refer,
                    redirected: None,
                };
                self.want(now, wanted);
            }
        }
    }

    /// Has the shell say where somebody is, if there are users to ask for.
    fn want(&mut self, now: Timestamp, wanted: Wanted) {
        match self.hub.config.has_registrar {
            true => self.hub.output(Output::Locate(Box::new(wanted))),
            false => {
                let _ = self.transfer_to(now, &wanted, Placement::Routed);
            }
        }
    }

    /// Transfers a call because an operator wants it: `goes` leaves, and the other party is connected with `target`, a SIP
    /// or telephone URI. What becomes of it is seen in the call's [`Overview`] and record.
    ///
    /// # Errors
    /// Why it was not even begun. With a registrar whether the target leads anywhere is known later: a failure is counted and
    /// changes nothing.
    pub fn transfer(
        &mut self,
        now: Timestamp,
        call: &media_types::CallId,
        goes: Party,
        target: &str,
    ) -> Result<Overview, TransferError> {
        let is_callable = |uri: &Uri<'_>| matches!(uri.scheme(), Scheme::Sip | Scheme::Tel);
        let uri = Uri::parse(target).ok().filter(is_callable);
        let uri = uri.ok_or(TransferError::BadTarget)?.without_headers().to_owned();
        let key = match self.hub.media_calls.get(call) {
            Some(&key) => Some(key),
            None => self
                .calls
                .values()
                .find(|held| held.id == *call)
                .map(|held| held.key),
        };
        let key = key.ok_or(TransferError::UnknownCall)?;
        let held = self.calls.get(&key).ok_or(TransferError::UnknownCall)?;
        held.check_transfer(&self.hub)?;
        let wanted = Wanted {
            uri,
            call: key,
            by: goes.side(),
            refer: None,
            redirected: None,
        };
        match self.hub.config.has_registrar {
            true => self.hub.output(Output::Locate(Box::new(wanted))),
            false => self.transfer_to(now, &wanted, Placement::Routed)?,
        }
        self.handle_events(now);
        let held = self.calls.get(&key).ok_or(TransferError::UnknownCall)?;
        Ok(held.overview())
    }

    /// Says where somebody is that came out as [`Output::Locate`].
    pub fn located(&mut self, now: Timestamp, wanted: &Wanted, placement: Placement) {
        match &wanted.redirected {
            Some(called) => self.redirection_located(now, wanted, called, placement),
            None => drop(self.transfer_to(now, wanted, placement)),
        }
        self.handle_events(now);
    }

    /// Begins the transfer, or refuses it: what the routing table does not lead to is 403.
    fn transfer_to(
        &mut self,
        now: Timestamp,
        wanted: &Wanted,
        placement: Placement,
    ) -> Result<(), TransferError> {
        let hops = match placement {
            Placement::Routed => self.hops_for(now, &wanted.uri),
            Placement::To(hops) if !hops.is_empty() => Some(hops.into()),
            Placement::To(_) | Placement::Refused(_) => None,
        };
        let mut result = Err(TransferError::UnknownCall);
        self.with_call(wanted.call, |call, hub| {
            result = call.begin_referred(hub, now, wanted, hops.unwrap_or_default());
        });
        if let Err(error) = result {
            self.hub.counters.transfers_refused += 1;
            if let Some((server, request)) = &wanted.refer {
                refuse(
                    &mut self.hub,
                    now,
                    *server,
                    request,
                    Refusal::of(error.sip_status()),
                );
            }
        }
        result
    }

    fn hops_for(&mut self, now: Timestamp, uri: &str) -> Option<Box<[NextHop]>> {
        let uri = Uri::parse(uri).ok()?;
        let hops = self.hub.config.routes.lookup(&headers::wanted_user(&uri))?;
        let hops = self.hub.trunks.usable(now, hops).ok()?;
        Some(in_order_of_chance(&hops, &mut self.hub.random))
    }
}

impl Call {
    /// The checks of a REFER, in the order in which their answers tell least.
    fn check_refer(
        &mut self,
        hub: &mut Hub,
        side: Side,
        request: &Message,
    ) -> Result<(TransferPolicy, Referred, u8), Refusal> {
        if !self.is_peer(side, request) {
            return Err(Refusal::of(481));
        }
        let max_forwards = check(hub, request, true)?;
        self.check_order(side, request)?;
        if self.phase != Phase::Answered {
            return Err(Refusal::of(if self.phase == Phase::Ended { 481 } else { 491 }));
        }
        let policy = self.policies[side];
        if policy == TransferPolicy::Refuse {
            return Err(Refusal::of(403));
        }
        let referred = Referred::of(request)?;
        self.check_transfer(hub)
            .map_err(|error| Refusal::of(error.sip_status()))?;
        Ok((policy, referred, max_forwards))
    }

    /// Begins a transfer to a target that is not in a call of ours.
    fn begin_referred(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        wanted: &Wanted,
        hops: Box<[NextHop]>,
    ) -> Result<(), TransferError> {
        self.check_transfer(hub)?;
        // Ports have one family for the life of the call.
        let is_ipv6 = self.media.is_ipv6(wanted.by);
        let mut hops = hops.into_vec();
        hops.retain(|hop| hop.destination.remote.is_ipv6() == is_ipv6);
        if hops.is_empty() {
            return Err(TransferError::NoRoute);
        }
        let request = wanted.refer.as_ref().map(|(_, request)| request);
        let referred = request.and_then(|request| Referred::of(request).ok());
        let (user, _) = headers::user_and_params(&wanted.uri, &[]);
        let transfer = Transfer {
            by: wanted.by,
            stage: Stage::Calling,
            referral: None,
            has_left: false,
            user: bounded(&user),
            uri: wanted.uri.clone(),
            known: None,
            hops: hops.into_iter(),
            max_forwards: request
                .and_then(|request| headers::max_forwards(request, hub.config.max_forwards))
                .unwrap_or(hub.config.max_forwards),
            referred_by: request.map(|request| self.referred_by(wanted.by, request)),
            replaces: referred.and_then(|referred| referred.replaces_text),
            client: None,
            until: now + hub.config.ring_timeout,
            newcomer: None,
            sent: None,
            offers: Vec::new(),
            answer: None,
            crossed: 0,
            extended: false,
        };
        self.start_transfer(hub, now, transfer, wanted.refer.as_ref());
        self.call_newcomer(hub, now);
        Ok(())
    }

    /// Answers the REFER, if there is one, and begins.
    pub(super) fn start_transfer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        mut transfer: Transfer,
        refer: Option<&(ServerKey, Message)>,
    ) {
        if let Some((server, request)) = refer {
            transfer.referral = self.accept_refer(hub, now, transfer.by, *server, request);
        }
        self.begin_transfer(hub, now, transfer);
    }

    /// 202, with an implicit subscription unless the party wants none (RFC 4488 §4).
    fn accept_refer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        side: Side,
        server: ServerKey,
        request: &Message,
    ) -> Option<Referral> {
        let leg = self.legs[side].as_mut()?;
        // A Contact that cannot be read leaves the target as it was.
        let _ = leg.dialog().refresh_target(request);
        let wants_none = request
            .header(HeaderName::ReferSub)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let mut response = ResponseBuilder::for_request(request, 202, reason_phrase(202))
            .header(HeaderName::Contact, leg.contact());
        if wants_none {
            response = response.header(HeaderName::ReferSub, "false");
        }
        hub.respond(now, server, response);
        let is_first = self
            .transfers
            .as_ref()
            .is_none_or(|transfers| transfers.count == 0);
        (!wants_none).then(|| Referral::new(request, is_first))
    }

    /// Who refers, for a user of ours (RFC 3892): under our name, and never with where it is.
    fn referred_by(&self, side: Side, request: &Message) -> String {
        let told = request
            .header(HeaderName::ReferredBy)
            .and_then(|value| NameAddr::parse(value).ok())
            .and_then(|address| Uri::parse(address.uri).ok())
            .and_then(|uri| Some(uri.user()?.to_owned()));
        let names = headers::own_names(request);
        told.filter(|user| headers::may_pass(user, &names))
            .unwrap_or_else(|| self.told_user_of(side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_uri_lose_their_escapes() {
        let headers = "Subject=a%20b&replaces=1%402%3Bto-tag%3Dx%3bfrom-tag=y%";
        assert_eq!(
            header_in(headers, "Replaces").as_deref(),
            Some("1@2;to-tag=x;from-tag=y%")
        );
        assert_eq!(header_in(headers, "subject").as_deref(), Some("a b"));
        assert_eq!(header_in(headers, "Accept-Contact"), None);
        assert_eq!(header_in("Replaces=%ff", "Replaces"), None, "not UTF-8");
    }
}
