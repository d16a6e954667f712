use std::net::IpAddr;

use sans_io::Timestamp;
use sdp::Negotiation;
use sip::dialog::{AcceptRetransmit, Dialog, DialogState, ReliableProvisionals, SessionTimer};
use sip::message::{RequestBuilder, Scheme, Uri};
use sip::transaction::{ClientKey, Timers, response_destination};
use sip::{Destination, HeaderName, Message, Source, Transmit, Transport};

/// One party's dialog, from the 2xx on, and what is under way in it.
#[derive(Debug)]
pub(super) struct Leg {
    dialog: Dialog,
    /// Where the party was reached when the dialog was made, or has connected from anew since: for a target whose host is no IP address.
    reached_at: Destination,
    /// Our `Contact` towards the party.
    contact: String,
    /// Offers and answers between the party and us.
    pub(super) negotiation: Negotiation,
    /// Our 2xx that has no ACK yet.
    pub(super) accept: Option<Box<Accept>>,
    pub(super) bye: Bye,
    /// The session timer, if there is one.
    pub(super) session: Option<Box<SessionTimer>>,
    /// The refresh of ours that has no final response.
    pub(super) refreshing: Option<ClientKey>,
    /// Whether the party says in `Allow` that it takes UPDATE.
    pub(super) takes_update: bool,
    /// The description that the party has of us, to be repeated in a re-INVITE that refreshes.
    pub(super) description: Option<Box<str>>,
}

/// A 2xx that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) cseq: u32,
    pub(super) retransmit: AcceptRetransmit,
    /// The reliable provisional responses before it: a PRACK may still be on its way.
    pub(super) provisionals: Option<Box<ReliableProvisionals>>,
}

/// How far our BYE to the party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bye {
    /// The dialog stands.
    No,
    /// To be sent when the ACK comes or is given up: a server says no BYE before that (RFC 3261 §15).
    Wanted,
    /// Sent; waiting for its response.
    Sent,
    /// The dialog is over.
    Done,
}

impl Leg {
    /// The dialog of the caller whose `invite` we answer with a 2xx.
    pub(super) fn of_caller(
        invite: &Message,
        local_tag: &str,
        source: &Source,
        contact: String,
    ) -> Option<Self> {
        let mut leg = Self::of_caller_early(invite, local_tag, source, contact)?;
        leg.dialog.confirm();
        Some(leg)
    }

    /// The early dialog of the caller whose `invite` we answer with a provisional response.
    pub(super) fn of_caller_early(
        invite: &Message,
        local_tag: &str,
        source: &Source,
        contact: String,
    ) -> Option<Self> {
        let dialog = Dialog::of_server(invite, local_tag).ok()?;
        Some(Self::new(dialog, (*source).into(), contact))
    }

    /// The dialog of a callee that answered our `invite` with `response`, early or confirmed by its status.
    pub(super) fn of_callee(
        invite: &Message,
        response: &Message,
        destination: Destination,
        contact: String,
    ) -> Option<Self> {
        let dialog = Dialog::of_client(invite, response).ok()?;
        Some(Self::new(dialog, destination, contact))
    }

    /// What is left to do with a callee whose 2xx makes no dialog: an ACK and a BYE.
    pub(super) fn to_hang_up(
        invite: &Message,
        response: &Message,
        destination: Destination,
        contact: String,
    ) -> Option<Self> {
        let dialog = Dialog::to_hang_up(invite, response).ok()?;
        Some(Self::new(dialog, destination, contact))
    }

    fn new(dialog: Dialog, reached_at: Destination, contact: String) -> Self {
        let negotiation = Negotiation::default();
        Self {
            dialog,
            reached_at,
            contact,
            negotiation,
            accept: None,
            bye: Bye::No,
            session: None,
            refreshing: None,
            takes_update: false,
            description: None,
        }
    }

    pub(super) fn dialog(&mut self) -> &mut Dialog {
        &mut self.dialog
    }

    /// Whether the INVITE that makes the dialog has no 2xx yet.
    pub(super) fn is_early(&self) -> bool {
        self.dialog.state() == DialogState::Early
    }

    pub(super) fn local_tag(&self) -> &str {
        &self.dialog.id().local_tag
    }

    pub(super) fn remote_tag(&self) -> &str {
        self.dialog.id().remote_tag.as_deref().unwrap_or("")
    }

    /// `Call-ID` and our tag.
    pub(super) fn id(&self) -> (String, String) {
        let id = self.dialog.id();
        (id.call_id.to_string(), id.local_tag.to_string())
    }

    pub(super) fn contact(&self) -> &str {
        &self.contact
    }

    /// The next request to the party. Those that may change the target carry our Contact (RFC 3261 §12.2.1.1).
    pub(super) fn request(&mut self, method: &str, max_forwards: u8) -> RequestBuilder {
        let request = self.dialog.request(method, max_forwards);
        match method {
            "BYE" | "PRACK" => request,
            _ => request.header(HeaderName::Contact, &self.contact),
        }
    }

    /// The ACK for the 2xx to our INVITE `cseq`.
    pub(super) fn ack(&self, cseq: u32, max_forwards: u8) -> RequestBuilder {
        self.dialog.ack(cseq, max_forwards)
    }

    /// Where requests to the party go: the address in its target or first route (RFC 3261 §8.1.2, RFC 3263 §4 for
    /// literal addresses), on the connection that it was reached on if that still stands. A target that is a name, or
    /// a private address of a party that was reached at a public one, goes where the party was reached before: names
    /// are not looked up within a dialog, and NATs hide what is behind them. On WebSocket there is nothing but the connection,
    /// and nobody is connected to by it (RFC 7118 §5).
    pub(super) fn destination(&self) -> Destination {
        if self.reached_at.transport.is_websocket() {
            return self.reached_at;
        }
        let uri = Uri::parse(self.dialog.next_hop()).ok();
        let address = uri.and_then(|uri| {
            Some((
                uri.host()?.ip()?,
                uri.port(),
                uri.param("transport").and_then(Transport::of_uri_param),
                uri.scheme() == Scheme::Sips,
            ))
        });
        let address = address.filter(|&(ip, _, transport, _)| {
            !(self.is_behind_nat(ip) || transport.is_some_and(Transport::is_websocket))
        });
        let Some((ip, port, transport, is_sips)) = address else {
            return self.reached_at;
        };
        let transport = match transport {
            // RFC 3261 §26.2.2: `sips:` is TLS, and `transport=tcp` says what is below it.
            _ if is_sips => Transport::Tls,
            Some(transport) => transport,
            // Without a word it would be UDP; a party that came by TCP from there is not likely to mean that.
            None if ip == self.reached_at.remote.ip() => self.reached_at.transport,
            // And what was secret is not told in the clear.
            None if self.reached_at.transport == Transport::Tls => Transport::Tls,
            None => Transport::Udp,
        };
        let flow = self
            .reached_at
            .flow
            .filter(|_| transport == self.reached_at.transport);
        Destination {
            transport,
            remote: (ip, port.unwrap_or(transport.default_port())).into(),
            flow,
        }
    }

    /// A request that may change its target came by `source`. On WebSocket that is where the party is from now on: who changes networks
    /// connects anew, and is nowhere else (RFC 7118 §5).
    pub(super) fn comes_by(&mut self, source: &Source) {
        let transport = self.reached_at.transport;
        if transport.is_websocket() && transport == source.transport {
            self.reached_at = (*source).into();
        }
    }

    fn is_behind_nat(&self, target: IpAddr) -> bool {
        is_private(target) && !is_private(self.reached_at.remote.ip())
    }

    /// Our 2xx to the party's `invite` was sent: repeat it until the ACK. Gives the time of the first repetition.
    pub(super) fn await_ack(
        &mut self,
        now: Timestamp,
        timers: &Timers,
        source: &Source,
        invite: &Message,
        response: &Message,
    ) -> Timestamp {
        let destination = response_destination(source, invite).unwrap_or((*source).into());
        let transmit = Transmit {
            destination,
            bytes: response.bytes().clone(),
        };
        let retransmit = AcceptRetransmit::new(now, timers, transmit);
        let first = retransmit.poll_timeout();
        self.accept = Some(Box::new(Accept {
            cseq: cseq(invite),
            retransmit,
            provisionals: None,
        }));
        first
    }

    /// Whether the session is ours to refresh, and by re-INVITE only.
    pub(super) fn needs_description(&self) -> bool {
        !self.takes_update && self.session.as_ref().is_some_and(|timer| timer.we_refresh())
    }

    /// Whether a re-INVITE of ours that refreshes has no final response.
    pub(super) const fn refreshes_by_invite(&self) -> bool {
        self.refreshing.is_some() && !self.takes_update
    }

    /// Whether a new INVITE may not be sent to or taken from the party: one is not over yet (RFC 3261 §14).
    pub(super) const fn is_busy(&self) -> bool {
        self.accept.is_some()
    }
}

/// Whether an address means something only where it is used: RFC 1918, RFC 6598, RFC 4193, link-local, loopback.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || v4.is_loopback() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// The CSeq number of a message; the layer passes none without a readable one.
pub(super) fn cseq(message: &Message) -> u32 {
    message.cseq().map_or(0, |cseq| cseq.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sip::FlowId;

    fn leg(contact: &str, transport: Transport) -> Leg {
        let text = format!(
            "INVITE sip:b@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: {contact}\r\n\r\n"
        );
        let invite = Message::parse_datagram(Bytes::from(text)).unwrap();
        let (remote, local) = (([192, 0, 2, 1], 40_000).into(), ([192, 0, 2, 9], 5060).into());
        let source = Source {
            transport,
            flow: FlowId(3),
            remote,
            local,
        };
        Leg::of_caller(&invite, "t", &source, "<sip:us>".into()).unwrap()
    }

    #[test]
    fn requests_go_to_the_target_or_where_the_party_was_reached() {
        let to = |contact, transport| {
            let destination = leg(contact, transport).destination();
            (
                destination.transport,
                destination.remote.to_string(),
                destination.flow.is_some(),
            )
        };
        use Transport::{Tcp, Tls, Udp};
        assert_eq!(
            to("<sip:a@192.0.2.1:5070>", Udp),
            (Udp, "192.0.2.1:5070".into(), true)
        );
        assert_eq!(to("<sip:a@192.0.2.7>", Udp), (Udp, "192.0.2.7:5060".into(), true));
        assert_eq!(
            to("<sip:a@192.0.2.7;transport=tcp>", Udp),
            (Tcp, "192.0.2.7:5060".into(), false)
        );
        assert_eq!(
            to("<sip:a@192.0.2.1:5070>", Tcp),
            (Tcp, "192.0.2.1:5070".into(), true)
        );
        assert_eq!(
            to("<sip:a@192.0.2.7>", Tcp),
            (Udp, "192.0.2.7:5060".into(), false)
        );
        assert_eq!(to("<sip:a@192.0.2.7>", Tls), (Tls, "192.0.2.7:5061".into(), true));
        assert_eq!(
            to("<sip:a@192.0.2.7;transport=TLS>", Udp),
            (Tls, "192.0.2.7:5061".into(), false)
        );
        assert_eq!(
            to("<sips:a@192.0.2.7;transport=tcp>", Udp),
            (Tls, "192.0.2.7:5061".into(), false)
        );
        assert_eq!(
            to("<sip:a@phone.example.com>", Udp),
            (Udp, "192.0.2.1:40000".into(), true)
        );
        assert_eq!(
            to("<sip:a@10.0.0.4:5070>", Udp),
            (Udp, "192.0.2.1:40000".into(), true),
            "a phone behind a NAT"
        );
        for (contact, transport) in [
            ("<sip:a@192.0.2.1:5070;transport=ws>", Udp),
            ("<sip:a@192.0.2.7;transport=wss>", Tcp),
            ("<sips:a@192.0.2.7;transport=ws>", Tls),
        ] {
            assert_eq!(
                to(contact, transport),
                (transport, "192.0.2.1:40000".into(), true),
                "nobody is connected to by WebSocket"
            );
        }
        assert_eq!(
            to("<sip:a@[2001:db8::1]:5070>", Udp),
            (Udp, "[2001:db8::1]:5070".into(), true)
        );
    }
}
