//! Reliable provisional responses (RFC 3262) of a user agent, as a caller and as a callee.

use sans_io::Timestamp;
use sip::dialog::{
    Dialog, ProvisionalOrder, ProvisionalStep, Rack, Received, ReliableProvisionals, reliable_rseq,
};
use sip::message::{ResponseBuilder, reason_phrase};
use sip::transaction::{ServerKey, Timers};
use sip::{HeaderName, Message};

use super::Ua;

/// An early dialog of a caller.
#[derive(Debug)]
pub struct Early {
    pub dialog: Dialog,
    order: ProvisionalOrder,
}

/// What a callee sends reliably as one fork.
#[derive(Debug)]
pub struct Sending {
    tag: String,
    key: ServerKey,
    machine: ReliableProvisionals,
    dialog: Dialog,
}

impl Ua {
    /// Sends a reliable provisional response as fork `tag`.
    pub fn respond_reliably(&mut self, now: Timestamp, status: u16, tag: &str, body: Option<&str>) {
        let Some((key, _, invite)) = self.incoming.clone() else {
            return;
        };
        let contact = self.contact();
        let known = self.sending.iter().position(|it| it.key == key && it.tag == tag);
        let place = known.unwrap_or_else(|| {
            let first = self.random.next_u64() as u32;
            self.sending.push(Sending {
                tag: tag.to_owned(),
                key,
                machine: ReliableProvisionals::new(first, &Timers::default()),
                dialog: Dialog::of_server(&invite, tag).unwrap(),
            });
            self.sending.len() - 1
        });
        let machine = &mut self.sending[place].machine;
        let mut response = ResponseBuilder::for_request(&invite, status, reason_phrase(status))
            .to_tag(tag)
            .record_routes()
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Require, "100rel")
            .header(HeaderName::RSeq, machine.next_rseq());
        if let Some(body) = body.filter(|_| !machine.will_be_described()) {
            response = response.body("application/sdp", body.as_bytes());
        }
        if let Ok(Some(response)) = machine.push(now, response.build().unwrap()) {
            let _ = self.layer.respond(now, key, response);
        }
    }

    /// Whether a 2xx of fork `tag` has to wait.
    pub(super) fn holds_success(&self, key: ServerKey, tag: &str) -> bool {
        self.sending
            .iter()
            .any(|it| it.key == key && it.tag == tag && it.machine.holds_success())
    }

    /// Whether fork `tag` has given its answer reliably.
    pub(super) fn is_described(&self, key: ServerKey, tag: &str) -> bool {
        self.sending
            .iter()
            .any(|it| it.key == key && it.tag == tag && it.machine.is_described())
    }

    pub(super) fn repeat_provisionals(&mut self, now: Timestamp) {
        for sending in &mut self.sending {
            match sending.machine.handle_timeout(now) {
                Some(ProvisionalStep::Send(response)) => {
                    let _ = self.layer.respond(now, sending.key, response);
                }
                Some(ProvisionalStep::GiveUp) => {
                    self.incoming.take_if(|(key, ..)| *key == sending.key);
                    if let Some(invite) = self.layer.request(sending.key).cloned() {
                        let response = ResponseBuilder::for_request(&invite, 504, reason_phrase(504))
                            .to_tag(&sending.tag)
                            .build()
                            .unwrap();
                        let _ = self.layer.respond(now, sending.key, response);
                    }
                }
                None => {}
            }
        }
        // With its final response an INVITE is over for us.
        let is_pending = |sending: &Sending| sending.machine.poll_timeout().is_none_or(|at| at > now);
        self.sending.retain(is_pending);
    }

    /// The early dialog of fork `tag`, for its 2xx.
    pub(super) fn take_early_dialog(&mut self, key: ServerKey, tag: &str) -> Option<Dialog> {
        let place = self
            .sending
            .iter()
            .position(|it| it.key == key && it.tag == tag)?;
        Some(self.sending.remove(place).dialog)
    }

    /// An UPDATE in our latest early dialog, as a caller or a callee.
    pub fn update_early(&mut self, now: Timestamp, body: Option<&str>) {
        self.request_early(now, "UPDATE", body);
    }

    /// A re-INVITE in our latest early dialog, for which it is too early.
    pub fn reinvite_early(&mut self, now: Timestamp) {
        let body = self.body();
        self.request_early(now, "INVITE", Some(&body));
    }

    fn request_early(&mut self, now: Timestamp, method: &str, body: Option<&str>) {
        let (contact, destination) = (self.contact(), self.destination());
        let early = self.early.last_mut().map(|it| &mut it.dialog);
        let Some(dialog) = early.or(self.sending.last_mut().map(|it| &mut it.dialog)) else {
            return;
        };
        let mut request = dialog.request(method, 70).header(HeaderName::Contact, contact);
        if let Some(body) = body {
            request = request.body("application/sdp", body.as_bytes());
        }
        self.layer
            .send_request(now, request.build().unwrap(), destination)
            .unwrap();
    }

    /// Whether a request is in an early dialog of ours.
    pub(super) fn is_early(&mut self, request: &Message) -> bool {
        let (call_id, tag) = (request.call_id().unwrap(), request.to().unwrap().tag());
        let is_it =
            |dialog: &Dialog| &*dialog.id().call_id == call_id && Some(&*dialog.id().local_tag) == tag;
        self.early.iter().any(|it| is_it(&it.dialog)) || self.sending.iter().any(|it| is_it(&it.dialog))
    }

    pub(super) fn stop_provisionals(&mut self, key: ServerKey) {
        self.sending.retain(|sending| sending.key != key);
    }

    pub(super) fn next_provisional(&self) -> Option<Timestamp> {
        self.sending
            .iter()
            .filter_map(|it| it.machine.poll_timeout())
            .min()
    }

    /// A PRACK that we got: its status, and whether a 2xx that waited for it may go.
    pub(super) fn take_prack(&mut self, now: Timestamp, prack: &Message) -> u16 {
        let tag = prack.to().unwrap().tag().unwrap_or_default();
        let Some(rack) = Rack::of(prack) else { return 400 };
        let Some(sending) = self.sending.iter_mut().find(|it| it.tag == tag) else {
            return 481;
        };
        match sending.machine.acknowledge(now, rack.rseq) {
            Ok(next) => {
                if let Some(next) = next {
                    let _ = self.layer.respond(now, sending.key, next);
                }
                200
            }
            Err(_) => 481,
        }
    }

    /// A provisional response that we got: acknowledged if it wants to be. False if it is out of its order.
    pub(super) fn take_provisional(&mut self, now: Timestamp, invite: &Message, response: &Message) -> bool {
        let Some(rseq) = reliable_rseq(response) else {
            return true;
        };
        let tag = response.to().unwrap().tag().unwrap_or_default();
        let known = |it: &Early| {
            it.dialog.id().remote_tag.as_deref() == Some(tag)
                && Some(&*it.dialog.id().call_id) == response.call_id().ok()
        };
        let place = self.early.iter().position(known).unwrap_or_else(|| {
            self.early.push(Early {
                dialog: Dialog::of_client(invite, response).unwrap(),
                order: ProvisionalOrder::default(),
            });
            self.early.len() - 1
        });
        let early = &mut self.early[place];
        if early.order.receive(rseq) == Received::Ignored {
            return false;
        }
        self.rseqs.push(rseq);
        // An offer, when the INVITE had none.
        let is_offer = invite.body().is_empty() && !response.body().is_empty();
        if self.pracks {
            let answer = is_offer.then(|| self.body());
            self.prack_with(now, rseq, answer.as_deref());
        }
        true
    }

    /// A PRACK in the dialog that the 2xx confirmed.
    pub fn talk_pracks(&mut self, now: Timestamp, rseq: u32) {
        let destination = self.destination();
        let Some(talk) = self.talks.last_mut() else { return };
        let prack = talk
            .dialog
            .request("PRACK", 70)
            .header(HeaderName::RAck, format_args!("{rseq} 1 INVITE"));
        self.layer
            .send_request(now, prack.build().unwrap(), destination)
            .unwrap();
    }

    /// A PRACK in our latest early dialog.
    pub fn prack(&mut self, now: Timestamp, rseq: u32) {
        self.prack_with(now, rseq, None);
    }

    /// A PRACK in our latest early dialog, with an offer.
    pub fn prack_with(&mut self, now: Timestamp, rseq: u32, body: Option<&str>) {
        let destination = self.destination();
        let Some(early) = self.early.last_mut() else {
            return;
        };
        let mut prack = early
            .dialog
            .request("PRACK", 70)
            .header(HeaderName::RAck, format_args!("{rseq} 1 INVITE"));
        if let Some(body) = body {
            prack = prack.body("application/sdp", body.as_bytes());
        }
        self.layer
            .send_request(now, prack.build().unwrap(), destination)
            .unwrap();
    }
}
