//! The whole of call control, with two parties and a media node that do whatever an input tells them.

mod node;
mod party;
mod script;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use call::{B2bua, Config, NextHop, Output, Route, Routes, Stage};
use media_types::CallId;
use sans_io::{Random, Timestamp};
use sip::message::ParseError;
use sip::transaction::Listener;
use sip::{Destination, FlowId, Message, Source, Transport};

use node::Node;
use party::Party;
use script::Script;

const CALLER: &str = "10.1.0.1:5060";
const CALLEE: &str = "10.2.0.1:5060";
const US: &str = "198.51.100.1:5060";

/// Enough steps for a story, few enough that an input takes well under a millisecond a step.
const STEPS_MAX: usize = 200;

/// A story of steps that the input chooses: calls, answers, requests within dialogs, cancellations, repetitions,
/// damaged messages, media nodes that refuse or are silent, transport errors, the passing of time.
///
/// Asserts: no step panics; whatever is sent can be read by its receiver; every call that began has one record of its
/// end and never two; every creation of media that was not refused is deleted once, and nothing is asked for after it;
/// and when all have fallen silent, the last timer that fires leaves nothing behind.
///
/// # Panics
/// When one of these does not hold.
pub fn calls(data: &[u8]) {
    let mut script = Script::new(data);
    let mut stage = Stages::new();
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        stage.step(&mut script);
    }
    stage.run_out();
}

struct Stages {
    now: Timestamp,
    b2bua: B2bua,
    caller: Party,
    callee: Party,
    node: Node,
    ended: HashSet<CallId>,
    answered: HashMap<CallId, Stage>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Stages {
    fn new() -> Self {
        let destination = Destination {
            transport: Transport::Udp,
            remote: address(CALLEE),
            flow: None,
        };
        let next_hop = NextHop {
            destination,
            host: CALLEE.to_owned(),
            contact: None,
            place: call::Place::default(),
            logins: None,
            trunk: None,
            failover: None,
            peer: None,
            called: None,
            transfer: call::TransferPolicy::Local,
            srtp: call::Srtp {
                policy: call::SrtpPolicy::Prefer,
                over: call::KeysOver::Any,
                dtls: call::Dtls::Allow,
            },
        };
        let config = Config {
            transactions: sip::transaction::Config::new(vec![Listener::new(Transport::Udp, address(US))]),
            routes: Routes::new([Route {
                prefix: "1".to_owned(),
                weight: None,
                next_hops: vec![next_hop.clone(), next_hop],
            }]),
            calls_max: 4,
            ring_timeout: Duration::from_secs(20),
            duration_max: Duration::from_secs(100),
            ..Config::default()
        };
        Self {
            now: Timestamp::from_millis(1_000),
            b2bua: B2bua::new(config, Random::from_number(1)),
            caller: Party::new(CALLER, US),
            callee: Party::new(CALLEE, US),
            node: Node::default(),
            ended: HashSet::new(),
            answered: HashMap::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(20) {
            0 => self.caller_sends(script, Party::invite),
            1..=3 => self.callee_sends(script, Party::response),
            4 => self.caller_sends(script, Party::response),
            5 | 6 => self.caller_sends(script, Party::ack),
            7 => self.callee_sends(script, Party::ack),
            8 | 9 => self.caller_sends(script, Party::request_in_dialog),
            10 | 11 => self.callee_sends(script, Party::request_in_dialog),
            12 => self.caller_sends(script, Party::cancel),
            13 => self.callee_sends(script, Party::cancel),
            14 => self.caller_sends(script, |party, _| party.repetition()),
            15 => self.callee_sends(script, |party, _| party.repetition()),
            16 => self.node.mood = script.byte(),
            17 => self.media_event(script),
            18 => self.transport_error(script),
            _ => self.pass_time(),
        }
        // Mostly the node answers at once.
        if script.below(8) != 0 {
            self.answer_media();
        }
    }

    fn caller_sends(
        &mut self,
        script: &mut Script<'_>,
        make: impl Fn(&mut Party, &mut Script<'_>) -> Option<Bytes>,
    ) {
        if let Some(bytes) = make(&mut self.caller, script) {
            self.deliver(CALLER, script.damaged(bytes));
        }
    }

    fn callee_sends(
        &mut self,
        script: &mut Script<'_>,
        make: impl Fn(&mut Party, &mut Script<'_>) -> Option<Bytes>,
    ) {
        if let Some(bytes) = make(&mut self.callee, script) {
            self.deliver(CALLEE, script.damaged(bytes));
        }
    }

    fn deliver(&mut self, from: &str, bytes: Bytes) {
        let source = Source {
            transport: Transport::Udp,
            flow: FlowId(1),
            remote: address(from),
            local: address(US),
        };
        if let Ok(message) = Message::parse_datagram(bytes) {
            self.b2bua.handle_message(self.now, source, message);
            self.carry_out();
        }
    }

    fn media_event(&mut self, script: &mut Script<'_>) {
        if let Some(event) = self.node.event(script) {
            self.b2bua.handle_media_event(self.now, &Node::name(), event);
            self.carry_out();
        }
    }

    fn transport_error(&mut self, script: &mut Script<'_>) {
        let remote = address(if script.below(2) == 0 { CALLER } else { CALLEE });
        let flow = (script.below(2) == 0).then_some(FlowId(1));
        let destination = Destination {
            transport: Transport::Udp,
            remote,
            flow,
        };
        self.b2bua.handle_transport_error(self.now, destination);
        self.carry_out();
    }

    /// To the next thing that is due.
    fn pass_time(&mut self) {
        if let Some(due) = self.b2bua.poll_timeout() {
            self.now = self.now.max(due);
            self.b2bua.handle_timeout(self.now);
            self.carry_out();
        }
    }

    fn answer_media(&mut self) {
        while let Some(answer) = self.node.answers.pop_front() {
            self.b2bua.handle_media(self.now, answer);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.b2bua.poll_output() {
            match output {
                Output::Send(transmit) => {
                    let message = match Message::parse_datagram(transmit.bytes) {
                        Ok(message) => message,
                        Err(failure) => {
                            let limit = failure.error == ParseError::TooManyHeaders
                                || failure.error == ParseError::HeaderTooLarge;
                            assert!(limit, "what is sent is not read: {failure}");
                            continue;
                        }
                    };
                    let is_caller = transmit.destination.remote == address(CALLER);
                    let party = if is_caller {
                        &mut self.caller
                    } else {
                        &mut self.callee
                    };
                    party.receive(message);
                }
                Output::Media(request) => self.node.handle(request),
                Output::Register(_) | Output::Place(_) | Output::Locate(_) | Output::Answered(_) => {
                    unreachable!("there is no registrar here")
                }
                Output::Cdr(record) => match record.stage {
                    Stage::Answered => {
                        let before = self.answered.insert(record.call.clone(), record.stage);
                        assert!(
                            before.is_none() && !self.ended.contains(&record.call),
                            "answered twice or late"
                        );
                    }
                    Stage::Ended => assert!(self.ended.insert(record.call.clone()), "two records of one end"),
                    Stage::Quality => assert!(self.ended.contains(&record.call), "statistics before the end"),
                },
            }
        }
    }

    /// Both parties and the node fall silent, and time goes on until nothing waits.
    fn run_out(&mut self) {
        self.answer_media();
        self.node.mood = node::SILENT;
        let mut timers = 0;
        while self.b2bua.poll_timeout().is_some() {
            self.pass_time();
            timers += 1;
            assert!(timers < 100_000, "timers without end");
        }
        assert!(
            self.b2bua.is_idle(),
            "something is left: {:?}",
            self.b2bua.counters()
        );
        let counters = self.b2bua.counters();
        assert_eq!(
            self.ended.len() as u64,
            counters.calls_attempted + counters.refusals_recorded,
            "calls, refusals and records of their end"
        );
        self.node.check_all_deleted();
    }
}
