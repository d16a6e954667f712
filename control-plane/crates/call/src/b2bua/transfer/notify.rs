use sans_io::Timestamp;
use sip::message::reason_phrase;
use sip::transaction::ClientKey;
use sip::{HeaderName, Message};

use crate::b2bua::call::Call;
use crate::b2bua::hub::{CallKey, Client, Hub};
use crate::b2bua::leg::{Leg, cseq};

/// What a transferor is told: the subscription that its REFER made (RFC 3515 §2.4.4). It has one NOTIFY under way at a time,
/// so that they come in order; what is overtaken meanwhile is left out.
#[derive(Debug)]
pub(super) struct Referral {
    /// `refer`, with the CSeq number of the REFER if it is not the dialog's first (RFC 3515 §2.4.6).
    event: String,
    under_way: Option<ClientKey>,
    next: Option<u16>,
    is_over: bool,
}

impl Referral {
    pub(super) fn new(refer: &Message, is_first: bool) -> Self {
        let event = match is_first {
            true => "refer".to_owned(),
            false => format!("refer;id={}", cseq(refer)),
        };
        Self {
            event,
            under_way: None,
            next: None,
            is_over: false,
        }
    }

    /// Whether nothing more will be said.
    pub(super) const fn is_done(&self) -> bool {
        self.is_over && self.under_way.is_none() && self.next.is_none()
    }

    pub(super) fn awaits(&self, client: ClientKey) -> bool {
        self.under_way == Some(client)
    }

    /// Tells `status`, now or when the NOTIFY under way has its response.
    pub(super) fn tell(&mut self, hub: &mut Hub, now: Timestamp, call: CallKey, leg: &mut Leg, status: u16) {
        if self.is_over {
            return;
        }
        self.next = Some(status);
        if self.under_way.is_none() {
            self.send(hub, now, call, leg);
        }
    }

    /// The NOTIFY under way has its final response, or will have none. A party that has no such subscription hears no more.
    pub(super) fn told(&mut self, hub: &mut Hub, now: Timestamp, call: CallKey, leg: &mut Leg, status: u16) {
        self.under_way = None;
        if (200..300).contains(&status) {
            self.send(hub, now, call, leg);
        } else {
            self.is_over = true;
            self.next = None;
        }
    }

    fn send(&mut self, hub: &mut Hub, now: Timestamp, call: CallKey, leg: &mut Leg) {
        let Some(status) = self.next.take() else { return };
        self.is_over = status >= 200;
        let state = match self.is_over {
            true => "terminated;reason=noresource".to_owned(),
            false => format!("active;expires={}", hub.config.ring_timeout.as_secs()),
        };
        let fragment = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let request = leg
            .request("NOTIFY", hub.config.max_forwards)
            .header(HeaderName::Event, &self.event)
            .header(HeaderName::SubscriptionState, state)
            .body("message/sipfrag;version=2.0", fragment.as_bytes());
        self.under_way = hub.send(now, request, leg.destination(), |_| Client::Notify { call });
        if self.under_way.is_none() {
            self.is_over = true;
        }
    }
}

impl Call {
    /// Tells the transferor how far its transfer is.
    pub(super) fn notify_progress(&mut self, hub: &mut Hub, now: Timestamp, status: u16) {
        let key = self.key;
        let Some(transfer) = self.transfers.as_mut().and_then(|it| it.current.as_mut()) else {
            return;
        };
        let by = transfer.by;
        if let (Some(referral), Some(leg)) = (&mut transfer.referral, &mut self.legs[by]) {
            referral.tell(hub, now, key, leg, status);
        }
    }

    /// A NOTIFY has its final response; 408 when it has none.
    pub(in crate::b2bua) fn notified(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        client: ClientKey,
        status: u16,
    ) {
        let key = self.key;
        let Some(transfers) = &mut self.transfers else {
            return;
        };
        if let Some(transfer) = &mut transfers.current
            && let Some(referral) = transfer.referral.as_mut().filter(|it| it.awaits(client))
        {
            if let Some(leg) = &mut self.legs[transfer.by] {
                referral.told(hub, now, key, leg, status);
            }
            return;
        }
        if let Some((side, referral)) = transfers.told_last.as_mut().filter(|(_, it)| it.awaits(client)) {
            if let Some(leg) = &mut self.legs[*side] {
                referral.told(hub, now, key, leg, status);
            }
            transfers.told_last.take_if(|(_, it)| it.is_done());
            return;
        }
        for departed in &mut transfers.departed {
            if let Some(referral) = departed.referral.as_mut().filter(|it| it.awaits(client)) {
                referral.told(hub, now, key, &mut departed.leg, status);
            }
        }
        let is_needed = |it: &super::Departed| {
            !it.has_left || it.referral.as_ref().is_some_and(|referral| !referral.is_done())
        };
        transfers.departed.retain(is_needed);
    }
}
