//! ACKs that are lost, and 2xx that come again (RFC 3261 §13.2.2.4, §13.3.1.4).

use crate::world::{A, B, World};

#[test]
fn a_2xx_without_ack_is_repeated_and_then_both_are_hung_up_on() {
    let mut world = World::invited();
    world.a.acknowledges = false;
    world.b.answer(world.now);
    world.finish();
    let repeats = world
        .trace
        .iter()
        .filter(|line| *line == "200 INVITE -> a")
        .count();
    assert_eq!(repeats, 11, "once, and ten times in 64*T1");
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    assert_eq!(world.b2bua.counters().unacknowledged, 1);
    assert_eq!(world.ended().cause.as_ref().unwrap().q850, 102);
}

#[test]
fn a_lost_ack_to_the_callee_is_sent_again_when_its_2xx_comes_again() {
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 200, "b1", Some(&body));
    world.b.incoming = None;
    world.deaf.push(B.parse().unwrap());
    world.run_ms(400);
    assert_eq!(world.b.log, ["INVITE"], "the ACK was lost");
    world.deaf.clear();
    world.run_ms(2_000);
    assert_eq!(world.b.log, ["INVITE", "ACK"]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_lost_2xx_to_the_caller_is_repeated() {
    let mut world = World::invited();
    world.deaf.push(A.parse().unwrap());
    world.b.answer(world.now);
    world.run_ms(900);
    assert!(world.a.log.is_empty());
    world.deaf.clear();
    world.run_ms(2_000);
    assert_eq!(world.a.log, ["200 INVITE"]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_2xx_that_comes_again_after_the_call_is_over_still_gets_its_ack() {
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 200, "b1", Some(&body));
    world.run_ms(100);
    world.a.bye(world.now);
    world.run_ms(200);
    assert_eq!(world.b2bua.call_count(), 0);
    let acks = |world: &World| world.trace.iter().filter(|line| *line == "ACK -> b").count();
    let before = acks(&world);
    world.b.respond(world.now, 200, "b1", Some(&body));
    world.b.talks.pop();
    world.b.incoming = None;
    world.run_ms(100);
    assert_eq!(acks(&world), before + 1);
    world.finish();
}

/// RFC 3261 §13.2.2.4: a 2xx that makes no dialog, for it has no Contact, is an answer all the same.
#[test]
fn a_2xx_without_a_contact_is_acknowledged_and_hung_up_on() {
    let mut world = World::invited();
    world.b.has_no_contact = true;
    world.b.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["502 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    world.finish();

    // So is that of a fork which is too late.
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 200, "b1", Some(&body));
    world.b.has_no_contact = true;
    world.b.respond(world.now, 200, "b2", Some(&body));
    world.b.incoming = None;
    world.run_ms(100);
    let alive = world.b.talks.iter().filter(|talk| talk.alive).count();
    assert_eq!((alive, world.b.log.len()), (1, 4), "{:?}", world.b.log);
    world.a.bye(world.now);
    world.finish();
}
