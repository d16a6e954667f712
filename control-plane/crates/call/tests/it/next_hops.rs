//! Next hops tried in their order.

use sans_io::network::Conditions;
use sip::{Destination, Transport};

use crate::world::{B, B2, World, config};

fn two_hops() -> World {
    World::with(config(&[B, B2]), Conditions::PERFECT, 1)
}

#[test]
fn a_silent_next_hop_is_left_for_the_one_after_it() {
    let mut world = two_hops();
    world.deaf.push(B.parse().unwrap());
    world.a.invite(world.now, true);
    world.run_ms(3_900);
    assert!(world.b2.log.is_empty());
    world.run_ms(200);
    assert_eq!(world.b2.log, ["INVITE"]);
    world.b2.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert_eq!(world.b2bua.counters().next_hops_skipped, 1);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.ended().next_hop, Some(B2.parse().unwrap()));
}

#[test]
fn a_late_2xx_of_a_next_hop_that_was_left_is_hung_up_on() {
    let mut world = two_hops();
    world.deaf.push(B.parse().unwrap());
    world.a.invite(world.now, true);
    world.run_ms(4_100);
    world.deaf.clear();
    world.b2.answer(world.now);
    while world.b.incoming.is_none() {
        world.step(world.now + std::time::Duration::from_secs(10));
    }
    // Its transaction was cancelled, but it has not heard of that yet.
    world.b.answer(world.now);
    world.run_ms(500);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert!(!world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_unreachable_next_hop_is_left_at_once() {
    let mut world = two_hops();
    world.deaf.push(B.parse().unwrap());
    world.a.invite(world.now, true);
    world.run_ms(50);
    let destination = Destination {
        transport: Transport::Udp,
        remote: B.parse().unwrap(),
        flow: None,
    };
    world.b2bua.handle_transport_error(world.now, destination);
    world.run_ms(50);
    assert_eq!(world.b2.log, ["INVITE"]);
    let destination = Destination {
        transport: Transport::Udp,
        remote: B2.parse().unwrap(),
        flow: None,
    };
    world.b2bua.handle_transport_error(world.now, destination);
    world.run_ms(300);
    // The second one had answered 100 by then or not; either way the call ends within the ring timeout.
    world.finish();
    assert_eq!(world.a.log.len(), 1, "{:?}", world.a.log);
}

#[test]
fn a_next_hop_out_of_service_is_left_and_the_last_one_decides() {
    let mut world = two_hops();
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    assert_eq!(world.b2.log, ["INVITE"]);
    world.b2.respond(world.now, 503, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["503 INVITE"]);
}

#[test]
fn an_offer_goes_to_next_hops_of_one_address_family() {
    let mut world = World::with(config(&[B, "[2001:db8::2]:5060", B2]), Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    assert_eq!(world.b2.log, ["INVITE"]);
    world.b2.respond(world.now, 503, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["503 INVITE"]);
    assert!(world.sent.iter().all(|sent| sent.destination.remote.is_ipv4()));
}

#[test]
fn a_busy_callee_is_not_looked_for_elsewhere() {
    let mut world = two_hops();
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["486 INVITE"]);
    assert!(world.b2.log.is_empty());
}

#[test]
fn nobody_answering_at_all_is_408() {
    let mut world = two_hops();
    world
        .deaf
        .extend([B.parse().unwrap(), B2.parse::<std::net::SocketAddr>().unwrap()]);
    world.a.invite(world.now, true);
    world.finish();
    assert_eq!(world.a.log, ["408 INVITE"]);
    let seconds = world
        .ended()
        .times
        .ended
        .unwrap()
        .saturating_since(world.ended().times.setup)
        .as_secs();
    assert_eq!(seconds, 36, "4 s for the first, timer B for the last");
}
