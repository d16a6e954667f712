//! UPDATE in early dialogs (RFC 3311).

use std::time::Duration;

use media_types::Direction;
use sip::HeaderName;

use crate::ua::Manner;
use crate::world::World;

/// Both know 100rel, and the callee's answer in a 183 is acknowledged on both sides.
fn early() -> World {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("1000")
        .header(HeaderName::Supported, "100rel")
        .body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    let body = world.b.body();
    world.b.respond_reliably(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    assert_eq!(world.a.log, ["183 INVITE", "200 PRACK"]);
    assert_eq!(world.b.log, ["INVITE", "PRACK"]);
    world
}

fn directions(world: &World) -> [Direction; 2] {
    let legs = world.node.calls.values().next().unwrap();
    [legs[0].lines[0].direction, legs[1].lines[0].direction]
}

fn answer_and_hang_up(world: &mut World) {
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE", "the CSeq goes on");
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn an_offer_of_the_caller_reaches_the_callee() {
    let mut world = early();
    world.a.direction = "sendonly";
    world.b.direction = "recvonly";
    let body = world.a.body();
    world.a.update_early(world.now, Some(&body));
    world.run_ms(50);
    assert_eq!(world.b.log[2..], ["UPDATE"]);
    assert!(world.b.last_body.contains("a=sendonly"), "{}", world.b.last_body);
    assert_eq!(world.a.log[2..], ["200 UPDATE"]);
    assert_eq!(directions(&world), [Direction::SendOnly, Direction::RecvOnly]);
    answer_and_hang_up(&mut world);
}

#[test]
fn an_offer_of_the_callee_reaches_the_caller_and_outlives_the_answer() {
    let mut world = early();
    world.a.direction = "recvonly";
    world.b.direction = "sendonly";
    let body = world.b.body();
    world.b.update_early(world.now, Some(&body));
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["UPDATE"]);
    assert_eq!(world.b.log[2..], ["200 UPDATE"]);
    world.b.answer(world.now);
    world.run_ms(50);
    let both = [Direction::RecvOnly, Direction::SendOnly];
    assert_eq!(directions(&world), both, "the 200 changes nothing of it");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_update_without_an_offer_is_answered_by_us() {
    let mut world = early();
    world.a.update_early(world.now, None);
    world.b.update_early(world.now, None);
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["200 UPDATE"]);
    assert_eq!(world.b.log[2..], ["200 UPDATE"]);
    answer_and_hang_up(&mut world);
}

#[test]
fn an_offer_before_the_first_is_answered_gets_500_with_retry_after() {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("1000")
        .header(HeaderName::Supported, "100rel")
        .body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    world.b.respond_reliably(world.now, 180, "b1", None);
    world.run_ms(20);
    let body = world.a.body();
    world.a.update_early(world.now, Some(&body));
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "500 UPDATE");
    let seconds: u32 = world.a.retry_after.clone().unwrap().parse().unwrap();
    assert!(seconds <= 10);
    answer_and_hang_up(&mut world);
}

#[test]
fn updates_that_cross_get_491() {
    let mut world = early();
    world.b.manner = Manner::Ignore;
    let (a, b) = (world.a.body(), world.b.body());
    world.a.update_early(world.now, Some(&a));
    world.run_ms(20);
    world.b.update_early(world.now, Some(&b));
    world.a.update_early(world.now, Some(&a));
    world.run_ms(20);
    assert_eq!(world.b.log[2..], ["UPDATE", "491 UPDATE"]);
    assert_eq!(world.a.log[2..], ["500 UPDATE"]);
    world.a.cancel(world.now);
    world.finish();
    assert!(
        world.a.log.contains(&"487 UPDATE".to_owned()),
        "{:?}",
        world.a.log
    );
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 487);
}

#[test]
fn a_refused_update_leaves_what_was_agreed() {
    let mut world = early();
    let before = world.node.calls.clone();
    world.b.manner = Manner::Reject(488);
    world.a.direction = "inactive";
    let body = world.a.body();
    world.a.update_early(world.now, Some(&body));
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["488 UPDATE"]);
    assert_eq!(world.node.calls, before);
    world.b.manner = Manner::Accept;
    answer_and_hang_up(&mut world);
}

#[test]
fn the_callee_answers_the_invite_while_an_update_is_under_way() {
    let mut world = early();
    world.node.delay = Duration::from_millis(100);
    world.a.direction = "sendonly";
    world.b.direction = "recvonly";
    let body = world.a.body();
    world.a.update_early(world.now, Some(&body));
    world.b.answer(world.now);
    world.run_ms(1_000);
    assert_eq!(world.a.log[2..], ["200 INVITE", "200 UPDATE"]);
    assert_eq!(directions(&world), [Direction::SendOnly, Direction::RecvOnly]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn another_fork_answers_than_the_one_with_the_update() {
    let mut world = early();
    world.b.manner = Manner::Ignore;
    let body = world.a.body();
    world.a.update_early(world.now, Some(&body));
    world.run_ms(20);
    world.b.answer_as(world.now, "b2");
    world.run_ms(100);
    assert_eq!(world.a.log[2..], ["487 UPDATE", "200 INVITE"]);
    world.b.manner = Manner::Accept;
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.b.log.last().unwrap(), "BYE");
}

#[test]
fn a_callee_that_refuses_the_call_ends_its_update() {
    let mut world = early();
    world.a.manner = Manner::Ignore;
    let body = world.b.body();
    world.b.update_early(world.now, Some(&body));
    world.run_ms(20);
    world.b.respond(world.now, 486, "b1", None);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "486 INVITE");
    world.finish();
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 486);
}

#[test]
fn a_party_that_lost_the_early_dialog_ends_the_call_unanswered() {
    let mut world = early();
    world.b.manner = Manner::Reject(481);
    let body = world.a.body();
    world.a.update_early(world.now, Some(&body));
    world.run_ms(100);
    assert_eq!(world.a.log[2..], ["481 UPDATE", "500 INVITE"]);
    world.finish();
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 500);
}
