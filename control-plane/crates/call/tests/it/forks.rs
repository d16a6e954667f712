//! One INVITE, several answers (RFC 3261 §13.2.2.4).

use crate::world::World;

#[test]
fn every_fork_has_an_early_dialog_of_its_own_with_the_caller() {
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let first = world.a.early_tag.clone();
    world.b.respond(world.now, 183, "b2", Some(&body));
    world.run_ms(20);
    let second = world.a.early_tag.clone();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    assert_ne!(first, second);
    assert_eq!(world.a.early_tag, first);
    world.b.respond(world.now, 200, "b2", Some(&body));
    world.b.incoming = None;
    world.run_ms(50);
    assert_eq!(
        world.a.talks[0].dialog.id().remote_tag.as_deref(),
        second.as_deref(),
        "the answer is the second fork's"
    );
    world.a.bye(world.now);
    world.finish();
    assert_eq!(
        world.a.log,
        ["180 INVITE", "183 INVITE", "180 INVITE", "200 INVITE", "200 BYE"]
    );
}

#[test]
fn the_first_2xx_wins_and_later_ones_are_acknowledged_and_hung_up_on() {
    let mut world = World::invited();
    let body = world.b.body();
    world.b.respond(world.now, 200, "b1", Some(&body));
    world.b.respond(world.now, 200, "b2", Some(&body));
    world.b.respond(world.now, 200, "b3", Some(&body));
    world.b.incoming = None;
    world.run_ms(200);
    assert_eq!(world.a.log, ["200 INVITE"]);
    let alive: Vec<&str> = world
        .b
        .talks
        .iter()
        .filter(|talk| talk.alive)
        .map(|talk| &*talk.dialog.id().local_tag)
        .collect();
    assert_eq!(alive, ["b1"]);
    assert_eq!(world.b2bua.counters().forks_dismissed, 2);
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.records.len(), 3, "one call: answered, ended, quality");
}

#[test]
fn a_fork_that_answers_after_the_call_is_over_is_hung_up_on() {
    let mut world = World::talking();
    world.a.bye(world.now);
    world.run_ms(100);
    assert_eq!(world.b2bua.call_count(), 0);
    world.b.incoming = world.b.answered.clone();
    let body = world.b.body();
    world.b.respond(world.now, 200, "late", Some(&body));
    world.b.incoming = None;
    world.finish();
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE", "ACK", "BYE"]);
}
