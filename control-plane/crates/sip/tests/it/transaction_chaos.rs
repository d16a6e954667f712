//! A peer and a user without manners: whatever comes in whatever order, the layer keeps its limits and its contract, and
//! once they fall silent nothing is left.

use std::collections::BTreeSet;
use std::time::Duration;

use sans_io::Random;
use sip::message::HeaderName;
use sip::transaction::{ClientKey, Event, ServerKey};
use sip::{FlowId, Message, Source, Transport};

use crate::bench::{Bench, PEER, from, message, response, to};
use crate::world::for_seeds;

const STEPS: u32 = 600;
const TRANSACTIONS_MAX: usize = 48;

struct Chaos {
    bench: Bench,
    random: Random,
    /// What the layer sent lately: material for answers, right and wrong.
    seen: Vec<Message>,
    clients: BTreeSet<ClientKey>,
    servers: BTreeSet<ServerKey>,
    requests: Vec<(ServerKey, Message)>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        Self {
            bench: Bench::with(|config| config.transactions_max = TRANSACTIONS_MAX),
            random: Random::from_number(seed),
            seen: Vec::new(),
            clients: BTreeSet::new(),
            servers: BTreeSet::new(),
            requests: Vec::new(),
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len() as u64) as usize]
    }

    fn source(&mut self) -> Source {
        let transport = self.pick(&[Transport::Udp, Transport::Udp, Transport::Tcp]);
        let remote = self.pick(&[PEER, "198.51.100.8:5060", "[2001:db8::1]:5060"]);
        Source {
            flow: FlowId(self.random.below(3)),
            ..from(transport, remote)
        }
    }

    /// A request of few possible parts, so that they meet each other.
    fn request(&mut self) -> Message {
        let method = self.pick(&["INVITE", "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "X"]);
        let branch = self.pick(&["z9hG4bK1", "z9hG4bK2", "z9hG4bK3", "1", "2", "z9hG4bK"]);
        let sent_by = self.pick(&[
            "198.51.100.7",
            "198.51.100.7:5070",
            "h.example.com",
            "[2001:db8::1]:1",
        ]);
        let rport = self.pick(&["", ";rport", ";rport=9", ";received=192.0.2.200"]);
        let to_tag = self.pick(&["", "", ";tag=b1", ";tag=b2"]);
        let from_tag = self.pick(&["", ";tag=a1", ";tag=a2"]);
        let (call, seq) = (self.random.below(3), self.random.below(3));
        message(&format!(
            "{method} sip:bob@192.0.2.1 SIP/2.0
            Via: SIP/2.0/UDP {sent_by};branch={branch}{rport}
            From: <sip:alice@example.com>{from_tag}
            To: <sip:bob@example.com>{to_tag}
            Call-ID: call-{call}
            CSeq: {seq} {method}"
        ))
    }

    fn step(&mut self) {
        let now = self.bench.now;
        match self.random.below(12) {
            0..=3 => {
                let (source, request) = (self.source(), self.request());
                self.bench.receive_from(source, &request);
            }
            4 | 5 if !self.seen.is_empty() => {
                let index = self.random.below(self.seen.len() as u64) as usize;
                let status = self.pick(&[100, 180, 200, 200, 302, 408, 487, 699]);
                let (source, answer) = (self.source(), response(&self.seen[index], status, "b1"));
                self.bench.receive_from(source, &answer);
            }
            6 | 7 => {
                let method = self.pick(&["INVITE", "INVITE", "OPTIONS", "BYE"]);
                let transport = self.pick(&[Transport::Udp, Transport::Tcp]);
                let request = message(&format!(
                    "{method} sip:bob@{PEER} SIP/2.0
                    Via: SIP/2.0/UDP before-us
                    From: <sip:alice@example.com>;tag=a1
                    To: <sip:bob@example.com>
                    Call-ID: own
                    CSeq: 1 {method}"
                ));
                let request = request
                    .edit()
                    .remove(HeaderName::Via)
                    .build()
                    .expect("well-formed");
                if let Ok(key) = self.bench.layer.send_request(now, request, to(transport, PEER)) {
                    assert!(self.clients.insert(key), "a key came back");
                }
            }
            8 => {
                if let Some(&key) = self.clients.first() {
                    let _ = self.bench.layer.cancel(now, key, None);
                }
            }
            9 if !self.requests.is_empty() => {
                let index = self.random.below(self.requests.len() as u64) as usize;
                let status = self.pick(&[100, 180, 200, 200, 408, 486, 603]);
                let (key, request) = &self.requests[index];
                let _ = self
                    .bench
                    .layer
                    .respond(now, *key, response(request, status, "b1"));
            }
            10 => {
                let transport = self.pick(&[Transport::Udp, Transport::Tcp]);
                let mut destination = to(transport, PEER);
                destination.flow = (self.random.below(2) == 0).then_some(FlowId(self.random.below(3)));
                self.bench.layer.handle_transport_error(now, destination);
            }
            _ => {
                let millis = self.pick(&[0, 1, 100, 500, 5_000, 40_000]);
                // A clock that steps back is the shell's fault, and no reason to fall over.
                self.bench.now = match self.random.below(20) {
                    0 => now.saturating_sub(Duration::from_millis(millis)),
                    _ => now + Duration::from_millis(millis),
                };
                self.bench.layer.handle_timeout(self.bench.now);
            }
        }
        self.observe();
    }

    /// Holds what comes out against the contract.
    fn observe(&mut self) {
        let sent = self.bench.transmits();
        self.seen.extend(
            sent.into_iter()
                .map(|(_, message)| message)
                .filter(Message::is_request),
        );
        let excess = self.seen.len().saturating_sub(8);
        self.seen.drain(..excess);
        for event in self.bench.events() {
            match event {
                Event::Request { key, message, .. } => {
                    assert!(self.servers.insert(key), "a key came back");
                    self.requests.push((key, message));
                }
                Event::Response { key, .. } | Event::TimedOut { key } | Event::TransportFailed { key } => {
                    assert!(self.clients.contains(&key), "an event after the end");
                }
                Event::ClientTerminated { key } => assert!(self.clients.remove(&key), "terminated twice"),
                Event::Cancelled { invite: key, .. }
                | Event::Unacknowledged { key }
                | Event::ResponseUndelivered { key }
                | Event::Abandoned { key } => assert!(self.servers.contains(&key), "an event after the end"),
                Event::ServerTerminated { key } => {
                    assert!(self.servers.remove(&key), "terminated twice");
                    self.requests.retain(|(request, _)| *request != key);
                }
                Event::Ack { message, .. } => assert!(message.is_request()),
            }
        }
        // CANCELs of ours are not held to the limit, and there is at most one an INVITE.
        assert!(
            self.bench.layer.len() <= 2 * TRANSACTIONS_MAX,
            "{} transactions",
            self.bench.layer.len()
        );
    }
}

#[test]
fn whatever_comes_the_layer_keeps_its_limits_and_its_contract() {
    let mut refused = 0;
    for_seeds(60, |seed| {
        let mut chaos = Chaos::new(seed);
        (0..STEPS).for_each(|_| chaos.step());
        refused += chaos.bench.layer.counters().refused_requests;
        // Both fall silent; the user owes answers to INVITEs, and cancels its own.
        for key in chaos.servers.clone() {
            let owed = chaos.requests.iter().find(|(request, _)| *request == key);
            let (_, request) = owed.expect("it is open");
            let _ = chaos
                .bench
                .layer
                .respond(chaos.bench.now, key, response(request, 500, "b1"));
        }
        for key in chaos.clients.clone() {
            let _ = chaos.bench.layer.cancel(chaos.bench.now, key, None);
        }
        let silent = chaos.bench.now;
        while let Some(at) = chaos.bench.layer.poll_timeout() {
            chaos.bench.now = chaos.bench.now.max(at);
            chaos.bench.layer.handle_timeout(chaos.bench.now);
            chaos.observe();
        }
        assert!(chaos.bench.layer.is_empty(), "transactions are left");
        assert!(
            chaos.clients.is_empty() && chaos.servers.is_empty(),
            "an end was not told"
        );
        let linger: Duration = chaos.bench.now.saturating_since(silent);
        assert!(linger < Duration::from_secs(150), "it took {linger:?}");
    });
    assert!(
        refused > 0 || std::env::var_os("SEED").is_some(),
        "the limit was never reached"
    );
}
