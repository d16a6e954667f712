//! What a call keeps of the heap, counted by an allocator: by each call that is held, and by each that is over while its
//! transactions linger. No clock and no processor has a part in it, so the figures are the same everywhere.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use call::{B2bua, MediaAnswer, MediaKind, MediaRequest, Output};
use media_types::{CallReport, LegReport, LegSpec, LineReport, LocalLine, NodeName, Path};
use sans_io::{Random, Timestamp};
use sip::message::{HeaderName, Method, ResponseBuilder};
use sip::{FlowId, Message, Source, Transmit, Transport};

use crate::ua::sdp;
use crate::world::{A, B, US, config};

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static BLOCKS: Cell<i64> = const { Cell::new(0) };
}

fn count(blocks: i64, bytes: i64) {
    // A thread that is ending has no counter any more, and no test that reads it.
    let _ = BLOCKS.try_with(|count| count.set(count.get() + blocks));
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every method hands its arguments to `System` unchanged, and `System` upholds the contract of `GlobalAlloc`.
// Counting touches a thread-local cell without destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller upholds the contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-1, -(layout.size() as i64));
        // SAFETY: `pointer` came from `System.alloc` with this `layout`, as the caller guarantees.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(0, size as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`, and the caller upholds the contract for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Longer than any timer of a transaction.
const TRANSACTIONS_LINGER: Duration = Duration::from_secs(40);

/// Calls through a B2BUA, between a caller and a callee that keep nothing themselves.
struct Switchboard {
    now: Timestamp,
    b2bua: B2bua,
    begun: u32,
}

impl Switchboard {
    fn new() -> Self {
        Self {
            now: Timestamp::from_millis(1_000),
            b2bua: B2bua::new(config(&[B]), Random::from_number(1)),
            begun: 0,
        }
    }

    fn take(&mut self, from: &str, bytes: Bytes) {
        let source = Source {
            transport: Transport::Udp,
            flow: FlowId(1),
            remote: from.parse().unwrap(),
            local: US.parse().unwrap(),
        };
        let message = Message::parse_datagram(bytes).unwrap();
        self.b2bua.handle_message(self.now, source, message);
    }

    /// The caller's next request in a call: the tag in `To` is ours once there is one.
    fn request(&self, method: &str, call: u32, to_tag: &str, body: &str) -> Bytes {
        let body_type = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let cseq = if method == "BYE" { 2 } else { 1 };
        let text = format!(
            "{method} sip:1000@{US} SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bK-{call}-{method}\r\n\
             From: \"Caller\" <sip:caller@{A}>;tag=caller-{call}\r\nTo: <sip:1000@{US}>{to_tag}\r\n\
             Call-ID: {call}-28160@10.1.0.1\r\nCSeq: {cseq} {method}\r\nContact: <sip:caller@{A}>\r\nMax-Forwards: 70\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n{body_type}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Bytes::from(text)
    }

    /// One call more, as far as the ACK. Gives our tag towards the caller.
    fn call(&mut self) -> String {
        self.begun += 1;
        let call = self.begun;
        let invite = self.request("INVITE", call, "", &sdp("10.1.0.1", 1, "sendrecv"));
        self.take(A, invite);
        let tag = self.settle().expect("a 2xx to the caller");
        let ack = self.request("ACK", call, &format!(";tag={tag}"), "");
        self.take(A, ack);
        self.settle();
        self.now = self.now + Duration::from_micros(200);
        tag
    }

    fn hang_up(&mut self, tag: &str) {
        let bye = self.request("BYE", self.begun, &format!(";tag={tag}"), "");
        self.take(A, bye);
        self.settle();
    }

    /// Carries out what is to be done. Gives the tag of a 2xx to the caller's INVITE.
    fn settle(&mut self) -> Option<String> {
        let mut tag = None;
        while let Some(output) = self.b2bua.poll_output() {
            match output {
                Output::Send(transmit) if transmit.destination.remote.to_string() == B => {
                    self.callee(&transmit)
                }
                Output::Send(transmit) => {
                    let message = Message::parse_datagram(transmit.bytes).unwrap();
                    if message.status() == Some(200) && message.cseq().unwrap().method == Method::Invite {
                        tag = message.to().unwrap().tag().map(str::to_owned);
                    }
                }
                Output::Media(request) => {
                    let answer = media(request);
                    self.b2bua.handle_media(self.now, answer);
                }
                Output::Cdr(_) => {}
                other => panic!("{other:?}"),
            }
        }
        tag
    }

    /// The callee rings and answers whatever it is asked.
    fn callee(&mut self, transmit: &Transmit) {
        let request = Message::parse_datagram(transmit.bytes.clone()).unwrap();
        let response = |status, phrase| {
            ResponseBuilder::for_request(&request, status, phrase)
                .to_tag("callee-1")
                .header(HeaderName::Contact, format_args!("<sip:{B};transport=UDP>"))
        };
        let responses = match request.method() {
            Some(Method::Invite) => {
                let body = sdp("10.2.0.1", 1, "sendrecv");
                vec![
                    response(180, "Ringing").build().unwrap(),
                    response(200, "OK")
                        .body("application/sdp", body.as_bytes())
                        .build()
                        .unwrap(),
                ]
            }
            Some(Method::Ack) => Vec::new(),
            _ => vec![response(200, "OK").build().unwrap()],
        };
        for response in responses {
            self.take(B, response.bytes().clone());
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.b2bua.poll_timeout().filter(|&at| at <= end) {
            self.now = at;
            self.b2bua.handle_timeout(at);
            self.settle();
        }
        self.now = end;
    }
}

/// A node with one port pair for all.
fn media(request: MediaRequest) -> MediaAnswer {
    let legs = match request.kind {
        MediaKind::Create(spec) => spec.legs,
        MediaKind::Update(legs) => legs,
        MediaKind::Delete => Vec::new(),
    };
    let leg = |leg: LegSpec| LegReport {
        id: leg.id,
        lines: leg.lines.iter().map(|_| line()).collect(),
    };
    let report = CallReport {
        id: request.call,
        age: Duration::ZERO,
        lease_left: Duration::ZERO,
        legs: legs.into_iter().map(leg).collect(),
    };
    MediaAnswer {
        id: request.id,
        result: Ok((NodeName::new("media-1").unwrap(), report)),
        fingerprint: None,
    }
}

fn line() -> LineReport {
    LineReport {
        local: Some(LocalLine {
            rtp: "198.51.100.11:20000".parse().unwrap(),
            rtcp: "198.51.100.11:20001".parse().unwrap(),
        }),
        learned: None,
        path: Path::Simulated,
        path_reason: "",
        rtcp_path: None,
        drops: Vec::new(),
        rtcp_forwarded: 0,
        srtp: None,
        dtls: None,
        ice: None,
        streams: Vec::new(),
    }
}

/// Bytes and blocks of the heap that each call more has after `story`, by the slope between two numbers of calls that fill
/// the tables, which grow by doubling, to the same part.
fn slope(story: impl Fn(&mut Switchboard, u32)) -> (i64, i64) {
    const FEW: u32 = 120;
    const MANY: u32 = 480;
    let live = |calls| {
        let before = (LIVE.get(), BLOCKS.get());
        let mut switchboard = Switchboard::new();
        story(&mut switchboard, calls);
        assert_eq!(switchboard.begun, calls);
        let after = (LIVE.get(), BLOCKS.get());
        drop(switchboard);
        (after.0 - before.0, after.1 - before.1)
    };
    let (few, many) = (live(FEW), live(MANY));
    let calls = i64::from(MANY - FEW);
    ((many.0 - few.0) / calls, (many.1 - few.1) / calls)
}

#[test]
fn a_held_call_keeps_to_its_budget_of_heap() {
    let (bytes, blocks) = slope(|switchboard, calls| {
        for _ in 0..calls {
            switchboard.call();
        }
        switchboard.pass(TRANSACTIONS_LINGER);
        assert_eq!(switchboard.b2bua.call_count(), calls as usize);
        assert!(switchboard.b2bua.transactions().is_empty());
    });
    eprintln!("held: {bytes} bytes in {blocks} blocks a call");
    assert!(bytes <= 3_900, "{bytes} bytes in {blocks} blocks");
}

#[test]
fn a_call_that_is_over_keeps_little_while_its_transactions_linger() {
    let (bytes, blocks) = slope(|switchboard, calls| {
        for _ in 0..calls {
            let tag = switchboard.call();
            switchboard.hang_up(&tag);
        }
        assert_eq!(switchboard.b2bua.call_count(), 0);
        assert_eq!(switchboard.b2bua.transactions().len(), 4 * calls as usize);
    });
    eprintln!("over: {bytes} bytes in {blocks} blocks a call");
    assert!(bytes <= 3_200, "{bytes} bytes in {blocks} blocks");
}
