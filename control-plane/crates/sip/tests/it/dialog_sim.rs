//! Two user agents call each other over a network that loses a tenth: INVITE, requests of both sides inside the dialog,
//! BYE of either. Both ends of each call agree in the end, and nothing is left.

use std::collections::BTreeMap;
use std::time::Duration;

use sans_io::{Random, Timestamp};
use sip::dialog::{
    AcceptRetransmit, AcceptStep, Dialog, DialogError, DialogId, DialogSet, SetChange, new_call_id, new_tag,
};
use sip::message::{HeaderName, RequestBuilder, ResponseBuilder};
use sip::transaction::{ClientKey, Event, Layer, ServerKey, response_destination};
use sip::{Destination, Message, Method, Source, Transmit};

use crate::world::{ADDRESSES, Agenda, BAD, User, World, destination, for_seeds};

/// Calls that each end places.
const CALLS: u32 = 25;
/// Share of calls whose caller forgets the ACK.
const FORGETFUL_PERMILLE: u64 = 20;

/// A user agent that places calls and takes them.
struct Agent {
    end: usize,
    random: Random,
    agenda: Agenda<Task>,
    placed: u32,
    /// By Call-ID.
    calls: BTreeMap<String, Call>,
    clients: BTreeMap<ClientKey, String>,
}

enum Task {
    Place,
    Ring(ServerKey, Message),
    Accept(ServerKey, Message, Source),
    /// Repeat the 2xx of this call.
    Repeat(String),
    /// A request inside the dialog of this call.
    Request(String, &'static str),
}

#[derive(Default)]
struct Call {
    set: Option<DialogSet>,
    dialog: Option<Dialog>,
    forgetful: bool,
    local_tag: String,
    repeat: Option<AcceptRetransmit>,
    /// CSeq numbers of requests in the dialog that were let through.
    seen: Vec<u32>,
    established: bool,
    /// By ACK, at the one who was called.
    acknowledged: bool,
    failed: bool,
    /// The call is over on this side: it sent BYE, or received one.
    over: bool,
    sent_bye: bool,
    received_bye: bool,
    /// What became of its BYE.
    bye_result: Option<u16>,
}

impl Agent {
    fn new(end: usize, random: Random) -> Self {
        let mut agenda = Agenda::new();
        agenda.set(Timestamp::ZERO, Task::Place);
        Self {
            end,
            random,
            agenda,
            placed: 0,
            calls: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }

    fn peer(&self) -> Destination {
        destination(ADDRESSES[1 - self.end].parse().expect("an address"))
    }

    fn contact(&self) -> String {
        format!("<sip:agent@{}>", ADDRESSES[self.end])
    }

    fn plan(&mut self, now: Timestamp, within_ms: u64, task: Task) {
        let at = now + Duration::from_millis(self.random.below(within_ms));
        self.agenda.set(at, task);
    }

    fn place(&mut self, now: Timestamp, layer: &mut Layer) {
        self.placed += 1;
        if self.placed < CALLS {
            self.plan(now, 1_000, Task::Place);
        }
        let call_id = new_call_id(&mut self.random);
        let tag = new_tag(&mut self.random);
        let invite = RequestBuilder::new("INVITE", &format!("sip:agent@{}", ADDRESSES[1 - self.end]))
            .header(HeaderName::MaxForwards, 70)
            .header(
                HeaderName::From,
                format_args!("<sip:agent{}@example.com>;tag={tag}", self.end),
            )
            .header(HeaderName::To, "<sip:agent@example.com>")
            .header(HeaderName::CallId, &call_id)
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, self.contact())
            .build()
            .expect("well-formed");
        let key = layer
            .send_request(now, invite.clone(), self.peer())
            .expect("there is room");
        self.clients.insert(key, call_id.clone());
        let call = Call {
            set: Some(DialogSet::new(invite, 4)),
            forgetful: self.random.chance_permille(FORGETFUL_PERMILLE),
            ..Call::default()
        };
        self.calls.insert(call_id, call);
    }

    /// Requests of this side inside the dialog, and at some time its BYE.
    fn plan_call(&mut self, now: Timestamp, call_id: &str, caller: bool) {
        for _ in 0..self.random.below(3) {
            self.plan(now, 6_000, Task::Request(call_id.into(), "INFO"));
        }
        if caller {
            self.plan(now, 4_000, Task::Request(call_id.into(), "INVITE"));
        }
        self.plan(now, 12_000, Task::Request(call_id.into(), "BYE"));
    }

    fn request(&mut self, now: Timestamp, layer: &mut Layer, call_id: &str, method: &'static str) {
        let (contact, peer) = (self.contact(), self.peer());
        let call = self.calls.get_mut(call_id).expect("a call");
        let Some(dialog) = call.dialog.as_mut().filter(|_| !call.over) else {
            return;
        };
        let request = dialog
            .request(method, 70)
            .header(HeaderName::Contact, contact)
            .build()
            .expect("well-formed");
        assert_eq!(dialog.next_hop(), request.request_uri().expect("a request"));
        let key = layer.send_request(now, request, peer).expect("there is room");
        self.clients.insert(key, call_id.into());
        if method == "BYE" {
            call.over = true;
            call.sent_bye = true;
            call.repeat = None;
        }
    }

    fn handle_request(
        &mut self,
        now: Timestamp,
        layer: &mut Layer,
        key: ServerKey,
        source: Source,
        message: Message,
    ) {
        let Some(id) = DialogId::of_request(&message).expect("well-formed") else {
            let call_id = message.call_id().expect("a Call-ID").to_owned();
            assert_eq!(message.method(), Some(Method::Invite));
            let tag = new_tag(&mut self.random);
            let call = Call {
                local_tag: tag,
                ..Call::default()
            };
            assert!(
                self.calls.insert(call_id, call).is_none(),
                "a retransmission was taken for a call"
            );
            self.plan(now, 1_000, Task::Ring(key, message.clone()));
            let at = now + Duration::from_millis(1_000 + self.random.below(2_000));
            self.agenda.set(at, Task::Accept(key, message, source));
            return;
        };
        let call = self
            .calls
            .get_mut(&*id.call_id)
            .expect("no dialog without a call");
        let status = match call.dialog.as_mut() {
            Some(dialog) if *dialog.id() == id && !call.over => match dialog.handle_request(&message) {
                Ok(()) => {
                    dialog.refresh_target(&message).expect("well-formed");
                    call.seen.push(message.cseq().expect("a CSeq").seq);
                    200
                }
                Err(error) => {
                    assert_eq!(error, DialogError::OutOfOrder);
                    error.status()
                }
            },
            _ => 481,
        };
        let method = message.method().expect("a request");
        let answer = response(&message, status, "", &self.contact());
        layer
            .respond(now, key, answer.clone())
            .expect("it waits for an answer");
        let call = self.calls.get_mut(&*id.call_id).expect("a call");
        if status == 200 && method == Method::Bye {
            call.over = true;
            call.received_bye = true;
            call.repeat = None;
        }
        if status == 200 && method == Method::Invite {
            // One repetition a call is enough here: that of the first INVITE is over when the caller sends another.
            self.repeat(now, layer, &id.call_id, source, &message, &answer);
        }
    }

    fn repeat(
        &mut self,
        now: Timestamp,
        layer: &Layer,
        call_id: &str,
        source: Source,
        request: &Message,
        ok: &Message,
    ) {
        let destination = response_destination(&source, request).expect("a Via");
        let transmit = Transmit {
            destination,
            bytes: ok.bytes().clone(),
        };
        let repeat = AcceptRetransmit::new(now, &layer.config().timers, transmit);
        self.agenda
            .set(repeat.poll_timeout(), Task::Repeat(call_id.into()));
        self.calls.get_mut(call_id).expect("a call").repeat = Some(repeat);
    }

    fn handle_response(
        &mut self,
        now: Timestamp,
        layer: &mut Layer,
        key: ClientKey,
        response: &Message,
        out: &mut Vec<Transmit>,
    ) {
        let call_id = self.clients[&key].clone();
        let call = self.calls.get_mut(&call_id).expect("a call");
        let status = response.status().expect("a response");
        let cseq = response.cseq().expect("a CSeq");
        if cseq.method == Method::Bye && status >= 200 {
            assert!(call.bye_result.replace(status).is_none());
        }
        if cseq.method != Method::Invite || !(200..300).contains(&status) {
            if let Some(set) = &mut call.set {
                set.handle_response(response).expect("well-formed");
            }
            return;
        }
        // A 2xx to INVITE. First: do we know it?
        if let Some(ack) = call
            .dialog
            .as_ref()
            .and_then(|dialog| dialog.repeat_ack(response))
        {
            out.push(ack);
            return;
        }
        if cseq.seq == 1 {
            let set = call.set.as_mut().expect("the caller has a set");
            let tag = response.to().expect("a To").tag().expect("a tag").to_owned();
            match set.handle_response(response).expect("well-formed") {
                SetChange::New(_) | SetChange::Confirmed(_) => {
                    call.dialog = set.take(&tag);
                    call.established = true;
                    let forgetful = call.forgetful;
                    if !forgetful {
                        self.plan_call(now, &call_id, true);
                    }
                }
                // The 2xx of a caller who forgets, or an earlier one than that acknowledged last.
                SetChange::Taken => {}
                other => panic!("{other:?}"),
            }
        }
        let peer = self.peer();
        let call = self.calls.get_mut(&call_id).expect("a call");
        let dialog = call.dialog.as_mut().expect("a dialog");
        if cseq.seq > 1 {
            dialog.handle_response(response).expect("well-formed");
        }
        if call.forgetful {
            return;
        }
        let ack = dialog.ack(cseq.seq, 70).build().expect("well-formed");
        let ack = layer.ack(&ack, peer).expect("an ACK");
        dialog.keep_ack(cseq.seq, ack.clone());
        out.push(ack);
    }

    fn handle_end(&mut self, key: ClientKey) {
        let call = self.calls.get_mut(&self.clients[&key]).expect("a call");
        if call.dialog.is_none() {
            call.failed = true;
        }
    }
}

impl User for Agent {
    fn handle_event(&mut self, now: Timestamp, layer: &mut Layer, event: Event, out: &mut Vec<Transmit>) {
        match event {
            Event::Request { key, source, message } => self.handle_request(now, layer, key, source, message),
            Event::Ack { message, .. } => {
                let call = self
                    .calls
                    .get_mut(message.call_id().expect("a Call-ID"))
                    .expect("a call");
                call.acknowledged = true;
                call.repeat = None;
            }
            Event::Response { key, message, .. } => self.handle_response(now, layer, key, &message, out),
            Event::TimedOut { key } => self.handle_end(key),
            Event::ClientTerminated { .. } | Event::ServerTerminated { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    fn handle_timeout(&mut self, now: Timestamp, layer: &mut Layer, out: &mut Vec<Transmit>) {
        while let Some(task) = self.agenda.due(now) {
            match task {
                Task::Place => self.place(now, layer),
                Task::Ring(key, invite) => {
                    let contact = self.contact();
                    let call = self
                        .calls
                        .get_mut(invite.call_id().expect("a Call-ID"))
                        .expect("a call");
                    layer
                        .respond(now, key, response(&invite, 180, &call.local_tag, &contact))
                        .expect("pending");
                    call.dialog = Some(Dialog::of_server(&invite, &call.local_tag).expect("well-formed"));
                }
                Task::Accept(key, invite, source) => {
                    let contact = self.contact();
                    let call_id = invite.call_id().expect("a Call-ID").to_owned();
                    let call = self.calls.get_mut(&call_id).expect("a call");
                    let ok = response(&invite, 200, &call.local_tag, &contact);
                    layer.respond(now, key, ok.clone()).expect("pending");
                    call.dialog.as_mut().expect("it rang").confirm();
                    call.established = true;
                    self.repeat(now, layer, &call_id, source, &invite, &ok);
                    self.plan_call(now + Duration::from_secs(40), &call_id, false);
                }
                Task::Repeat(call_id) => {
                    let call = self.calls.get_mut(&call_id).expect("a call");
                    let Some(repeat) = call.repeat.as_mut().filter(|repeat| repeat.poll_timeout() <= now)
                    else {
                        continue;
                    };
                    match repeat.handle_timeout(now) {
                        Some(AcceptStep::Send(transmit)) => {
                            out.push(transmit);
                            let next = repeat.poll_timeout();
                            self.agenda.set(next, Task::Repeat(call_id));
                        }
                        // §13.3.1.4: the dialog stands, but the session ends.
                        Some(AcceptStep::GiveUp) => self.request(now, layer, &call_id, "BYE"),
                        None => {}
                    }
                }
                Task::Request(call_id, method) => self.request(now, layer, &call_id, method),
            }
        }
    }
}

fn response(request: &Message, status: u16, tag: &str, contact: &str) -> Message {
    ResponseBuilder::for_request(request, status, "Reason")
        .to_tag(tag)
        .record_routes()
        .header(HeaderName::Contact, contact)
        .build()
        .expect("well-formed")
}

#[derive(Debug, Default)]
struct Tally {
    calls: u32,
    established: u32,
    forgotten: u32,
    bye_lost: u32,
}

fn check(caller: &Agent, called: &Agent, tally: &mut Tally) {
    for (call_id, call) in caller.calls.iter().filter(|(_, call)| call.set.is_some()) {
        tally.calls += 1;
        let Some(other) = called.calls.get(call_id) else {
            assert!(
                call.failed,
                "{call_id}: the INVITE never arrived and never failed"
            );
            continue;
        };
        assert!(
            other.established && other.over,
            "{call_id}: open at the one who was called"
        );
        if call.failed {
            assert!(
                other.sent_bye,
                "{call_id}: nobody acknowledged, so the one who was called ends it"
            );
            continue;
        }
        tally.established += 1;
        assert!(call.established, "{call_id}");
        let ids = [call, other].map(|call| call.dialog.as_ref().expect("a dialog").id());
        assert_eq!(Some(&ids[0].local_tag), ids[1].remote_tag.as_ref(), "{call_id}");
        assert_eq!(Some(&ids[1].local_tag), ids[0].remote_tag.as_ref(), "{call_id}");
        for seen in [&call.seen, &other.seen] {
            assert!(
                seen.is_sorted_by(|earlier, later| earlier < later),
                "{call_id}: CSeq {seen:?}"
            );
        }
        if call.forgetful && !other.acknowledged {
            tally.forgotten += 1;
            assert!(other.sent_bye && !call.sent_bye, "{call_id}: no ACK, no BYE");
        }
        for (one, peer) in [(call, other), (other, call)] {
            assert!(one.over, "{call_id}: one side is open");
            if one.sent_bye {
                match one.bye_result {
                    Some(200) => assert!(peer.received_bye, "{call_id}"),
                    // It crossed the other's BYE.
                    Some(481) => assert!(peer.sent_bye || peer.received_bye, "{call_id}"),
                    // A request with a higher CSeq overtook it: the other side goes on until its own BYE.
                    Some(500) => assert!(peer.sent_bye, "{call_id}"),
                    Some(status) => panic!("{call_id}: BYE drew {status}"),
                    None => tally.bye_lost += 1,
                }
            }
        }
    }
}

fn run(seed: u64) -> World<Agent> {
    let mut world = World::new(seed, BAD, Agent::new);
    // Calls are placed within 25 s and ended by both sides within another 60 s, and then come the timers.
    world.run(Duration::from_secs(300));
    world
}

#[test]
fn both_ends_of_every_call_agree_and_nothing_is_left() {
    let mut tally = Tally::default();
    for_seeds(50, |seed| {
        let world = run(seed);
        let [a, b] = &world.ends;
        for (caller, called) in [(a, b), (b, a)] {
            check(&caller.user, &called.user, &mut tally);
            assert!(caller.layer.is_empty(), "transactions are left");
            assert_eq!(caller.layer.poll_timeout(), None, "timers are left");
        }
    });
    if tally.calls >= 1_000 {
        assert!(tally.established >= tally.calls - tally.calls / 500, "{tally:?}");
        assert!(tally.forgotten > 0, "nobody forgot an ACK: {tally:?}");
        assert!(tally.bye_lost <= tally.calls / 500, "{tally:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_calls_to_the_byte() {
    for_seeds(2, |seed| {
        let (first, second) = (run(seed), run(seed));
        assert!(first.trace.len() > 10_000, "nothing happened");
        assert!(first.trace == second.trace, "the traces differ");
    });
}
