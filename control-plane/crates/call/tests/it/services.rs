//! The services of RFC 5359 that are no other file's, and the flows of RFC 3665 that go through proxies.

use sip::{HeaderName, Message, Method};

use crate::transfers::{assert_hear, consulting, local, logged, talking_with};
use crate::world::World;
use sans_io::network::Conditions;

/// The latest message of this method that we sent to an address.
fn sent_to(world: &World, address: &str, method: &str) -> Message {
    let to = address.parse().unwrap();
    let mut sent = world.sent.iter().rev().filter(|it| it.destination.remote == to);
    let bytes = sent
        .find(|it| it.bytes.starts_with(method.as_bytes()))
        .expect(method);
    Message::parse_datagram(bytes.bytes.clone()).unwrap()
}

fn talking() -> World {
    talking_with(local(), Conditions::PERFECT, 1)
}

/// RFC 5359, "Consultation Hold": A holds B, asks B2, and goes back to B.
#[test]
fn consultation_hold() {
    let mut world = talking();
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert!(world.b.last_body.contains("a=sendonly"), "{}", world.b.last_body);
    world.a.direction = "sendrecv";
    let body = world.a.body();
    let builder = world.a.invite_builder("2000");
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    assert_eq!(world.b2bua.call_count(), 2);
    assert!(world.b2.last_body.contains("c=IN IP4 198.51.100.12"));
    world.b2.bye(world.now);
    world.run_ms(100);
    assert_eq!(world.b2bua.call_count(), 1);
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    assert!(world.b.last_body.contains("a=sendrecv"), "{}", world.b.last_body);
    assert_hear(&world, &world.a, &world.b);
    world.a.bye(world.now);
    world.finish();
}

/// RFC 5359, "Music on Hold": a source of music takes B's place, and B takes it back, each by `Replaces`.
#[test]
fn music_on_hold() {
    let mut world = talking();
    let held = world.b.dialog_ids(0);
    world.b2.replace(world.now, &held);
    world.run_ms(300);
    assert_hear(&world, &world.a, &world.b2);
    assert_eq!(world.b.log.last().unwrap(), "BYE");
    let music = world.b2.dialog_ids(0);
    world.b.replace(world.now, &music);
    world.run_ms(300);
    assert_hear(&world, &world.a, &world.b);
    assert_eq!(world.b2.log.last().unwrap(), "BYE");
    assert_eq!(world.b2bua.counters().transfers_completed, 2);
    world.a.bye(world.now);
    world.finish();
}

/// RFC 7088: the phone that holds has the other party hear a source of music by a re-INVITE with that one's description.
#[test]
fn music_by_a_reinvite_without_an_offer() {
    let mut world = talking();
    world.b.reinvite(world.now, "sendonly", false);
    world.run_ms(100);
    assert!(logged(&world.a, "INVITE") && logged(&world.b, "200 INVITE"));
    assert!(logged(&world.a, "ACK"), "the answer is the music's");
    world.a.bye(world.now);
    world.finish();
}

/// RFC 5359, "Call Park": the place where A is parked takes B's place, and B3 fetches A from there.
#[test]
fn call_park() {
    let mut world = talking();
    let parked = world.b.dialog_ids(0);
    world.b2.replace(world.now, &parked);
    world.run_ms(300);
    assert_hear(&world, &world.a, &world.b2);
    let fetched = world.b2.dialog_ids(0);
    world.b3.replace(world.now, &fetched);
    world.run_ms(300);
    assert_hear(&world, &world.a, &world.b3);
    assert_eq!(world.b2.log.last().unwrap(), "BYE");
    world.b3.bye(world.now);
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "BYE");
}

/// RFC 5359, "Transfer - Attended": the way by which the transferee is asked first, and the target after it.
#[test]
fn a_consulted_target_may_be_taken_by_either_party() {
    let mut world = consulting();
    let consulted = world.a.dialog_ids(1);
    world.b3.replace(world.now, &consulted);
    world.run_ms(300);
    assert!(logged(&world.b3, "200 INVITE"), "{:?}", world.b3.log);
    assert_hear(&world, &world.b3, &world.b2);
    world.b3.bye(world.now);
    world.run_ms(100);
    world.b.bye(world.now);
    world.finish();
}

/// RFC 3665 §3.2, "Session Establishment Through Two Proxies", on both sides: what is sent within the call takes the way that
/// they have asked for (RFC 3261 §12.1).
#[test]
fn two_proxies_on_either_side_stay_in_the_way() {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world.a.invite_builder("1000").header(
        HeaderName::RecordRoute,
        "<sip:a2@10.1.0.1:5060;lr>, <sip:a1@10.1.0.1:5060;lr>",
    );
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    let invite = world.b.last_invite.clone().unwrap();
    assert!(!invite.has(HeaderName::RecordRoute), "a user agent is no proxy");
    world.b.response_field = Some((
        "Record-Route",
        "<sip:b2@10.2.0.1:5060;lr>, <sip:b1@10.2.0.1:5060;lr>",
    ));
    world.b.respond(world.now, 180, "b1", None);
    world.b.answer(world.now);
    world.run_ms(100);
    let routes =
        |message: &Message| -> Vec<String> { message.values(HeaderName::Route).map(str::to_owned).collect() };
    let to_b = ["<sip:b1@10.2.0.1:5060;lr>", "<sip:b2@10.2.0.1:5060;lr>"];
    let ack = sent_to(&world, "10.2.0.1:5060", "ACK");
    assert_eq!(routes(&ack), to_b);
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    let reinvite = sent_to(&world, "10.1.0.1:5060", "INVITE");
    assert_eq!(
        routes(&reinvite),
        ["<sip:a2@10.1.0.1:5060;lr>", "<sip:a1@10.1.0.1:5060;lr>"]
    );
    assert_eq!(reinvite.request_uri(), Some("sip:ua@10.1.0.1:5060"));
    world.a.bye(world.now);
    world.run_ms(100);
    let bye = sent_to(&world, "10.2.0.1:5060", "BYE");
    assert_eq!(
        (routes(&bye), bye.method()),
        (to_b.map(str::to_owned).to_vec(), Some(Method::Bye))
    );
    world.finish();
}

/// RFC 3665 §3.11, "Unsuccessful Temporarily Unavailable": what the callee says of when reaches the caller.
#[test]
fn a_callee_that_is_away_for_now_says_so_to_the_caller() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.b.response_field = Some(("Retry-After", "120"));
    world.b.respond(world.now, 480, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "480 INVITE"]);
    assert_eq!(world.a.retry_after.as_deref(), Some("120"));
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 480);
}

/// RFC 5359, "Call Pickup" of a call that rings (RFC 3891 §3): not offered, and the call rings on.
#[test]
fn a_call_that_rings_is_not_picked_up() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let invite = world.b.last_invite.clone().unwrap();
    let tag = invite.from().unwrap().tag().unwrap();
    for early_only in ["", ";early-only"] {
        let replaces = format!(
            "{};to-tag={tag};from-tag=b1{early_only}",
            invite.call_id().unwrap()
        );
        world.b2.replace(world.now, &replaces);
        world.run_ms(50);
        assert_eq!(world.b2.log.last().unwrap(), "481 INVITE");
    }
    world.b.answer(world.now);
    world.run_ms(50);
    world.a.bye(world.now);
    world.finish();
}
