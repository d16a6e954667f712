use std::time::Duration;

use sip::message::{HeaderName, ResponseBuilder};
use sip::transaction::{Event, RespondError, ServerKey};
use sip::{FlowId, Message, Source, Transport};

use crate::bench::{Bench, PEER, address, from, message, request, response, to};

const LONG: Duration = Duration::from_secs(100);

/// Receives `request` and gives the key and the request as the user sees it.
fn begin(bench: &mut Bench, request: &Message) -> (ServerKey, Message) {
    bench.receive(request);
    match bench.events().pop() {
        Some(Event::Request { key, message, .. }) => (key, message),
        other => panic!("{other:?}"),
    }
}

fn respond(bench: &mut Bench, key: ServerKey, request: &Message, status: u16) -> Message {
    bench
        .layer
        .respond(bench.now, key, response(request, status, "b1"))
        .expect("taken");
    bench.sent_one()
}

/// The ACK of a client whose INVITE drew `response`.
fn ack(invite: &Message, tag: &str) -> Message {
    invite
        .edit()
        .set(HeaderName::To, format_args!("<sip:bob@example.com>;tag={tag}"))
        .set(HeaderName::CSeq, "1 ACK")
        .build()
        .and_then(|copy| as_method(&copy, "ACK"))
        .expect("well-formed")
}

fn as_method(copy: &Message, method: &str) -> Result<Message, sip::message::BuildError> {
    let start = sip::message::RequestBuilder::new(method, copy.request_uri().unwrap_or_default());
    [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
    ]
    .into_iter()
    .fold(start, |builder, name| builder.copy_from(copy, name))
    .header(
        HeaderName::CSeq,
        format_args!("{} {method}", copy.cseq().map_or(0, |cseq| cseq.seq)),
    )
    .build()
}

fn times(sent: &[(u128, Message)]) -> Vec<u128> {
    sent.iter().map(|(at, _)| *at).collect()
}

#[test]
fn received_and_rport_tell_where_a_request_came_from() {
    let mut bench = Bench::new();
    let behind_nat = message(
        "OPTIONS sip:bob@192.0.2.1 SIP/2.0
        Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport
        From: <sip:alice@example.com>;tag=a1
        To: <sip:bob@example.com>
        Call-ID: call-1
        CSeq: 1 OPTIONS",
    );
    let (key, seen) = begin(&mut bench, &behind_nat);
    let via = seen.via().expect("a Via");
    assert_eq!(
        (via.received(), via.rport()),
        (Some(address(PEER).ip()), Some(Some(5070)))
    );
    bench
        .layer
        .respond(bench.now, key, response(&seen, 200, "b1"))
        .expect("taken");
    let (destination, _) = bench.transmits().remove(0);
    assert_eq!(
        (destination.remote, destination.flow),
        (address(PEER), Some(FlowId(1)))
    );
}

#[test]
fn without_rport_an_answer_over_udp_goes_to_the_port_of_the_sent_by() {
    for (sent_by, port) in [
        ("198.51.100.7:5080", 5080),
        ("198.51.100.7", 5060),
        ("host.example.com:5080", 5080),
    ] {
        let mut bench = Bench::new();
        let via = format!("SIP/2.0/UDP {sent_by};branch=z9hG4bK1;maddr=203.0.113.99");
        let options = request("OPTIONS", "z9hG4bK1")
            .edit()
            .replace_first_value(HeaderName::Via, via)
            .build();
        let (key, seen) = begin(&mut bench, &options.expect("well-formed"));
        let by_name = sent_by.starts_with("host");
        assert_eq!(
            seen.via().expect("a Via").received().is_some(),
            by_name,
            "§18.2.1, {sent_by}"
        );
        bench
            .layer
            .respond(bench.now, key, response(&seen, 200, "b1"))
            .expect("taken");
        let (destination, _) = bench.transmits().remove(0);
        assert_eq!(
            destination.remote,
            address(&format!("198.51.100.7:{port}")),
            "{sent_by}"
        );
    }
}

#[test]
fn over_tcp_an_answer_returns_on_its_connection_or_to_the_port_of_the_sent_by() {
    let mut bench = Bench::new();
    let source = Source {
        flow: FlowId(9),
        ..from(Transport::Tcp, "198.51.100.7:40000")
    };
    bench.receive_from(source, &request("OPTIONS", "z9hG4bK1"));
    let Some(Event::Request { key, message, .. }) = bench.events().pop() else {
        panic!("no request")
    };
    bench
        .layer
        .respond(bench.now, key, response(&message, 200, "b1"))
        .expect("taken");
    let (destination, _) = bench.transmits().remove(0);
    assert_eq!(
        (destination.flow, destination.remote),
        (Some(FlowId(9)), address(PEER))
    );
    bench.pass(Duration::ZERO);
    assert!(bench.layer.is_empty(), "timer J is zero");
}

#[test]
fn a_request_that_comes_again_is_absorbed_and_draws_the_latest_response() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let (key, seen) = begin(&mut bench, &invite);
    bench.receive(&invite);
    assert!(bench.sent().is_empty());
    let ringing = respond(&mut bench, key, &seen, 180);
    bench.receive(&invite);
    assert_eq!(bench.sent_one(), ringing);
    let busy = respond(&mut bench, key, &seen, 486);
    bench.receive(&invite);
    assert_eq!(bench.sent_one(), busy);
    assert_eq!(bench.told(), [] as [&str; 0]);
    assert_eq!(bench.layer.counters().retransmissions_absorbed, 3);
}

#[test]
fn a_silent_user_has_100_sent_for_it_after_200_ms() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1")
        .edit()
        .append(HeaderName::Timestamp, "54")
        .build();
    begin(&mut bench, &invite.expect("well-formed"));
    let sent = bench.pass(Duration::from_secs(5));
    assert_eq!(times(&sent), [200]);
    let trying = &sent[0].1;
    assert_eq!(
        (trying.status(), trying.header(HeaderName::Timestamp)),
        (Some(100), Some("54"))
    );
    assert!(trying.to().expect("a To").tag().is_none());
}

#[test]
fn a_failure_is_repeated_up_to_t2_until_the_ack_and_the_ack_is_absorbed() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let (key, seen) = begin(&mut bench, &invite);
    respond(&mut bench, key, &seen, 486);
    assert_eq!(
        times(&bench.pass(Duration::from_secs(8))),
        [500, 1_500, 3_500, 7_500]
    );
    bench.receive(&ack(&invite, "b1"));
    bench.receive(&ack(&invite, "b1"));
    assert_eq!(times(&bench.pass(Duration::from_millis(4_999))), []);
    assert_eq!(bench.layer.len(), 1, "timer I runs");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.told(), ["server terminated"]);
}

#[test]
fn a_failure_that_is_never_acknowledged_is_given_up_by_timer_h() {
    let mut bench = Bench::new();
    let (key, seen) = begin(&mut bench, &request("INVITE", "z9hG4bK1"));
    respond(&mut bench, key, &seen, 486);
    let sent = bench.pass(LONG);
    assert_eq!(
        times(&sent),
        [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert_eq!(bench.told(), ["unacknowledged", "server terminated"]);
    assert!(bench.layer.is_empty());
}

#[test]
fn after_a_2xx_invites_are_absorbed_acks_come_up_and_the_user_repeats() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let (key, seen) = begin(&mut bench, &invite);
    let ok = respond(&mut bench, key, &seen, 200);
    bench.receive(&invite);
    assert!(bench.sent().is_empty(), "RFC 6026 §7.1");
    bench.layer.respond(bench.now, key, ok.clone()).expect("again");
    assert_eq!(bench.sent_one(), ok);
    let failure = bench.layer.respond(bench.now, key, response(&seen, 500, "b1"));
    assert_eq!(failure, Err(RespondError::Answered));
    // With the branch of the INVITE, as many clients do, and with one of its own, as the RFC has it.
    bench.receive(&ack(&invite, "b1"));
    bench.receive(&ack(&request("INVITE", "z9hG4bK2"), "b1"));
    assert_eq!(bench.told(), ["ack", "ack"]);
    assert!(bench.pass(LONG).is_empty());
    assert_eq!(bench.told(), ["server terminated"]);
    assert_eq!(bench.layer.respond(bench.now, key, ok), Err(RespondError::Gone));
}

#[test]
fn clients_of_rfc_2543_are_matched_by_fields() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "1");
    let (key, seen) = begin(&mut bench, &invite);
    bench.receive(&invite);
    assert_eq!(bench.told(), [] as [&str; 0], "absorbed");
    respond(&mut bench, key, &seen, 486);
    bench.receive(&ack(&invite, "someone-else"));
    assert_eq!(
        bench.told(),
        ["ack"],
        "with a To tag that is not ours it is for another's 2xx"
    );
    bench.receive(&ack(&invite, "b1"));
    assert!(bench.pass(LONG).is_empty());
    assert_eq!(bench.told(), ["server terminated"]);
    let again = invite
        .edit()
        .set(HeaderName::CSeq, "2 INVITE")
        .build()
        .expect("well-formed");
    bench.receive(&again);
    assert_eq!(bench.told(), ["request INVITE"]);
}

#[test]
fn another_sent_by_or_method_is_another_transaction() {
    let mut bench = Bench::new();
    let options = request("OPTIONS", "z9hG4bK1");
    let sent_by = options
        .edit()
        .replace_first_value(HeaderName::Via, "SIP/2.0/UDP 198.51.100.8;branch=z9hG4bK1");
    let sent_by = sent_by
        .set(HeaderName::CallId, "other")
        .build()
        .expect("well-formed");
    bench.receive(&options);
    bench.receive(&sent_by);
    bench.receive(&request("INFO", "z9hG4bK1"));
    assert_eq!(
        bench.told(),
        ["request OPTIONS", "request OPTIONS", "request INFO"]
    );
}

#[test]
fn a_cancel_is_answered_and_told_once_and_the_invite_is_left_to_the_user() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let (key, seen) = begin(&mut bench, &invite);
    respond(&mut bench, key, &seen, 180);
    let cancel = as_method(&invite, "CANCEL").expect("well-formed");
    bench.receive(&cancel);
    let answer = bench.sent_one();
    assert_eq!(
        (answer.status(), answer.header(HeaderName::CSeq)),
        (Some(200), Some("1 CANCEL"))
    );
    assert_eq!(
        answer.to().expect("a To").tag(),
        Some("b1"),
        "§9.2: the tag of the responses to the INVITE"
    );
    bench.receive(&cancel);
    assert_eq!(bench.sent_one(), answer);
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Cancelled { invite, .. }] if *invite == key),
        "{events:?}"
    );
    respond(&mut bench, key, &seen, 487);
    bench.receive(&ack(&invite, "b1"));
    bench.pass(LONG);
    assert_eq!(bench.told(), ["server terminated"]);
    assert!(bench.layer.is_empty());
}

#[test]
fn a_cancel_after_the_final_response_changes_nothing() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let (key, seen) = begin(&mut bench, &invite);
    respond(&mut bench, key, &seen, 200);
    bench.receive(&as_method(&invite, "CANCEL").expect("well-formed"));
    assert_eq!(bench.sent_one().status(), Some(200));
    assert_eq!(bench.told(), [] as [&str; 0]);
}

#[test]
fn a_cancel_for_nothing_is_answered_481_without_state() {
    let mut bench = Bench::new();
    let cancel = request("CANCEL", "z9hG4bK1");
    bench.receive(&cancel);
    let first = bench.sent_one();
    assert_eq!(first.status(), Some(481));
    bench.receive(&cancel);
    assert_eq!(bench.sent_one(), first, "the same To tag each time (§8.2.7)");
    assert!(bench.layer.is_empty());
    assert_eq!(bench.layer.counters().stray_cancels, 2);
}

#[test]
fn a_request_over_a_second_path_is_merged() {
    let mut bench = Bench::new();
    let (key, seen) = begin(&mut bench, &request("INVITE", "z9hG4bKpath1"));
    let second = request("INVITE", "z9hG4bKpath2");
    bench.receive(&second);
    let answer = bench.sent_one();
    assert_eq!(answer.status(), Some(482), "§8.2.2.2");
    let tag = answer.to().expect("a To").tag().expect("a tag").to_owned();
    bench.receive(&ack(&second, &tag));
    assert_eq!(bench.told(), [] as [&str; 0], "the ACK for it ends here");
    assert_eq!(bench.layer.counters().merged_requests, 1);
    // One target after the other is no merging.
    respond(&mut bench, key, &seen, 486);
    bench.receive(&request("INVITE", "z9hG4bKpath3"));
    assert_eq!(bench.told(), ["request INVITE"]);
}

#[test]
fn at_the_limit_requests_are_refused_but_dialogs_keep_a_reserve() {
    let mut bench = Bench::with(|config| {
        config.transactions_max = 16;
        config.retry_after_s = 9;
    });
    let fresh = |n: u32| {
        let fresh = request("OPTIONS", &format!("z9hG4bK{n}"));
        fresh
            .edit()
            .set(HeaderName::CallId, n)
            .build()
            .expect("well-formed")
    };
    (0..15).for_each(|n| bench.receive(&fresh(n)));
    assert_eq!(bench.told().len(), 15);
    bench.receive(&fresh(15));
    let refusal = bench.sent_one();
    assert_eq!(
        (refusal.status(), refusal.header(HeaderName::RetryAfter)),
        (Some(503), Some("9"))
    );
    let in_dialog = |n| {
        fresh(n)
            .edit()
            .set(HeaderName::To, "<sip:bob@example.com>;tag=b1")
            .build()
            .expect("well-formed")
    };
    bench.receive(&in_dialog(16));
    assert_eq!(bench.told(), ["request OPTIONS"]);
    bench.receive(&in_dialog(17));
    assert_eq!(bench.sent_one().status(), Some(503));
    assert_eq!(bench.layer.counters().refused_requests, 2);
    assert_eq!(bench.layer.len(), 16);
}

#[test]
fn a_request_other_than_invite_gets_no_408_and_no_provisional_response_but_a_late_100() {
    let mut bench = Bench::new();
    let (key, seen) = begin(&mut bench, &request("OPTIONS", "z9hG4bK1"));
    for (status, error) in [
        (408, RespondError::TimeoutToNonInvite),
        (180, RespondError::ProvisionalToNonInvite),
        (100, RespondError::ProvisionalToNonInvite),
    ] {
        assert_eq!(
            bench.layer.respond(bench.now, key, response(&seen, status, "b1")),
            Err(error),
            "RFC 4320"
        );
    }
    let sent = bench.pass(LONG);
    assert_eq!(times(&sent), [3_500]);
    assert_eq!(sent[0].1.status(), Some(100));
    assert_eq!(bench.told(), ["abandoned", "server terminated"]);
}

#[test]
fn the_request_is_at_hand_until_it_is_answered() {
    let mut bench = Bench::new();
    let (key, seen) = begin(&mut bench, &request("OPTIONS", "z9hG4bK1"));
    assert_eq!(bench.layer.request(key), Some(&seen));
    let answer = ResponseBuilder::for_request(&seen, 404, "Not Found")
        .to_tag("b1")
        .build()
        .expect("well-formed");
    bench
        .layer
        .respond(bench.now, key, answer.clone())
        .expect("taken");
    assert_eq!(bench.layer.request(key), None);
    assert_eq!(
        bench.layer.respond(bench.now, key, answer),
        Err(RespondError::Answered)
    );
    assert_eq!(
        bench.layer.respond(bench.now, key, seen),
        Err(RespondError::Unusable)
    );
}

#[test]
fn a_response_that_cannot_be_sent_is_told() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bK1");
    let (key, seen) = begin(&mut bench, &invite);
    respond(&mut bench, key, &seen, 200);
    let (info, seen) = begin(&mut bench, &request("INFO", "z9hG4bK2"));
    respond(&mut bench, info, &seen, 200);
    bench
        .layer
        .handle_transport_error(bench.now, to(Transport::Udp, PEER));
    assert_eq!(
        bench.told(),
        [
            "response undelivered",
            "response undelivered",
            "server terminated"
        ]
    );
    assert_eq!(bench.layer.len(), 1, "the INVITE stays (RFC 6026 §8.7)");
}

#[test]
fn an_answer_from_ipv6_goes_back_to_ipv6() {
    let mut bench = Bench::new();
    let options = request("OPTIONS", "z9hG4bK1")
        .edit()
        .replace_first_value(
            HeaderName::Via,
            "SIP/2.0/UDP [2001:db8::7]:5070;branch=z9hG4bK1;rport",
        )
        .build()
        .expect("well-formed");
    bench.receive_from(from(Transport::Udp, "[2001:db8::7]:6000"), &options);
    let Some(Event::Request { key, message, .. }) = bench.events().pop() else {
        panic!("no request")
    };
    bench
        .layer
        .respond(bench.now, key, response(&message, 200, "b1"))
        .expect("taken");
    let (destination, answer) = bench.transmits().remove(0);
    assert_eq!(destination.remote, address("[2001:db8::7]:6000"));
    assert_eq!(
        answer.via().expect("a Via").received(),
        Some(address("[2001:db8::7]:6000").ip())
    );
}
