//! CANCEL and BYE in the races that RFC 3261 §9 and §15 name.

use call::Released;
use std::time::Duration;

use crate::ua::Manner;
use crate::world::{B, World, config};
use sans_io::network::Conditions;

fn status(world: &World) -> u16 {
    world.ended().cause.as_ref().unwrap().sip_status
}

#[test]
fn cancel_while_ports_are_reserved_ends_before_the_callee_knows() {
    let mut world = World::new();
    world.node.delay = Duration::from_millis(500);
    world.a.invite(world.now, true);
    world.run_ms(300);
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.a.log, ["487 INVITE"]);
    assert!(world.b.log.is_empty());
    assert_eq!((world.node.creates, world.node.deletes), (1, 1));
    assert_eq!(status(&world), 487);
}

#[test]
fn cancel_before_any_response_of_the_callee_waits_for_one() {
    let mut world = World::new();
    world.b.manner = Manner::Ignore;
    world.deaf.push(B.parse().unwrap());
    world.a.invite(world.now, true);
    world.run_ms(300);
    world.a.cancel(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["487 INVITE"]);
    assert!(
        !world.trace.iter().any(|line| line == "CANCEL -> b"),
        "RFC 3261 §9.1: not before a provisional response"
    );
    world.deaf.clear();
    world.finish();
    assert_eq!(world.b.log, ["INVITE", "CANCEL SIP;cause=200;text=\"elsewhere\""]);
    assert_eq!(status(&world), 487);
}

#[test]
fn cancel_after_ringing_reaches_the_callee_with_its_reason() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "CANCEL SIP;cause=200;text=\"elsewhere\""]);
    world.assert_order(&["200 CANCEL -> a", "record Ended", "487 INVITE -> a"]);
    assert_eq!(world.ended().cause.as_ref().unwrap().released, Released::Caller);
}

#[test]
fn cancel_that_crosses_the_2xx_of_the_callee_is_followed_by_ack_and_bye() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    // Both are in flight at the same time; the CANCEL lands first.
    world.a.cancel(world.now);
    world.settle();
    world.b.answer(world.now);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(world.b2bua.counters().forks_dismissed, 1);
    assert_eq!(status(&world), 487);
}

#[test]
fn cancel_while_the_answer_is_told_to_the_node_hangs_up_on_the_callee() {
    let mut world = World::invited();
    world.node.delay = Duration::from_millis(500);
    world.b.answer(world.now);
    world.run_ms(100);
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.a.log, ["487 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(status(&world), 487);
}

#[test]
fn cancel_after_the_final_response_has_no_effect() {
    let mut world = World::invited();
    world.b.answer(world.now);
    world.run_ms(5);
    // The 200 has left us and is on its way.
    assert!(
        world.trace.iter().any(|line| line == "200 INVITE -> a"),
        "{:?}",
        world.trace
    );
    let mut world = World::invited();
    world.b.answer(world.now);
    world.run_ms(3);
    world.a.cancel(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
    assert_eq!(status(&world), 200);
}

#[test]
fn a_callee_that_never_answers_the_cancel_is_given_up() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.deaf.push(B.parse().unwrap());
    world.b.incoming = None;
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE"]);
}

#[test]
fn bye_in_the_early_dialog_ends_the_invite() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.a.bye_early(world.now);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE", "200 BYE"]);
    assert_eq!(world.b.log.len(), 2, "INVITE and CANCEL: {:?}", world.b.log);
    assert_eq!(status(&world), 487);
}

#[test]
fn bye_of_both_sides_crossing_is_answered_on_both() {
    let mut world = World::talking();
    world.a.bye(world.now);
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.a.log[2..], ["200 BYE"]);
    assert!(world.b.log.contains(&"200 BYE".into()), "{:?}", world.b.log);
}

#[test]
fn bye_of_the_caller_before_its_ack_ends_the_call() {
    let mut world = World::invited();
    world.a.acknowledges = false;
    world.b.answer(world.now);
    world.run_ms(50);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.a.log, ["200 INVITE", "200 BYE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
}

#[test]
fn bye_of_the_callee_before_the_callers_ack_waits_for_it() {
    let mut world = World::invited();
    world.a.acknowledges = false;
    world.b.answer(world.now);
    world.run_ms(50);
    world.b.bye(world.now);
    world.run_ms(100);
    assert_eq!(world.b.log.last().unwrap(), "200 BYE");
    assert!(
        !world.trace.iter().any(|line| line == "BYE -> a"),
        "RFC 3261 §15: no BYE before the ACK"
    );
    world.a.acknowledge();
    world.finish();
    assert_eq!(world.a.log, ["200 INVITE", "BYE"]);
    assert_eq!(world.ended().cause.as_ref().unwrap().released, Released::Callee);
}

#[test]
fn bye_of_the_callee_while_its_answer_is_told_to_the_node() {
    let mut world = World::invited();
    world.node.delay = Duration::from_millis(500);
    world.b.answer(world.now);
    world.run_ms(100);
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.a.log, ["480 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "200 BYE"]);
    assert!(
        world.trace.iter().any(|line| line == "ACK -> b"),
        "RFC 3261 §13.2.2.4: every 2xx is acknowledged, also when its sender did not wait for that: {:?}",
        world.trace
    );
}

#[test]
fn the_cause_in_a_bye_before_the_answer_becomes_the_status() {
    for (reason, status, q850) in [
        ("Q.850;cause=17", 486, 17),
        ("SIP;cause=200, Q.850;cause=34;text=\"no circuit\"", 503, 34),
        ("Q.850;cause=16", 480, 16),
        ("SIP;cause=600", 480, 18),
    ] {
        let mut world = World::invited();
        world.node.delay = Duration::from_millis(500);
        world.b.answer(world.now);
        world.run_ms(100);
        world.b.extra_field = Some(("Reason", reason));
        world.b.bye(world.now);
        world.finish();
        assert_eq!(world.a.log, [format!("{status} INVITE")], "{reason}");
        let cause = world.ended().cause.clone().unwrap();
        assert_eq!((cause.sip_status, cause.q850), (status, q850), "{reason}");
    }
}

#[test]
fn the_callee_is_acknowledged_when_the_node_can_hear_it() {
    let mut world = World::invited();
    world.node.delay = Duration::from_millis(700);
    world.b.answer(world.now);
    // The callee repeats its 2xx after 500 ms.
    world.run_ms(600);
    assert_eq!(world.b.log, ["INVITE"], "it may speak from the ACK on");
    world.run_ms(400);
    assert_eq!(world.b.log, ["INVITE", "ACK"]);
    assert_eq!(world.a.log, ["200 INVITE"]);
}

#[test]
fn a_callee_that_rings_for_too_long_is_cancelled() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "480 INVITE"]);
    assert_eq!(
        world.b.log,
        [
            "INVITE",
            "CANCEL Q.850;cause=18;text=\"No answer from the callee\""
        ]
    );
    assert_eq!(status(&world), 480);
    assert_eq!(
        world
            .ended()
            .times
            .ended
            .unwrap()
            .saturating_since(world.ended().times.setup)
            .as_secs(),
        60
    );
}

#[test]
fn a_call_has_a_longest_duration() {
    let mut limited = config(&[B]);
    limited.duration_max = Duration::from_secs(30);
    let mut world = World::with(limited, Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.answer(world.now);
    world.finish();
    assert_eq!(
        (
            world.a.log.last().unwrap().as_str(),
            world.b.log.last().unwrap().as_str()
        ),
        ("BYE", "BYE")
    );
    assert_eq!(world.ended().cause.as_ref().unwrap().released, Released::Us);
}

#[test]
fn failures_of_the_callee_are_passed_on_without_its_address() {
    for (given, got) in [
        (486, 486),
        (404, 404),
        (603, 603),
        (500, 500),
        (488, 488),
        (302, 480),
        (401, 502),
        (407, 502),
        (420, 502),
    ] {
        let mut world = World::invited();
        world.b.respond(world.now, given, "b1", None);
        world.finish();
        assert_eq!(world.a.log, [format!("{got} INVITE")]);
        assert_eq!(status(&world), got);
        assert_eq!(world.ended().cause.as_ref().unwrap().released, Released::Callee);
    }
}

#[test]
fn stopping_ends_all_calls_and_takes_no_new_ones() {
    let mut world = World::talking();
    world.b2bua.end_all(world.now);
    world.run_ms(50);
    world.a.invite(world.now, true);
    world.finish();
    assert_eq!(world.a.log[2..], ["BYE", "503 INVITE"]);
    assert_eq!(world.b.log.last().unwrap(), "BYE");
}
