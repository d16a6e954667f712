//! Calls that go well.

use call::{Released, Stage};
use sans_io::network::Conditions;
use sip::transaction::Listener;
use sip::{FlowId, HeaderName, Message, Source, Transport};

use crate::ua::sdp;
use crate::world::{A, B, US, World, config, hop};

#[test]
fn a_call_is_set_up_talks_and_is_hung_up_by_the_caller() {
    let mut world = World::talking();
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(world.a.log.last().unwrap(), "200 BYE");
    world.assert_order(&[
        "200 INVITE -> a",
        "record Ended",
        "BYE -> b",
        "200 BYE -> a",
        "record Quality",
    ]);
    let cdr = world.ended();
    let cause = cdr.cause.as_ref().unwrap();
    assert_eq!(
        (cause.released, cause.sip_status, cause.q850),
        (Released::Caller, 200, 16)
    );
    assert_eq!((cdr.caller.as_str(), cdr.callee.as_str()), ("alice", "1000"));
    assert_eq!(cdr.codec.as_deref(), Some("PCMU/8000"));
    assert!(cdr.times.setup < cdr.times.ringing.unwrap() && cdr.times.ringing < cdr.times.answered);
    let last = world.records.last().unwrap();
    assert_eq!(last.stage, Stage::Quality);
    assert_eq!(last.quality.unwrap().callee.packets, 101);
}

#[test]
fn a_call_is_hung_up_by_the_callee() {
    let mut world = World::talking();
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    world.assert_order(&["record Ended", "BYE -> a", "200 BYE -> b"]);
    assert_eq!(world.ended().cause.as_ref().unwrap().released, Released::Callee);
}

#[test]
fn early_media_is_passed_on_and_its_tag_stays_in_the_answer() {
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    assert_eq!(world.a.log, ["183 INVITE"]);
    assert!(
        world.a.last_body.contains("c=IN IP4 198.51.100.11"),
        "{}",
        world.a.last_body
    );
    assert_eq!(
        world.node.updates, 1,
        "the node knows where the callee's early media comes from"
    );
    world.b.respond(world.now, 180, "b1", None);
    world.b.respond(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    world.b.respond(world.now, 200, "b1", Some(&body));
    world.b.incoming = None;
    world.run_ms(50);
    assert_eq!(
        world.a.log,
        ["183 INVITE", "180 INVITE", "183 INVITE", "200 INVITE"]
    );
    assert_eq!(world.node.updates, 1, "the answer said nothing new");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_2xx_without_a_body_takes_the_early_answer_of_its_fork() {
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    world.b.respond(world.now, 200, "b1", None);
    world.b.incoming = None;
    world.run_ms(50);
    assert_eq!(world.a.log, ["183 INVITE", "200 INVITE"]);
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn identity_passes_and_addresses_do_not() {
    let mut world = World::new();
    let builder = world
        .a
        .invite_builder("1000")
        .header("X-Account", "77")
        .header("X-Trunk", "10.1.0.1")
        .header(HeaderName::Subject, "hello");
    let body = world.a.body();
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    let invite = world.b.last_invite.clone().unwrap();
    assert_eq!(invite.request_uri(), Some("sip:1000@10.2.0.1:5060"));
    assert!(
        invite
            .header(HeaderName::From)
            .unwrap()
            .starts_with("\"Alice\" <sip:alice@198.51.100.1:5060>;tag=")
    );
    assert_eq!(invite.header("X-Account"), Some("77"));
    assert_eq!(invite.header(HeaderName::Subject), Some("hello"));
    assert_eq!(invite.header("X-Trunk"), None);
    assert_eq!(invite.max_forwards(), Ok(Some(69)));
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["486 INVITE"]);
}

#[test]
fn info_is_passed_on_within_the_dialog_and_its_response_back() {
    let mut world = World::talking();
    world.a.in_dialog(world.now, "INFO", None);
    world.run_ms(20);
    world.b.in_dialog(world.now, "INFO", None);
    world.run_ms(20);
    assert_eq!(world.b.log, ["INVITE", "ACK", "INFO", "200 INFO"]);
    assert_eq!(world.a.log, ["180 INVITE", "200 INVITE", "200 INFO", "INFO"]);
    world.b.manner = crate::ua::Manner::Reject(415);
    world.a.in_dialog(world.now, "INFO", None);
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "415 INFO");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn two_hundred_calls_at_once_end_without_a_trace() {
    let mut world = World::new();
    for _ in 0..200 {
        world.a.invite(world.now, true);
        world.run_ms(1);
        world.run_ms(5);
        world.b.answer(world.now);
    }
    world.run_ms(100);
    assert_eq!(world.b2bua.counters().calls_answered, 200);
    for _ in 0..200 {
        world.b.bye(world.now);
        world.run_ms(1);
    }
    world.finish();
    assert_eq!(world.node.creates, 200);
}

#[test]
fn what_is_the_parties_own_matter_passes_back_as_well() {
    let mut world = World::invited();
    world.b.response_field = Some(("X-Session", "77"));
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    assert_eq!(world.a.field.as_deref(), Some("77"));
    world.b.response_field = Some(("X-Session", "78"));
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.field.as_deref(), Some("78"));
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn the_callers_own_limit_ends_the_ringing_with_487() {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world.a.invite_builder("1000").header(HeaderName::Expires, 10);
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(10_100);
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE"]);
    world.finish();
}

#[test]
fn info_with_an_address_in_its_body_is_not_passed_on() {
    let mut world = World::talking();
    let body = world.a.body();
    world.a.in_dialog(world.now, "INFO", Some(&body));
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "415 INFO");
    assert_eq!(world.b.log, ["INVITE", "ACK"]);
    world.a.bye(world.now);
    world.finish();
}

/// RFC 3261 §18.2.2: what goes to a party that came on a connection goes over that connection.
#[test]
fn a_caller_on_a_connection_is_reached_over_it() {
    let mut connected = config(&[B]);
    connected
        .transactions
        .listeners
        .push(Listener::new(Transport::Tcp, US.parse().unwrap()));
    let mut world = World::with(connected, Conditions::PERFECT, 1);
    let source = Source {
        transport: Transport::Tcp,
        flow: FlowId(9),
        remote: "10.1.0.1:41000".parse().unwrap(),
        local: US.parse().unwrap(),
    };
    let text = format!(
        "INVITE sip:1000@{US} SIP/2.0\r\nVia: SIP/2.0/TCP {A};branch=z9hG4bKtcp\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@{A}>;tag=x\r\nTo: <sip:1000@{US}>\r\nCall-ID: tcp\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{A};transport=tcp>\r\nContent-Type: application/sdp\r\n\r\n{}",
        sdp("10.1.0.1", 1, "sendrecv")
    );
    let invite = Message::parse_datagram(text.into()).unwrap();
    world.b2bua.handle_message(world.now, source, invite);
    world.run_ms(20);
    let offered = world.b.last_invite.as_ref().unwrap();
    assert_eq!(
        offered.header(HeaderName::Contact),
        Some("<sip:198.51.100.1:5060>"),
        "UDP needs no word"
    );
    world.b.answer(world.now);
    world.run_ms(20);
    let ok = world
        .sent
        .iter()
        .rev()
        .find(|transmit| transmit.destination.flow == Some(FlowId(9)))
        .unwrap();
    let ok = Message::parse_datagram(ok.bytes.clone()).unwrap();
    assert_eq!(ok.status(), Some(200));
    assert_eq!(
        ok.header(HeaderName::Contact),
        Some("<sip:198.51.100.1:5060;transport=tcp>")
    );
    // Nobody acknowledges; in the end both are hung up on.
    world.finish();
    let byes = world
        .sent
        .iter()
        .filter(|transmit| transmit.bytes.starts_with(b"BYE sip:alice"));
    let byes: Vec<_> = byes.map(|transmit| transmit.destination).collect();
    assert_eq!(byes.len(), 1, "no retransmission on a connection");
    assert_eq!(
        (byes[0].transport, byes[0].flow),
        (Transport::Tcp, Some(FlowId(9)))
    );
}

#[test]
fn a_caller_is_told_the_socket_that_it_called() {
    let mut two = config(&[B]);
    let other = "198.51.100.2:5062";
    two.transactions
        .listeners
        .push(Listener::new(Transport::Udp, other.parse().unwrap()));
    let mut world = World::with(two, Conditions::PERFECT, 1);
    let body = world.a.body();
    let invite = world
        .a
        .invite_builder("1000")
        .via(format_args!("SIP/2.0/UDP {A};branch=z9hG4bKsocket"));
    let invite = invite.body("application/sdp", body.as_bytes()).build().unwrap();
    let (remote, local) = (A.parse().unwrap(), other.parse().unwrap());
    let source = Source {
        transport: Transport::Udp,
        flow: FlowId(2),
        remote,
        local,
    };
    world.b2bua.handle_message(world.now, source, invite);
    world.run_ms(20);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let ringing = world
        .sent
        .iter()
        .find(|transmit| transmit.bytes.starts_with(b"SIP/2.0 180"))
        .unwrap();
    let ringing = Message::parse_datagram(ringing.bytes.clone()).unwrap();
    assert_eq!(
        ringing.header(HeaderName::Contact),
        Some("<sip:198.51.100.2:5062>")
    );
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
}

/// RFC 3966 §5.1.1: what makes a number easy to read is no part of it, for the route and for whom we call (RFC 3261 §19.1.6).
#[test]
fn a_telephone_number_is_called_by_its_digits() {
    for (asked, called) in [
        ("tel:+49-30-(123).45", "sip:+493012345@10.2.0.1:5060;user=phone"),
        (
            "sip:+49-30.12345@198.51.100.1;user=phone",
            "sip:+493012345@10.2.0.1:5060;user=phone",
        ),
        ("sip:+4930-12345@198.51.100.1", "sip:+4930-12345@10.2.0.1:5060"),
    ] {
        let mut settings = config(&[B]);
        settings.routes = call::Routes::new([call::Route {
            prefix: "+4930".into(),
            weight: None,
            next_hops: vec![hop(B)],
        }]);
        let mut world = World::with(settings, Conditions::PERFECT, 1);
        let invite = world.a.invite_builder("1000").build().unwrap();
        let builder = sip::message::RequestBuilder::new("INVITE", asked)
            .copy_from(&invite, HeaderName::MaxForwards)
            .copy_from(&invite, HeaderName::From)
            .copy_from(&invite, HeaderName::CallId)
            .copy_from(&invite, HeaderName::CSeq)
            .copy_from(&invite, HeaderName::Contact)
            .header(HeaderName::To, format_args!("<{asked}>"));
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        let invite = world.b.last_invite.clone().expect(asked);
        assert_eq!(invite.request_uri(), Some(called), "{asked}");
        world.b.respond(world.now, 486, "b1", None);
        world.finish();
    }
}

/// RFC 5031: whoever asks for the service is put through to the first of the emergency numbers, by its route and with its places.
#[test]
fn the_emergency_service_is_called_by_a_number() {
    for (numbers, asked, called) in [
        (&["110", "112"][..], "urn:service:sos", Some("110")),
        (&["112"], "URN:service:sos.fire", Some("112")),
        (&["11#"], "urn:service:sos", Some("11%23")),
        (&[], "urn:service:sos", None),
        (&["112"], "urn:service:counseling", None),
    ] {
        let mut settings = config(&[B]);
        settings.emergency_numbers = sip::EmergencyNumbers::new(numbers.iter().map(ToString::to_string));
        settings.calls_max = 1;
        settings.emergency_calls_reserved = usize::from(called.is_some());
        settings.routes = call::Routes::new([call::Route {
            prefix: "11".into(),
            weight: None,
            next_hops: vec![hop(B)],
        }]);
        let mut world = World::with(settings, Conditions::PERFECT, 1);
        let invite = world.a.invite_builder("1000").build().unwrap();
        let builder = sip::message::RequestBuilder::new("INVITE", asked)
            .copy_from(&invite, HeaderName::MaxForwards)
            .copy_from(&invite, HeaderName::From)
            .copy_from(&invite, HeaderName::CallId)
            .copy_from(&invite, HeaderName::CSeq)
            .copy_from(&invite, HeaderName::Contact)
            .header(HeaderName::To, format_args!("<{asked}>"));
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        let Some(number) = called else {
            world.finish();
            assert_eq!(world.a.log, ["416 INVITE"], "{asked}");
            continue;
        };
        let invite = world.b.last_invite.clone().expect(asked);
        assert_eq!(
            invite.request_uri(),
            Some(&*format!("sip:{number}@10.2.0.1:5060"))
        );
        assert_eq!(invite.to().unwrap().uri, format!("sip:{number}@10.2.0.1:5060"));
        world.b.respond(world.now, 486, "b1", None);
        world.finish();
        assert_eq!(world.ended().request_uri, asked);
    }
}
