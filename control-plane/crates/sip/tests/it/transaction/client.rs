use std::time::Duration;

use sip::message::HeaderName;
use sip::transaction::{CancelError, ClientKey, SendError};
use sip::{Message, Transport};

use crate::bench::{Bench, LOCAL, PEER, from, message, response, to};

/// A request as a user gives it to the layer: without Via.
fn own_request(method: &str) -> Message {
    message(&format!(
        "{method} sip:bob@{PEER} SIP/2.0
        Via: SIP/2.0/UDP placeholder
        Max-Forwards: 70
        Route: <sip:proxy.example.com;lr>
        From: <sip:alice@example.com>;tag=a1
        To: <sip:bob@example.com>
        Call-ID: call-1
        CSeq: 7 {method}
        Proxy-Authorization: Digest username=\"alice\"
        Contact: <sip:alice@{LOCAL}>"
    ))
    .edit()
    .remove(HeaderName::Via)
    .build()
    .expect("well-formed")
}

fn send(bench: &mut Bench, method: &str) -> (ClientKey, Message) {
    let key = bench
        .layer
        .send_request(bench.now, own_request(method), to(Transport::Udp, PEER))
        .expect("sent");
    (key, bench.sent_one())
}

fn times(sent: &[(u128, Message)]) -> Vec<u128> {
    sent.iter().map(|(at, _)| *at).collect()
}

const LONG: Duration = Duration::from_secs(100);

#[test]
fn a_request_gets_a_via_of_ours_with_a_branch_that_is_new_each_time() {
    let mut bench = Bench::new();
    let (_, first) = send(&mut bench, "OPTIONS");
    let (_, second) = send(&mut bench, "OPTIONS");
    let via = first.via().expect("a Via");
    assert_eq!(
        (via.transport, via.port, via.rport()),
        ("UDP", Some(5060), Some(None))
    );
    let branch = via.unique_branch().expect("the magic cookie");
    assert_eq!(branch.len(), 7 + 32, "128 bits: {branch}");
    assert_ne!(Some(branch), second.via().expect("a Via").unique_branch());
    assert_eq!(first.vias().count(), 1);
}

#[test]
fn an_invite_into_silence_is_sent_seven_times_and_times_out() {
    let mut bench = Bench::new();
    let (_, invite) = send(&mut bench, "INVITE");
    let sent = bench.pass(LONG);
    assert_eq!(times(&sent), [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert!(sent.iter().all(|(_, again)| *again == invite));
    assert_eq!(bench.told(), ["timed out", "client terminated"]);
    assert!(bench.layer.is_empty());
}

#[test]
fn another_request_into_silence_is_sent_eleven_times_and_times_out() {
    let mut bench = Bench::new();
    send(&mut bench, "OPTIONS");
    let sent = bench.pass(LONG);
    assert_eq!(
        times(&sent),
        [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert_eq!(bench.told(), ["timed out", "client terminated"]);
}

#[test]
fn after_a_provisional_response_a_request_other_than_invite_is_repeated_every_t2() {
    let mut bench = Bench::new();
    let (_, options) = send(&mut bench, "OPTIONS");
    bench.receive(&response(&options, 100, "b1"));
    let sent = bench.pass(Duration::from_secs(20));
    assert_eq!(times(&sent), [500, 4_500, 8_500, 12_500, 16_500]);
    bench.receive(&response(&options, 200, "b1"));
    assert!(bench.pass(LONG).is_empty());
    assert_eq!(
        bench.told(),
        ["response 100", "response 200", "client terminated"]
    );
}

#[test]
fn nothing_is_repeated_on_a_reliable_transport_and_nothing_lingers() {
    let mut bench = Bench::new();
    for method in ["INVITE", "BYE"] {
        let destination = to(Transport::Tcp, PEER);
        bench
            .layer
            .send_request(bench.now, own_request(method), destination)
            .expect("sent");
        let request = bench.sent_one();
        assert!(bench.pass(Duration::from_secs(20)).is_empty());
        bench.receive_from(from(Transport::Tcp, PEER), &response(&request, 500, "b1"));
        bench.sent();
        bench.pass(Duration::ZERO);
        assert_eq!(bench.told(), ["response 500", "client terminated"], "{method}");
    }
}

#[test]
fn a_provisional_response_stops_the_repetition_of_an_invite_for_as_long_as_it_rings() {
    let mut bench = Bench::new();
    let (_, invite) = send(&mut bench, "INVITE");
    bench.receive(&response(&invite, 180, "b1"));
    assert!(bench.pass(Duration::from_secs(600)).is_empty());
    assert_eq!(bench.layer.len(), 1);
    assert_eq!(bench.told(), ["response 180"]);
}

#[test]
fn a_failure_is_acknowledged_each_time_it_comes_but_told_once() {
    let mut bench = Bench::new();
    let (_, invite) = send(&mut bench, "INVITE");
    let busy = response(&invite, 486, "b1");
    bench.receive(&busy);
    let ack = bench.sent_one();
    // §17.1.1.3
    assert_eq!(
        ack.method().map(|method| method.to_string()).as_deref(),
        Some("ACK")
    );
    assert_eq!(ack.request_uri(), invite.request_uri());
    for same in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::CallId,
        HeaderName::Route,
        HeaderName::ProxyAuthorization,
    ] {
        assert_eq!(ack.header(same), invite.header(same), "{same}");
    }
    assert_eq!(ack.to().expect("a To").tag(), Some("b1"));
    assert_eq!(ack.header(HeaderName::CSeq), Some("7 ACK"));
    bench.receive(&busy);
    assert_eq!(bench.sent_one(), ack);
    assert_eq!(bench.told(), ["response 486"]);
    assert_eq!(times(&bench.pass(Duration::from_millis(31_999))), []);
    assert_eq!(bench.layer.len(), 1, "timer D runs");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.told(), ["client terminated"]);
}

#[test]
fn every_2xx_comes_up_while_timer_m_runs_and_then_none() {
    let mut bench = Bench::new();
    let (_, invite) = send(&mut bench, "INVITE");
    bench.receive(&response(&invite, 200, "b1"));
    bench.receive(&response(&invite, 200, "b1"));
    bench.receive(&response(&invite, 200, "fork"));
    bench.receive(&response(&invite, 180, "late"));
    assert_eq!(bench.told(), ["response 200"; 3]);
    assert!(bench.pass(LONG).is_empty());
    assert_eq!(bench.told(), ["client terminated"]);
    bench.receive(&response(&invite, 200, "b1"));
    assert_eq!(bench.told(), [] as [&str; 0]);
    assert_eq!(bench.layer.counters().stray_responses, 1);
}

#[test]
fn responses_that_were_never_asked_for_are_dropped_and_counted() {
    let mut bench = Bench::new();
    let (_, options) = send(&mut bench, "OPTIONS");
    let other_branch = options
        .edit()
        .replace_first_value(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
    bench.receive(&response(&other_branch.build().expect("well-formed"), 200, "b1"));
    // The CSeq method counts as well: a CANCEL has the branch of its INVITE (§17.1.3).
    let other_method = response(&options, 200, "b1")
        .edit()
        .set(HeaderName::CSeq, "7 BYE")
        .build();
    bench.receive(&other_method.expect("well-formed"));
    // A second Via: it is for somebody else (§8.1.3.3).
    let second_via = response(&options, 200, "b1")
        .edit()
        .append(HeaderName::Via, "SIP/2.0/UDP other")
        .build();
    bench.receive(&second_via.expect("well-formed"));
    assert_eq!(bench.layer.counters().stray_responses, 3);
    assert_eq!(bench.told(), [] as [&str; 0]);
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new();
    let (key, invite) = send(&mut bench, "INVITE");
    bench
        .layer
        .cancel(bench.now, key, Some("SIP;cause=200;text=\"elsewhere\""))
        .expect("to be cancelled");
    assert!(bench.sent().is_empty(), "§9.1: not before a 1xx");
    bench.receive(&response(&invite, 100, "b1"));
    let cancel = bench.sent_one();
    assert_eq!(cancel.request_uri(), invite.request_uri());
    for same in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::Route,
    ] {
        assert_eq!(cancel.header(same), invite.header(same), "{same}");
    }
    assert_eq!(cancel.header(HeaderName::CSeq), Some("7 CANCEL"));
    assert_eq!(
        cancel.header(HeaderName::Reason),
        Some("SIP;cause=200;text=\"elsewhere\"")
    );
    assert!(
        cancel.header(HeaderName::ProxyAuthorization).is_none(),
        "a CANCEL is not challenged (§22.1)"
    );

    bench
        .layer
        .cancel(bench.now, key, None)
        .expect("cancelled already");
    assert!(bench.sent().is_empty());
    bench.receive(&response(&cancel, 200, "b1"));
    bench.receive(&response(&invite, 487, "b1"));
    assert_eq!(
        bench.told(),
        ["response 100", "response 487"],
        "nothing of the CANCEL itself"
    );
    assert_eq!(
        bench.layer.cancel(bench.now, key, None),
        Err(CancelError::Answered)
    );
    bench.sent();
    assert!(bench.pass(LONG).is_empty());
    assert!(bench.layer.is_empty());
    assert_eq!(bench.layer.cancel(bench.now, key, None), Err(CancelError::Gone));
}

#[test]
fn a_cancel_without_any_answer_ends_the_invite_after_64_t1() {
    let mut bench = Bench::new();
    let (key, invite) = send(&mut bench, "INVITE");
    bench.receive(&response(&invite, 180, "b1"));
    bench.pass(Duration::from_secs(60));
    bench.layer.cancel(bench.now, key, None).expect("to be cancelled");
    assert_eq!(bench.sent().len(), 1);
    let sent = bench.pass(LONG);
    assert_eq!(sent.len(), 10, "the CANCEL is repeated as any request");
    assert_eq!(bench.told(), ["response 180", "timed out", "client terminated"]);
    assert!(bench.layer.is_empty());
}

#[test]
fn a_2xx_that_crosses_the_cancel_comes_up() {
    let mut bench = Bench::new();
    let (key, invite) = send(&mut bench, "INVITE");
    bench.receive(&response(&invite, 180, "b1"));
    bench.layer.cancel(bench.now, key, None).expect("to be cancelled");
    let cancel = bench.sent_one();
    bench.receive(&response(&invite, 200, "b1"));
    bench.receive(&response(&cancel, 481, "b1"));
    assert_eq!(bench.told(), ["response 180", "response 200"]);
}

#[test]
fn a_reason_with_a_line_break_is_left_out() {
    let mut bench = Bench::new();
    let (key, invite) = send(&mut bench, "INVITE");
    bench.receive(&response(&invite, 180, "b1"));
    bench
        .layer
        .cancel(bench.now, key, Some("SIP\r\nX-Injected: 1"))
        .expect("to be cancelled");
    assert!(bench.sent_one().header(HeaderName::Reason).is_none());
}

#[test]
fn only_invite_is_cancelled_and_ack_and_cancel_are_not_sent_as_requests() {
    let mut bench = Bench::new();
    let (key, _) = send(&mut bench, "OPTIONS");
    assert_eq!(
        bench.layer.cancel(bench.now, key, None),
        Err(CancelError::NotInvite)
    );
    for method in ["ACK", "CANCEL"] {
        let sent = bench
            .layer
            .send_request(bench.now, own_request(method), to(Transport::Udp, PEER));
        assert_eq!(sent, Err(SendError::WrongMethod));
    }
    let sent = bench.layer.ack(&own_request("BYE"), to(Transport::Udp, PEER));
    assert_eq!(sent, Err(SendError::WrongMethod));
}

#[test]
fn an_ack_for_a_2xx_has_a_branch_of_its_own_and_no_transaction() {
    let mut bench = Bench::new();
    let (_, invite) = send(&mut bench, "INVITE");
    let len = bench.layer.len();
    let ack = bench
        .layer
        .ack(&own_request("ACK"), to(Transport::Udp, PEER))
        .expect("an ACK");
    let ack = Message::parse_datagram(ack.bytes).expect("well-formed");
    assert_ne!(
        ack.via().expect("a Via").branch(),
        invite.via().expect("a Via").branch()
    );
    assert_eq!(bench.layer.len(), len);
    assert!(bench.sent().is_empty(), "the user sends it");
}

#[test]
fn a_transport_failure_ends_what_waits_for_that_peer_and_nothing_else() {
    let mut bench = Bench::new();
    let (_, _) = send(&mut bench, "INVITE");
    let (_, _) = send(&mut bench, "OPTIONS");
    bench
        .layer
        .send_request(
            bench.now,
            own_request("BYE"),
            to(Transport::Udp, "203.0.113.1:5060"),
        )
        .expect("sent");
    bench.sent();
    bench
        .layer
        .handle_transport_error(bench.now, to(Transport::Tcp, PEER));
    assert_eq!(bench.told(), [] as [&str; 0], "TCP is another port");
    bench
        .layer
        .handle_transport_error(bench.now, to(Transport::Udp, PEER));
    let each = ["transport failed", "client terminated"];
    assert_eq!(bench.told(), [each, each].concat());
    assert_eq!(bench.layer.len(), 1);
    assert_eq!(bench.layer.counters().transport_failures, 2);
}

#[test]
fn at_the_limit_and_without_a_listener_the_user_is_told() {
    let mut bench = Bench::with(|config| {
        config.transactions_max = 1;
        config
            .listeners
            .retain(|listener| listener.transport == Transport::Udp);
    });
    let over_tcp = bench
        .layer
        .send_request(bench.now, own_request("BYE"), to(Transport::Tcp, PEER));
    assert_eq!(over_tcp, Err(SendError::NoListener));
    let (key, invite) = send(&mut bench, "INVITE");
    let second = bench
        .layer
        .send_request(bench.now, own_request("BYE"), to(Transport::Udp, PEER));
    assert_eq!(second, Err(SendError::AtLimit));
    bench.receive(&response(&invite, 180, "b1"));
    bench
        .layer
        .cancel(bench.now, key, None)
        .expect("a CANCEL finds place at the limit");
    assert_eq!(bench.sent().len(), 1);
}
