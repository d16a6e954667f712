use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use call::{B2bua, Cdr, Config, MediaRequest, NextHop, Output, Route, Routes, Stage};
use media_types::{EndCause, Event, EventKind};
use sans_io::network::{Conditions, Network};
use sans_io::{Random, Timestamp};
use sip::message::Uri;
use sip::transaction::Listener;
use sip::{Destination, FlowId, Message, Source, Transmit, Transport};

use crate::node::Node;
use crate::ua::Ua;

pub const A: &str = "10.1.0.1:5060";
pub const B: &str = "10.2.0.1:5060";
/// The callee's second address, for lists of next hops.
pub const B2: &str = "10.2.0.2:5060";
pub const B3: &str = "10.2.0.3:5060";
pub const US: &str = "198.51.100.1:5060";

/// A caller, a callee (and two more), a media node, and the B2BUA between them, over a simulated network.
pub struct World {
    pub now: Timestamp,
    pub b2bua: B2bua,
    pub a: Ua,
    pub b: Ua,
    pub b2: Ua,
    pub b3: Ua,
    /// Who the caller has proved to be when there is a registrar.
    pub account: Option<String>,
    /// Where calls go when there is a registrar.
    pub contacts: Vec<NextHop>,
    /// Where users are that calls are transferred or redirected to; others are where the routing table says.
    pub located: Vec<(&'static str, Vec<NextHop>)>,
    pub node: Node,
    pub network: Network<SocketAddr, Bytes>,
    pub records: Vec<Cdr>,
    pub requests: Vec<MediaRequest>,
    /// What left the B2BUA, in order, in short: records and messages.
    pub trace: Vec<String>,
    /// The messages of `trace`.
    pub sent: Vec<Transmit>,
    /// Addresses that nothing is delivered to.
    pub deaf: Vec<SocketAddr>,
    /// What became of requests that are no call's.
    pub answered: Vec<call::Answered>,
    /// What the B2BUA got, and from whom.
    pub tape: Vec<(SocketAddr, Bytes)>,
    /// How A comes to the B2BUA, if not by UDP.
    pub a_comes_by: Option<(Transport, FlowId)>,
}

pub fn hop(address: &str) -> NextHop {
    let remote = address.parse().unwrap();
    NextHop {
        destination: Destination {
            transport: Transport::Udp,
            remote,
            flow: None,
        },
        host: address.to_owned(),
        contact: None,
        transfer: call::TransferPolicy::Local,
        srtp: call::Srtp::default(),
        place: call::Place::default(),
        logins: None,
        trunk: None,
        failover: None,
        peer: None,
        called: None,
    }
}

/// A contact of a user, of the `rank`th preference, on the `device`th device.
pub fn contact(address: &str, rank: u32, device: u32) -> NextHop {
    NextHop {
        contact: Some(call::Contact {
            uri: format!("sip:phone@{address}"),
            routes: Vec::new(),
        }),
        place: call::Place {
            rank,
            server: device,
            ..call::Place::default()
        },
        ..hop(address)
    }
}

pub fn config(hops: &[&str]) -> Config {
    let route = Route {
        prefix: "1".into(),
        weight: None,
        next_hops: hops.iter().map(|address| hop(address)).collect(),
    };
    let listener = Listener::new(Transport::Udp, US.parse().unwrap());
    Config {
        transactions: sip::transaction::Config::new(vec![listener]),
        routes: Routes::new([route]),
        ring_timeout: Duration::from_secs(60),
        caller_transfer: call::TransferPolicy::Local,
        ..Config::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(config(&[B]), Conditions::PERFECT, 1)
    }

    pub fn with(config: Config, conditions: Conditions, seed: u64) -> Self {
        let mut random = Random::from_number(seed);
        let us = US.parse().unwrap();
        Self {
            now: Timestamp::from_millis(1_000),
            b2bua: B2bua::new(config, random.fork()),
            a: Ua::new(A, us, random.fork()),
            b: Ua::new(B, us, random.fork()),
            b2: Ua::new(B2, us, random.fork()),
            b3: Ua::new(B3, us, random.fork()),
            account: None,
            contacts: Vec::new(),
            located: Vec::new(),
            node: Node::new(),
            network: Network::new(conditions, random.fork()),
            records: Vec::new(),
            requests: Vec::new(),
            trace: Vec::new(),
            sent: Vec::new(),
            deaf: Vec::new(),
            answered: Vec::new(),
            tape: Vec::new(),
            a_comes_by: None,
        }
    }

    /// Calls go to these contacts.
    pub fn with_contacts(contacts: &[NextHop], conditions: Conditions, seed: u64) -> Self {
        let config = Config {
            has_registrar: true,
            ..config(&[B])
        };
        let mut world = Self::with(config, conditions, seed);
        world.contacts = contacts.to_vec();
        world
    }

    /// Carries out everything that is due now.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.b2bua.poll_output() {
                moved = true;
                self.carry_out(output);
            }
            for ua in [&mut self.a, &mut self.b, &mut self.b2, &mut self.b3] {
                while let Some(transmit) = ua.poll_transmit() {
                    moved = true;
                    self.network
                        .send(self.now, ua.address, transmit.destination.remote, transmit.bytes);
                }
            }
            while let Some(answer) = self.node.answer(self.now) {
                moved = true;
                self.b2bua.handle_media(self.now, answer);
                while let Some(output) = self.b2bua.poll_output() {
                    self.carry_out(output);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(transmit) => {
                let to = transmit.destination.remote;
                self.check_topology(to, &transmit.bytes);
                let message = Message::parse_datagram(transmit.bytes.clone()).expect("it is readable");
                let what = match message.status() {
                    Some(status) => format!("{status} {}", message.cseq().unwrap().method),
                    None => message.method().unwrap().to_string(),
                };
                self.check_record(&what, &message);
                let whom = if to.ip() == self.a.address.ip() { "a" } else { "b" };
                self.trace.push(format!("{what} -> {whom}"));
                self.sent.push(transmit.clone());
                self.network
                    .send(self.now, US.parse().unwrap(), to, transmit.bytes);
            }
            Output::Media(request) => {
                self.requests.push(request.clone());
                self.node.handle(self.now, request);
            }
            Output::Register(_) => unreachable!("nobody registers here"),
            Output::Locate(wanted) => {
                let user = Uri::parse(&wanted.uri).unwrap().user().unwrap_or("").to_owned();
                let found = self.located.iter().find(|(known, _)| *known == user);
                let placement = match found {
                    Some((_, contacts)) => call::Placement::To(contacts.clone()),
                    None => call::Placement::Routed,
                };
                self.b2bua.located(self.now, &wanted, placement);
            }
            Output::Answered(answered) => self.answered.push(*answered),
            Output::Place(asked) => {
                let placement = call::Placement::To(self.contacts.clone());
                self.b2bua
                    .place(self.now, &asked, placement, self.account.clone());
            }
            Output::Cdr(cdr) => {
                self.trace.push(format!("record {:?}", cdr.stage));
                self.records.push(*cdr);
            }
        }
    }

    /// Whoever is told that its call is over may rely on the record.
    fn check_record(&self, what: &str, message: &Message) {
        // Who has been replaced leaves a call that goes on.
        if what != "200 BYE" || self.b2bua.counters().transfers_begun > 0 {
            return;
        }
        let call_id = message.call_id().unwrap();
        let is_of_call =
            |cdr: &Cdr| cdr.caller_call_id == call_id || cdr.callee_call_id.as_deref() == Some(call_id);
        let is_kept = self
            .records
            .iter()
            .any(|cdr| cdr.stage == Stage::Ended && is_of_call(cdr));
        assert!(
            is_kept,
            "a BYE is answered before the record is kept: {}",
            self.trace.join(", ")
        );
    }

    /// No byte of the one side's addresses in what the other side gets.
    fn check_topology(&self, to: SocketAddr, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let foreign = match to.ip().to_string() {
            ip if ip.starts_with("10.1.0.") => "10.2.0.",
            ip if ip.starts_with("10.2.0.") => "10.1.0.",
            // A stranger who sent a copy of a party's message gets that party's Via back.
            _ => return,
        };
        assert!(!text.contains(foreign), "{foreign} leaks to {to}:\n{text}");
        let others = [&self.a, &self.b, &self.b2, &self.b3];
        let others = others.iter().filter(|ua| ua.address.ip() != to.ip());
        for other in others {
            if let Some(key) = &other.key {
                let key = std::str::from_utf8(key).unwrap();
                assert!(!text.contains(key), "another one's key leaks to {to}:\n{text}");
            }
            if let Some(ufrag) = other.browser {
                let password = format!("ice-pwd:{ufrag}");
                assert!(
                    !text.contains(&password),
                    "another one's ICE leaks to {to}:\n{text}"
                );
            }
        }
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<Timestamp> {
        [
            self.b2bua.poll_timeout(),
            self.a.poll_timeout(),
            self.b.poll_timeout(),
            self.b2.poll_timeout(),
            self.b3.poll_timeout(),
            self.node.poll_timeout(),
            self.network.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Goes to the next thing that happens, at most to `end`; false when nothing does before.
    pub fn step(&mut self, end: Timestamp) -> bool {
        self.settle();
        let Some(next) = self.next().filter(|&next| next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        while let Some((from, to, bytes)) = self.network.receive(self.now) {
            self.deliver(from, to, bytes);
        }
        self.b2bua.handle_timeout(self.now);
        for ua in [&mut self.a, &mut self.b, &mut self.b2, &mut self.b3] {
            ua.handle_timeout(self.now);
        }
        self.settle();
        true
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if self.deaf.contains(&to) {
            return;
        }
        if to == self.b2bua_address() {
            let comes_by = self.a_comes_by.filter(|_| from == self.a.address);
            let (transport, flow) = comes_by.unwrap_or((Transport::Udp, FlowId(1)));
            let source = Source {
                transport,
                flow,
                remote: from,
                local: to,
            };
            self.tape.push((from, bytes.clone()));
            let message = Message::parse_datagram(bytes).expect("user agents send readable messages");
            self.b2bua.handle_message(self.now, source, message);
        } else if let Some(ua) = [&mut self.a, &mut self.b, &mut self.b2, &mut self.b3]
            .into_iter()
            .find(|ua| ua.address == to)
        {
            ua.handle_datagram(self.now, from, bytes);
        }
        self.settle();
    }

    /// A datagram from `from` that no user agent made.
    pub fn inject(&mut self, from: &str, text: String) {
        self.deliver(from.parse().unwrap(), US.parse().unwrap(), Bytes::from(text));
    }

    /// The node loses a call.
    pub fn node_ends(&mut self) {
        let Some(call) = self.node.calls.keys().min().cloned() else {
            return;
        };
        let report = Box::new(self.node.end(&call));
        let kind = EventKind::Ended {
            cause: EndCause::LeaseExpired,
            report,
        };
        self.b2bua
            .handle_media_event(self.now, &Node::name(), Event { call, kind });
        self.settle();
    }

    fn b2bua_address(&self) -> SocketAddr {
        US.parse().unwrap()
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.step(end) {}
    }

    /// Lets time pass until nothing is left to happen, and checks that nothing is left at all.
    pub fn finish(&mut self) {
        let end = self.now + Duration::from_secs(900);
        while self.step(end) {}
        self.check_end();
    }

    /// The invariants at the end of every story among honest parties.
    fn check_end(&self) {
        assert_eq!(self.next(), None, "a timer runs for nothing");
        let is_talking = [&self.a, &self.b, &self.b2, &self.b3]
            .iter()
            .any(|ua| ua.is_talking());
        assert!(!is_talking, "a party believes it is in a call");
        self.check_left();
    }

    /// What must hold at every end, whatever the parties are.
    pub fn check_left(&self) {
        let b2bua = &self.b2bua;
        assert_eq!(
            (b2bua.call_count(), b2bua.dialog_count()),
            (0, 0),
            "calls or dialogs are left: {b2bua:#?}"
        );
        assert!(b2bua.is_idle(), "something is left: {b2bua:#?}");
        assert_eq!(self.node.ports_allocated, self.node.ports_freed, "ports are left");
        assert!(self.node.calls.is_empty(), "calls are left on the node");
        let count = |stage: Stage| self.records.iter().filter(|cdr| cdr.stage == stage).count() as u64;
        let counters = b2bua.counters();
        assert_eq!(
            count(Stage::Ended),
            counters.calls_attempted + counters.refusals_recorded,
            "one record of the end a call"
        );
        assert_eq!(counters.calls_ended, counters.calls_attempted);
        assert_eq!(count(Stage::Answered), counters.calls_answered);
        let mut ended: Vec<_> = self
            .records
            .iter()
            .filter(|cdr| cdr.stage == Stage::Ended)
            .map(|cdr| &cdr.call)
            .collect();
        ended.sort();
        ended.dedup();
        assert_eq!(
            ended.len() as u64,
            counters.calls_ended + counters.refusals_recorded,
            "a call ended twice"
        );
    }

    /// The caller's INVITE has arrived at the callee.
    pub fn invited() -> Self {
        let mut world = Self::new();
        world.a.invite(world.now, true);
        world.run_ms(20);
        assert!(world.b.incoming.is_some());
        world
    }

    /// Both talk.
    pub fn talking() -> Self {
        let mut world = Self::invited();
        world.b.respond(world.now, 180, "b1", None);
        world.run_ms(20);
        world.b.answer(world.now);
        world.run_ms(100);
        assert_eq!(world.a.log, ["180 INVITE", "200 INVITE"]);
        assert_eq!(world.b.log, ["INVITE", "ACK"]);
        world
    }

    /// The record of the end, of the one call there was.
    pub fn ended(&self) -> &Cdr {
        let mut ended = self.records.iter().filter(|cdr| cdr.stage == Stage::Ended);
        let cdr = ended.next().expect("a record of the end");
        assert!(ended.next().is_none(), "two records of the end");
        cdr
    }

    /// Asserts that these lines are in the trace in this order.
    pub fn assert_order(&self, lines: &[&str]) {
        let mut trace = self.trace.iter();
        for line in lines {
            assert!(
                trace.any(|it| it == line),
                "{line} is missing or out of order in {:#?}",
                self.trace
            );
        }
    }
}
