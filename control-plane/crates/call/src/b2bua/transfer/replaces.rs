use sans_io::Timestamp;
use sip::HeaderName;

use super::{Entrance, Newcomer, Stage, Transfer};
use crate::b2bua::B2bua;
use crate::b2bua::call::{Call, Phase};
use crate::b2bua::headers;
use crate::b2bua::hub::{CallKey, Hub, Server};
use crate::b2bua::identity::Known;
use crate::b2bua::leg::Leg;
use crate::b2bua::offered::Offered;
use crate::b2bua::requests::Refusal;
use crate::b2bua::side::Side;
use crate::cdr::bounded;
use crate::{Asked, TransferError, TransferPolicy};

/// The dialog that shall be replaced (RFC 3891 §6.1), as its party there knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::b2bua) struct Replaces {
    pub(super) call_id: String,
    pub(super) to_tag: String,
    pub(super) from_tag: String,
    /// Only if nobody has answered yet.
    early_only: bool,
}

impl Replaces {
    /// Reads the value of the header; `None` when a part is missing.
    pub(in crate::b2bua) fn parse(text: &str) -> Option<Self> {
        let (call_id, params) = text.split_once(';')?;
        let call_id = call_id.trim();
        let mut parsed = Self {
            call_id: call_id.to_owned(),
            to_tag: String::new(),
            from_tag: String::new(),
            early_only: false,
        };
        for param in params.split(';') {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("to-tag") {
                parsed.to_tag = value.to_owned();
            } else if name.eq_ignore_ascii_case("from-tag") {
                parsed.from_tag = value.to_owned();
            } else if name.eq_ignore_ascii_case("early-only") {
                parsed.early_only = true;
            }
        }
        let is_complete = !(call_id.is_empty() || parsed.to_tag.is_empty() || parsed.from_tag.is_empty());
        is_complete.then_some(parsed)
    }
}

impl B2bua {
    /// The call, and the party in it that shall be replaced. The party may be named by its dialog with us, or, when the ids
    /// were mapped, the other one by its own.
    pub(super) fn find(&self, replaces: &Replaces) -> Option<(CallKey, Side)> {
        let standing = |ours: &str, theirs: &str| {
            let (key, side) = self.hub.dialog(&replaces.call_id, ours)?;
            let call = self.calls.get(&key)?;
            let leg = call.legs[side].as_ref()?;
            (leg.local_tag() == ours && leg.remote_tag() == theirs).then_some((key, side))
        };
        standing(&replaces.to_tag, &replaces.from_tag)
            .or_else(|| standing(&replaces.from_tag, &replaces.to_tag).map(|(key, side)| (key, side.other())))
    }

    /// An INVITE with `Replaces` that may come in: its sender takes a party's place (RFC 3891 §3), of the call
    /// that this gives.
    pub(in crate::b2bua) fn replace(
        &mut self,
        now: Timestamp,
        asked: &Asked,
        known: Option<Box<Known>>,
    ) -> Result<CallKey, Refusal> {
        let invite = &asked.request;
        if asked.transfer == TransferPolicy::Refuse {
            return Err(Refusal::of(403));
        }
        let value = invite.header(HeaderName::Replaces).unwrap_or("");
        // RFC 3891 §3: together they contradict each other.
        if invite.header("Join").is_some() {
            return Err(Refusal::of(400));
        }
        let replaces = Replaces::parse(value).ok_or_else(|| Refusal::of(400))?;
        if let Some(key) = self.find_ringing(&replaces) {
            let offer = crate::b2bua::requests::offer(&mut self.hub, invite)?;
            let mut result = Err(Refusal::of(481));
            self.with_call(key, |call, hub| {
                result = call.pick_up(hub, now, asked, offer, known)
            });
            return result.map(|()| key);
        }
        let Some((key, side)) = self.find(&replaces) else {
            return Err(Refusal::of(match self.is_over(&replaces) {
                true => 603,
                false => 481,
            }));
        };
        let offer = crate::b2bua::requests::offer(&mut self.hub, invite)?;
        let mut result = Err(Refusal::of(481));
        self.with_call(key, |call, hub| {
            result = call.begin_replacing(hub, now, side, asked, &replaces, offer, known);
        });
        result.map(|()| key)
    }
}

impl Call {
    #[expect(clippy::too_many_arguments, reason = "an INVITE in all its parts")]
    fn begin_replacing(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        by: Side,
        asked: &Asked,
        replaces: &Replaces,
        offer: Option<sdp::Session>,
        known: Option<Box<Known>>,
    ) -> Result<(), Refusal> {
        match self.phase {
            Phase::Ended => return Err(Refusal::of(603)),
            Phase::Answering | Phase::Answered if replaces.early_only => return Err(Refusal::of(486)),
            Phase::Answering => return Err(Refusal::of(491)),
            Phase::Answered => {}
            // An early dialog is given up by who has begun it (RFC 3891 §3), and this is another.
            Phase::Reserving | Phase::Calling => return Err(Refusal::of(481)),
        }
        self.check_transfer(hub).map_err(|error| {
            Refusal::of(match error {
                TransferError::Busy => 491,
                error => error.sip_status(),
            })
        })?;
        let offer = offer
            .filter(|offer| self.fits_in_place_of(by, offer))
            .ok_or_else(|| Refusal::of(488))?;
        self.take_newcomer(hub, now, by, asked, offer, known)?;
        self.join(hub, now);
        Ok(())
    }

    /// Begins the transfer to who has sent an INVITE with a fitting `offer`, in the place of the party `by`.
    pub(super) fn take_newcomer(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        by: Side,
        asked: &Asked,
        offer: sdp::Session,
        known: Option<Box<Known>>,
    ) -> Result<(), Refusal> {
        let (server, source, invite) = (asked.key, asked.source, &asked.request);
        let srtp = asked.srtp.with(source.transport);
        let offer = Offered::new(hub, offer, srtp, &[], self.shakes_hands()).map_err(Refusal::of_security)?;
        let tag = hub.tag();
        let contact = hub.contact_at(&source);
        let leg = Leg::of_caller(invite, &tag, &source, contact).ok_or_else(|| Refusal::of(400))?;
        let mut leg = Box::new(leg);
        // The dialog is new.
        let _ = leg.negotiation.offer_received();
        let call_id = invite.call_id().unwrap_or("").to_owned();
        hub.add_dialog(&call_id, &tag, self.key, by);
        self.outbound.dialogs.push((call_id, tag));
        hub.servers.insert(server, Server::Newcomer(self.key));
        let from = invite.from().ok();
        let uri = from.as_ref().map_or("", |from| from.uri);
        let (user, _) = headers::user_and_params(uri, &[]);
        let newcomer = Newcomer {
            leg,
            how: Entrance::Came {
                server,
                source,
                invite: Box::new(invite.clone()),
            },
            origin: sdp::Origin::new(hub.random.next_u64()),
            policy: self.policies[by],
            srtp,
            has_offered: true,
            offer: Some(offer),
        };
        let transfer = Transfer {
            by,
            stage: Stage::Calling,
            referral: None,
            has_left: false,
            user: bounded(&user),
            uri: bounded(uri),
            known,
            hops: Vec::new().into_iter(),
            max_forwards: hub.config.max_forwards,
            referred_by: None,
            replaces: None,
            client: None,
            until: now + hub.config.reinvite_timeout,
            newcomer: None,
            sent: None,
            offers: Vec::new(),
            answer: None,
            crossed: 0,
            extended: false,
        };
        self.start_transfer(hub, now, transfer, None);
        self.newcomer_offers(hub, now, newcomer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_ids_are_needed() {
        let parsed = Replaces::parse("c@h; to-tag=7743 ;from-tag=6472;early-only;x=y").unwrap();
        let expected = Replaces {
            call_id: "c@h".into(),
            to_tag: "7743".into(),
            from_tag: "6472".into(),
            early_only: true,
        };
        assert_eq!(parsed, expected);
        for text in [
            "",
            "c",
            "c;to-tag=1",
            "c;from-tag=1",
            ";to-tag=1;from-tag=2",
            "c;to-tag;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(text), None, "{text}");
        }
    }
}
