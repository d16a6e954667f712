//! Session timers (RFC 4028), on each leg by itself.

use std::time::Duration;

use sans_io::network::Conditions;
use sip::HeaderName;

use crate::random::number;
use crate::ua::Manner;
use crate::world::{B, World, config};

/// A call whose caller says `fields` in its INVITE and whose callee says `Session-Expires: told` and `Allow`.
fn talking(fields: &[(HeaderName, &str)], told: Option<&'static str>, allow: Option<&'static str>) -> World {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world.a.invite_builder("1000");
    let builder = fields
        .iter()
        .fold(builder, |builder, &(name, value)| builder.header(name, value));
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    world.b.session = told;
    world.b.allows = allow;
    world.b.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["200 INVITE"]);
    world
}

fn sent(world: &World, what: &str) -> usize {
    world.trace.iter().filter(|line| *line == what).count()
}

#[test]
fn a_call_without_session_timers_has_none() {
    let mut world = talking(&[], None, None);
    assert!(
        world
            .b
            .last_invite
            .as_ref()
            .unwrap()
            .has_token(HeaderName::Supported, "timer")
    );
    assert_eq!(world.a.session_told, None);
    world.run_ms(4_000_000);
    assert!(world.a.is_talking() && world.b.is_talking());
    assert_eq!(
        world.a.log.len() + world.b.log.len(),
        3,
        "nothing was said in an hour"
    );
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_interval_that_is_too_short_is_422_with_the_least_one() {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("1000")
        .header(HeaderName::Supported, "timer")
        .header(HeaderName::SessionExpires, 60);
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.finish();
    assert_eq!(world.a.log, ["422 INVITE"]);
    assert_eq!(world.a.min_se.as_deref(), Some("90"));
}

#[test]
fn a_caller_that_refreshes_keeps_its_call_and_one_that_does_not_loses_it() {
    let fields = [
        (HeaderName::Supported, "timer"),
        (HeaderName::SessionExpires, "90;refresher=uac"),
    ];
    let mut world = talking(&fields, None, None);
    assert_eq!(world.a.session_told.as_deref(), Some("90;refresher=uac"));
    for _ in 0..5 {
        world.run_ms(45_000);
        world.a.refresh(world.now, "90;refresher=uac");
    }
    world.run_ms(100);
    assert_eq!(world.a.log[1..], ["200 UPDATE"; 5]);
    assert_eq!(
        world.b.log,
        ["INVITE", "ACK"],
        "a party without timers hears nothing of it"
    );
    // No more of them: a third of the interval before its end, at 60 s, both get a BYE.
    world.run_ms(59_000);
    assert!(world.a.is_talking());
    world.run_ms(2_000);
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    assert_eq!(world.b.log.last().unwrap(), "BYE");
    world.finish();
    let cause = world.ended().cause.clone().unwrap();
    assert_eq!((cause.q850, &*cause.text), (102, "Session timer expired"));
    assert_eq!(world.b2bua.counters().sessions_expired, 1);
}

#[test]
fn a_caller_that_wants_to_be_refreshed_is_by_reinvite_with_the_same_description() {
    let fields = [
        (HeaderName::Supported, "timer"),
        (HeaderName::SessionExpires, "90;refresher=uas"),
    ];
    let mut world = talking(&fields, None, None);
    let described = world.a.bodies.last().unwrap().1.clone();
    world.a.session = Some("90;refresher=uac");
    world.run_ms(300_000);
    let refreshes = world.a.log[1..].iter().filter(|line| *line == "INVITE").count();
    assert_eq!(refreshes, 6, "{:?}", world.a.log);
    assert_eq!(
        world.a.last_body, described,
        "the same description, version and all"
    );
    assert_eq!(world.b.log, ["INVITE", "ACK"]);
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn a_callee_that_refreshes_and_a_caller_that_has_no_timers() {
    let mut world = talking(&[], Some("90;refresher=uas"), None);
    world.run_ms(45_000);
    world.b.refresh(world.now, "90;refresher=uac");
    world.run_ms(100);
    assert_eq!(world.b.log[2..], ["200 UPDATE"]);
    assert_eq!(world.a.log, ["200 INVITE"]);
    world.run_ms(61_000);
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    world.finish();
    assert_eq!(world.ended().cause.as_ref().unwrap().q850, 102);
}

#[test]
fn a_callee_that_is_refreshed_by_update_and_vanishes() {
    let mut world = talking(&[], Some("90;refresher=uac"), Some("INVITE, ACK, BYE, UPDATE"));
    world.run_ms(200_000);
    assert_eq!(world.b.log[2..], ["UPDATE"; 4]);
    world.deaf.push(B.parse().unwrap());
    world.run_ms(90_000);
    assert_eq!(world.a.log.last().unwrap(), "BYE", "the caller is not left alone");
    world.deaf.clear();
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn a_callee_that_wants_a_longer_interval_gets_the_invite_again() {
    let mut world = World::invited();
    world.b.response_field = Some(("Min-SE", "3600"));
    world.b.respond(world.now, 422, "b1", None);
    world.b.response_field = None;
    world.run_ms(50);
    let invite = world.b.last_invite.clone().unwrap();
    assert_eq!(invite.number(HeaderName::SessionExpires), Ok(Some(3_600)));
    assert_eq!(
        invite.cseq().unwrap().seq,
        2,
        "the same dialog to be (RFC 4028 §7.4)"
    );
    assert_eq!(world.b.log, ["INVITE", "INVITE"]);
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log, ["200 INVITE"]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_refresh_that_meets_another_request_waits_and_comes_again() {
    let mut world = talking(&[], Some("90;refresher=uac"), Some("UPDATE"));
    world.b.manner = Manner::Reject(491);
    world.run_ms(46_000);
    assert_eq!(world.b.log[2..], ["UPDATE"]);
    world.b.manner = Manner::Accept;
    world.run_ms(3_500);
    assert_eq!(
        world.b.log[2..],
        ["UPDATE", "UPDATE"],
        "after 2.1 to 4 s: the Call-ID is ours"
    );
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_reinvite_that_is_passed_on_refreshes_both_sides() {
    let fields = [
        (HeaderName::Supported, "timer"),
        (HeaderName::SessionExpires, "90;refresher=uac"),
    ];
    let mut world = talking(&fields, Some("90;refresher=uas"), None);
    for _ in 0..4 {
        world.run_ms(40_000);
        world.a.extra_field = Some(("Session-Expires", "90;refresher=uac"));
        world.a.reinvite(world.now, "sendrecv", true);
    }
    world.run_ms(100);
    assert!(world.a.is_talking() && world.b.is_talking());
    assert_eq!(sent(&world, "INVITE -> b"), 5);
    assert_eq!(world.a.session_told.as_deref(), Some("90;refresher=uac"));
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn sessions_live_over_a_bad_network() {
    let given = number("SEED");
    let seeds = given.map_or(0..number("STORIES").unwrap_or(100), |seed| seed..seed + 1);
    for seed in seeds {
        let told = std::panic::catch_unwind(|| {
            let conditions = Conditions {
                loss_permille: 100,
                duplication_permille: 100,
                delay_min: Duration::from_millis(1),
                delay_max: Duration::from_millis(80),
            };
            let mut world = World::with(config(&[B]), conditions, seed);
            let body = world.a.body();
            let builder = world
                .a
                .invite_builder("1000")
                .header(HeaderName::Supported, "timer")
                .header(HeaderName::SessionExpires, "600;refresher=uas");
            world
                .a
                .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
            world.a.session = Some("600;refresher=uac");
            world.b.session = Some("600;refresher=uac");
            world.b.allows = Some("UPDATE");
            for _ in 0..400 {
                if world.b.incoming.is_some() {
                    break;
                }
                world.run_ms(100);
            }
            world.b.answer(world.now);
            world.run_ms(3_600_000);
            assert!(world.a.is_talking() && world.b.is_talking(), "{:?}", world.trace);
            world.b.bye(world.now);
            world.finish();
        });
        if let Err(fault) = told {
            eprintln!("the story of SEED={seed} went wrong");
            std::panic::resume_unwind(fault);
        }
    }
}
