//! Requests that are refused, each with its status and what goes with it.

use sans_io::network::Conditions;
use sip::HeaderName;
use sip::message::RequestBuilder;

use crate::world::{A, B, US, World, config};

fn outside(method: &str, call_id: &str) -> RequestBuilder {
    RequestBuilder::new(method, &format!("sip:1000@{US}"))
        .header(HeaderName::MaxForwards, 70)
        .header(HeaderName::From, format_args!("<sip:alice@{A}>;tag=x"))
        .header(HeaderName::To, format_args!("<sip:1000@{US}>"))
        .header(HeaderName::CallId, call_id)
        .header(HeaderName::CSeq, format_args!("1 {method}"))
        .header(HeaderName::Contact, format_args!("<sip:ua@{A}>"))
}

#[test]
fn methods_outside_of_dialogs_get_their_status() {
    for (method, status) in [
        ("OPTIONS", 200),
        ("REGISTER", 405),
        ("SUBSCRIBE", 405),
        ("MESSAGE", 405),
        ("REFER", 403),
        ("BYE", 481),
        ("INFO", 481),
        ("UPDATE", 481),
        ("PRACK", 481),
        ("DANCE", 501),
    ] {
        let mut world = World::new();
        world.a.request(world.now, outside(method, "x"));
        world.finish();
        assert_eq!(world.a.log, [format!("{status} {method}")]);
        let allow = world.a.allow.clone();
        let says_allow = matches!(status, 200 | 405 | 501);
        assert_eq!(
            allow.is_some_and(|allow| allow.contains("INVITE")),
            says_allow,
            "{method}"
        );
    }
}

#[test]
fn requests_in_unknown_dialogs_are_481() {
    for method in ["INVITE", "BYE", "INFO", "UPDATE", "OPTIONS"] {
        let mut world = World::new();
        let builder = RequestBuilder::new(method, &format!("sip:{US}"))
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, format_args!("<sip:alice@{A}>;tag=x"))
            .header(HeaderName::To, format_args!("<sip:1000@{US}>;tag=unknown"))
            .header(HeaderName::CallId, "x")
            .header(HeaderName::CSeq, format_args!("1 {method}"))
            .header(HeaderName::Contact, format_args!("<sip:ua@{A}>"));
        world.a.request(world.now, builder);
        world.finish();
        assert_eq!(world.a.log, [format!("481 {method}")]);
    }
}

fn refused(change: impl FnOnce(RequestBuilder) -> RequestBuilder, user: &str) -> (Vec<String>, World) {
    let mut world = World::new();
    let builder = world.a.invite_builder(user);
    world.a.send_invite(world.now, change(builder));
    world.finish();
    (world.a.log.clone(), world)
}

#[test]
fn invites_that_cannot_be_served_get_their_status() {
    let body = crate::ua::sdp("10.1.0.1", 1, "sendrecv");
    let (log, world) = refused(|builder| builder.header(HeaderName::Require, "100rel, x"), "1000");
    assert_eq!(
        (log, world.a.unsupported.as_deref()),
        (vec!["420 INVITE".into()], Some("x"))
    );
    assert_eq!(
        refused(|builder| builder.body("text/plain", b"hi"), "1000").0,
        ["415 INVITE"]
    );
    assert_eq!(
        refused(|builder| builder.body("application/sdp", b"hi"), "1000").0,
        ["488 INVITE"]
    );
    assert_eq!(
        refused(|builder| builder.body("application/sdp", b"o=\r\n"), "1000").0,
        ["400 INVITE"]
    );
    assert_eq!(
        refused(|builder| builder.body("application/sdp", body.as_bytes()), "2000").0,
        ["404 INVITE"]
    );
    let secure = body.replace("RTP/AVP", "RTP/SAVP");
    assert_eq!(
        refused(
            |builder| builder.body("application/sdp", secure.as_bytes()),
            "1000"
        )
        .0,
        ["488 INVITE"]
    );
    let coded = |builder: RequestBuilder| {
        builder
            .header(HeaderName::ContentEncoding, "gzip")
            .body("application/sdp", body.as_bytes())
    };
    assert_eq!(refused(coded, "1000").0, ["415 INVITE"]);
}

#[test]
fn hops_that_are_used_up_are_483_and_no_call() {
    let mut world = World::new();
    let text = format!(
        "INVITE sip:1000@{US} SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bKmf\r\nMax-Forwards: 0\r\n\
         From: <sip:alice@{A}>;tag=x\r\nTo: <sip:1000@{US}>\r\nCall-ID: mf\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:ua@{A}>\r\nContent-Length: 0\r\n\r\n"
    );
    world.inject(A, text.clone());
    world.run_ms(100);
    assert_eq!(world.trace, ["record Ended", "483 INVITE -> a"]);
    let sips = text
        .replace("INVITE sip:", "INVITE sips:")
        .replace("Max-Forwards: 0", "Max-Forwards: 70");
    world.inject(
        A,
        sips.replace("z9hG4bKmf", "z9hG4bKsips")
            .replace("Call-ID: mf", "Call-ID: s"),
    );
    world.run_ms(100);
    assert!(
        world.trace.contains(&"416 INVITE -> a".into()),
        "{:?}",
        world.trace
    );
    let no_contact = text
        .replace("Max-Forwards: 0", "Max-Forwards: 70")
        .replace(&format!("Contact: <sip:ua@{A}>\r\n"), "");
    world.inject(
        A,
        no_contact
            .replace("z9hG4bKmf", "z9hG4bKnc")
            .replace("Call-ID: mf", "Call-ID: n"),
    );
    world.run_ms(100);
    assert!(
        world.trace.contains(&"400 INVITE -> a".into()),
        "{:?}",
        world.trace
    );
    world.finish();
    assert_eq!(world.b2bua.counters().calls_attempted, 0);
}

#[test]
fn an_invite_of_ours_that_comes_back_is_a_loop() {
    let mut world = World::with(config(&[US]), Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.finish();
    assert_eq!(world.a.log, ["482 INVITE"]);
    assert_eq!(world.b2bua.counters().calls_attempted, 1);
}

#[test]
fn a_request_over_two_paths_is_merged() {
    let mut world = World::invited();
    let (_, invite) = world.a.calling.clone().unwrap();
    let text = String::from_utf8(invite.bytes().to_vec()).unwrap();
    let twin = text.replacen(
        "\r\n",
        &format!("\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bKother\r\n"),
        1,
    );
    world.inject(A, twin);
    world.run_ms(50);
    assert!(
        world.trace.contains(&"482 INVITE -> a".into()),
        "{:?}",
        world.trace
    );
    assert_eq!(world.b2bua.counters().calls_attempted, 1);
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
}

#[test]
fn calls_beyond_the_limit_are_503_with_retry_after() {
    let limited = call::Config {
        calls_max: 1,
        ..config(&[B])
    };
    let mut world = World::with(limited, Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.a.invite(world.now, true);
    world.run_ms(20);
    assert_eq!(
        (world.a.log.clone(), world.a.retry_after.as_deref()),
        (vec!["503 INVITE".into()], Some("5"))
    );
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
    assert_eq!(world.b2bua.counters().calls_refused_at_limit, 1);
}

#[test]
fn the_last_places_are_for_emergency_calls() {
    let limited = call::Config {
        calls_max: 2,
        emergency_calls_reserved: 1,
        ..config(&[B])
    };
    let mut world = World::with(limited, Conditions::PERFECT, 1);
    let call = |world: &mut World, user: &str| {
        let builder = world.a.invite_builder(user);
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        let counters = *world.b2bua.counters();
        (counters.calls_attempted, counters.calls_refused_at_limit)
    };
    assert_eq!(call(&mut world, "1000"), (1, 0));
    assert_eq!(call(&mut world, "1000"), (1, 1), "what is left is reserved");
    assert_eq!(call(&mut world, "112"), (2, 1));
    assert_eq!(call(&mut world, "112"), (2, 2), "nothing is left");
    assert_eq!(world.a.log, ["503 INVITE", "503 INVITE"]);
    world.b2bua.drain(true);
    assert_eq!(call(&mut world, "112"), (2, 3), "a process that stops takes none");
}

/// RFC 3261 §8.2.7: they get the same answer whenever they come again, and nothing is kept.
#[test]
fn what_begins_nothing_outside_of_dialogs_leaves_no_transaction() {
    let mut world = World::new();
    let source = sip::Source {
        transport: sip::Transport::Udp,
        flow: sip::FlowId(0),
        remote: A.parse().unwrap(),
        local: US.parse().unwrap(),
    };
    let methods = [
        ("OPTIONS", 200),
        ("MESSAGE", 405),
        ("SUBSCRIBE", 405),
        ("REGISTER", 405),
        ("BYE", 481),
        ("REFER", 403),
        ("JUMP", 501),
    ];
    for (method, status) in methods {
        let text = format!(
            "{method} sip:1000@{US} SIP/2.0\r\nVia: SIP/2.0/UDP {A};rport;branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@h>;tag=1\r\nTo: <sip:1000@h>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let answers = [(); 3].map(|()| {
            let request = sip::Message::parse_datagram(text.clone().into()).unwrap();
            world.b2bua.handle_message(world.now, source, request);
            let Some(call::Output::Send(transmit)) = world.b2bua.poll_output() else {
                panic!("no answer to {method}");
            };
            assert!(world.b2bua.poll_output().is_none());
            assert_eq!(transmit.destination.remote, source.remote);
            transmit.bytes
        });
        let answer = sip::Message::parse_datagram(answers[0].clone()).unwrap();
        assert_eq!(answer.status(), Some(status), "{method}");
        assert!(answer.to().unwrap().tag().is_some());
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method}");
    }
    assert_eq!(world.b2bua.transactions().len(), 0);
    assert_eq!(
        world.b2bua.counters().requests_without_state,
        3 * methods.len() as u64
    );
}

/// Attack 11.
#[test]
fn a_user_has_so_many_calls_at_once_and_no_more() {
    let limited = call::Config {
        has_registrar: true,
        calls_per_account_max: 2,
        ..config(&[B])
    };
    let mut world = World::with(limited, Conditions::PERFECT, 1);
    world.contacts = vec![crate::world::hop(B)];
    let call = |world: &mut World, account: Option<&str>, user: &str| {
        world.account = account.map(str::to_owned);
        let (builder, body) = (world.a.invite_builder(user), world.a.body());
        let builder = builder.body("application/sdp", body.as_bytes());
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        world.b2bua.counters().calls_attempted
    };
    let alice = Some("sip:alice@example.com");
    assert_eq!(call(&mut world, alice, "1000"), 1);
    assert_eq!(call(&mut world, alice, "1000"), 2);
    assert_eq!(call(&mut world, alice, "1000"), 2);
    assert_eq!(world.a.log.last().unwrap(), "403 INVITE");
    let cause = world.ended().cause.clone().unwrap();
    assert_eq!((cause.sip_status, cause.q850), (403, 21));
    assert_eq!(call(&mut world, alice, "112"), 3, "an emergency call");
    assert_eq!(call(&mut world, Some("sip:bob@example.com"), "1000"), 4);
    assert_eq!(call(&mut world, None, "1000"), 5, "nobody in particular");
    // What it could pick up would be its call as well.
    world.account = alice.map(str::to_owned);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let invite = world.b.last_invite.clone().unwrap();
    let tag = invite.from().unwrap().tag().unwrap().to_owned();
    let ids = format!("{};to-tag={tag};from-tag=b1", invite.call_id().unwrap());
    world.b2.replace(world.now, &ids);
    world.run_ms(20);
    assert_eq!(world.b2.log, ["403 INVITE"]);
    world.account = Some("sip:carol@example.com".to_owned());
    world.b3.replace(world.now, &ids);
    world.run_ms(200);
    assert_eq!(world.b3.log, ["200 INVITE"]);
    assert_eq!(world.b2bua.counters().calls_refused_at_user_limit, 2);
    // Those of before end, and there is room again.
    world.b2bua.end_all(world.now);
    world.run_ms(40_000);
    world.b2bua.drain(false);
    assert_eq!(call(&mut world, alice, "1000"), 6);
}

#[test]
fn an_invite_that_begins_no_call_leaves_a_record_before_its_answer() {
    let status_of = |change: fn(RequestBuilder) -> RequestBuilder, user: &str| {
        let (_, world) = refused(change, user);
        let cdr = world.ended();
        assert_eq!(cdr.source, A.parse().unwrap());
        assert!(cdr.caller_call_id.ends_with("@10.1.0.1") && cdr.callee_call_id.is_none());
        assert_eq!(cdr.request_uri, format!("sip:{user}@{US}"));
        let status = cdr.cause.as_ref().unwrap().sip_status;
        world.assert_order(&["record Ended", &format!("{status} INVITE -> a")]);
        (status, cdr.cause.as_ref().unwrap().q850)
    };
    assert_eq!(status_of(|builder| builder, "9"), (404, 1));
    assert_eq!(
        status_of(|builder| builder.header(HeaderName::Require, "x"), "1000"),
        (420, 127)
    );
}

#[test]
fn a_flood_of_refused_invites_leaves_few_records() {
    let mut world = World::new();
    for _ in 0..150 {
        let builder = world.a.invite_builder("9");
        world.a.send_invite(world.now, builder);
    }
    world.run_ms(500);
    let counters = *world.b2bua.counters();
    assert_eq!(
        (counters.refusals_recorded, counters.refusals_unrecorded),
        (100, 50)
    );
    world.b2bua.drain(true);
    world.run_ms(1_000);
    let builder = world.a.invite_builder("1000");
    world.a.send_invite(world.now, builder);
    world.finish();
    assert_eq!(
        world.b2bua.counters().refusals_recorded,
        100,
        "none while draining"
    );
}

#[test]
fn a_route_without_a_next_hop_for_now_is_503_with_retry_after() {
    let mut world = World::with(config(&[]), Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.finish();
    assert_eq!(
        (world.a.log.clone(), world.a.retry_after.as_deref()),
        (vec!["503 INVITE".into()], Some("5"))
    );
}

#[test]
fn options_say_503_while_new_calls_are_refused() {
    let mut world = World::talking();
    world.b2bua.drain(true);
    world.a.request(world.now, outside("OPTIONS", "x"));
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "503 OPTIONS");
    assert_eq!(world.a.retry_after.as_deref(), Some("5"));
    world.a.in_dialog(world.now, "OPTIONS", None);
    world.run_ms(20);
    assert_eq!(
        world.a.log.last().unwrap(),
        "200 OPTIONS",
        "of a call that exists"
    );
    world.b2bua.drain(false);
    world.a.request(world.now, outside("OPTIONS", "y"));
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "200 OPTIONS");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_bye_that_requires_what_we_do_not_have_ends_the_call() {
    let mut world = World::talking();
    let id = world.a.talks[0].dialog.id().clone();
    let bye = RequestBuilder::new("BYE", &format!("sip:{US}"))
        .header(HeaderName::MaxForwards, 70)
        .header(
            HeaderName::From,
            format_args!("<sip:alice@{A}>;tag={}", id.local_tag),
        )
        .header(
            HeaderName::To,
            format_args!("<sip:1000@{US}>;tag={}", id.remote_tag.unwrap()),
        )
        .header(HeaderName::CallId, &id.call_id)
        .header(HeaderName::CSeq, "9 BYE")
        .header(HeaderName::Require, "x");
    world.a.request(world.now, bye);
    world.a.talks[0].alive = false;
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "200 BYE");
    assert_eq!(world.b.log.last().unwrap(), "BYE");
}

#[test]
fn methods_within_a_dialog_that_we_do_not_pass_get_their_status() {
    let mut world = World::talking();
    for (method, status) in [
        ("REFER", 400),
        ("NOTIFY", 481),
        ("SUBSCRIBE", 405),
        ("DANCE", 501),
        ("OPTIONS", 200),
    ] {
        world.a.in_dialog(world.now, method, None);
        world.run_ms(20);
        assert_eq!(world.a.log.last().unwrap(), &format!("{status} {method}"));
    }
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_bye_with_a_wrong_tag_does_nothing() {
    let mut world = World::talking();
    let id = world.a.talks[0].dialog.id().clone();
    let forged = RequestBuilder::new("BYE", &format!("sip:{US}"))
        .header(HeaderName::MaxForwards, 70)
        .header(HeaderName::From, format_args!("<sip:alice@{A}>;tag=forged"))
        .header(
            HeaderName::To,
            format_args!("<sip:1000@{US}>;tag={}", id.remote_tag.unwrap()),
        )
        .header(HeaderName::CallId, &id.call_id)
        .header(HeaderName::CSeq, "9 BYE");
    world.a.request(world.now, forged);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "481 BYE");
    assert!(world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}
