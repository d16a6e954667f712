//! How often a message is allocated for: a counting allocator, a thread at a time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use bytes::Bytes;
use sip::message::framing::{StreamFramer, StreamItem};
use sip::message::{HeaderName, Limits, Message, ResponseBuilder};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and no test that reads it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments to `System` unchanged, and `System` upholds the contract of `GlobalAlloc`.
// Counting touches a thread-local cell without destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this `layout`, as the caller guarantees.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`, and the caller upholds the contract for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

const INVITE: &str = "INVITE sip:+12025550123@192.0.2.7;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.1:5062;branch=z9hG4bK74bf9;rport\r\nMax-Forwards: 70\r\n\
    From: \"Alice\" <sip:alice@a.example.com>;tag=9fxced76sl\r\nTo: <sip:+12025550123@192.0.2.7>\r\n\
    Call-ID: 3848276298220188511@a.example.com\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@198.51.100.1:5062>\r\n\
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nSupported: 100rel, timer\r\nX-Any: thing\r\n\
    Content-Length: 4\r\n\r\nbody";

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(Box::new(1))).0 > 0);
}

#[test]
fn a_datagram_takes_one_allocation_and_its_views_none() {
    let bytes = Bytes::from_static(INVITE.as_bytes());
    let (count, message) = allocations(|| Message::parse_datagram(bytes).unwrap());
    assert_eq!(count, 1, "the header table");
    let (count, ()) = allocations(|| {
        let clone = message.clone();
        assert_eq!(clone.via().unwrap().rport(), Some(None));
        assert_eq!(clone.from().unwrap().tag(), Some("9fxced76sl"));
        assert!(clone.to().unwrap().parsed_uri().unwrap().param("user").is_none());
        assert_eq!(
            clone.contact().unwrap().unwrap().uri,
            "sip:alice@198.51.100.1:5062"
        );
        assert!(clone.has_token(HeaderName::Supported, "timer"));
        assert_eq!(clone.header("x-any"), Some("thing"));
        assert_eq!(clone.cseq().unwrap().seq, 1);
    });
    assert_eq!(count, 0);
}

#[test]
fn folding_takes_a_copy_more() {
    let bytes = Bytes::from(INVITE.replace("100rel, timer", "100rel,\r\n timer"));
    let (count, message) = allocations(|| Message::parse_datagram(bytes).unwrap());
    assert_eq!(count, 2);
    assert!(message.has_token(HeaderName::Supported, "timer"));
}

#[test]
fn a_streamed_message_takes_its_bytes_and_its_table() {
    let mut framer = StreamFramer::new(Limits::default());
    for _ in 0..3 {
        framer.push(INVITE.as_bytes());
        framer.push(b"\r");
        let (count, item) = allocations(|| framer.next().unwrap());
        assert!(matches!(item, Some(StreamItem::Message(_))));
        assert_eq!(count, 2);
        framer.push(b"\n");
        assert!(matches!(framer.next(), Ok(Some(StreamItem::Pong))));
    }
}

#[test]
fn a_refused_message_takes_no_more_than_a_good_one() {
    let bytes = Bytes::from(INVITE.replace("CSeq: 1 ", "CSeq: x "));
    let (count, failure) = allocations(|| Message::parse_datagram(bytes).unwrap_err());
    assert_eq!(count, 2, "the table, and the box of the part that is kept");
    assert_eq!(failure.response_code(), Some(400));
    let (count, _) =
        allocations(|| Message::parse_datagram(Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n")).unwrap_err());
    assert_eq!(count, 0);
}

#[test]
fn answers_and_received_parameters_take_a_few() {
    let request = Message::parse_datagram(Bytes::from_static(INVITE.as_bytes())).unwrap();
    let (count, response) = allocations(|| {
        ResponseBuilder::for_request(&request, 180, "Ringing")
            .to_tag("t")
            .build()
            .unwrap()
    });
    assert_eq!(count, 3, "the bytes, their owner, the table");
    assert_eq!(response.to().unwrap().tag(), Some("t"));
    let source = IpAddr::from([192, 0, 2, 9]);
    let (count, received) = allocations(|| request.with_top_via_params(Some(source), Some(4)).unwrap());
    assert_eq!(count, 4, "the parameters, the bytes, their owner, the table");
    assert_eq!(received.via().unwrap().received(), Some(source));
}
