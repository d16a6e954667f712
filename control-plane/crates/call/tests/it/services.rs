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

/// B rings.
fn ringing() -> World {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world
}

/// The ids of B's early dialog, as whoever watches B has them.
fn early_ids(world: &World) -> String {
    let invite = world.b.last_invite.clone().unwrap();
    let tag = invite.from().unwrap().tag().unwrap().to_owned();
    format!("{};to-tag={tag};from-tag=b1", invite.call_id().unwrap())
}

/// RFC 5359, "Call Pickup" (RFC 3891 §7.1): B2 takes the call that rings at B, whose ids it has from B or from the caller.
#[test]
fn call_pickup() {
    for is_of_caller in [false, true] {
        let mut world = ringing();
        let ids = match is_of_caller {
            false => early_ids(&world),
            true => {
                let (_, invite) = world.a.calling.clone().unwrap();
                let (ours, theirs) = (invite.from().unwrap(), world.a.early_tag.clone().unwrap());
                let tag = ours.tag().unwrap();
                format!("{};to-tag={tag};from-tag={theirs}", invite.call_id().unwrap())
            }
        };
        world.b2.replace(world.now, &format!("{ids};early-only"));
        world.run_ms(200);
        assert_eq!(world.b2.log, ["200 INVITE"]);
        assert_eq!(
            world.b.log,
            ["INVITE", "CANCEL SIP;cause=200;text=\"Call completed elsewhere\""]
        );
        assert_eq!(world.a.log, ["180 INVITE", "200 INVITE", "INVITE", "ACK"]);
        let held = &world.a.bodies.last().unwrap().1;
        assert!(held.contains("a=inactive"), "{held}");
        assert_hear(&world, &world.a, &world.b2);
        let lines = world.node.calls.values().next().unwrap();
        assert!(lines.iter().all(|leg| leg.lines[0].srtp.is_none()));
        world.b2.reinvite(world.now, "sendonly", true);
        world.run_ms(100);
        assert!(world.a.last_body.contains("a=sendonly"), "{}", world.a.last_body);
        match is_of_caller {
            true => world.a.bye(world.now),
            false => world.b2.bye(world.now),
        }
        world.finish();
        assert_eq!(world.records.len(), 3, "answered, ended, quality");
    }
}

/// RFC 3891 §3: what is refused, and with what.
#[test]
fn what_cannot_be_picked_up() {
    let refused = |world: &mut World, ids: &str, status: &str| {
        world.b2.replace(world.now, ids);
        world.run_ms(50);
        assert_eq!(world.b2.log.last().unwrap(), &format!("{status} INVITE"), "{ids}");
    };
    // No such dialog; and one that the callee, or we of the caller, were called in.
    let mut world = ringing();
    let ids = early_ids(&world);
    refused(&mut world, &ids.replace("from-tag=b1", "from-tag=b2"), "481");
    let swapped = ids.replace("to-tag", "x").replace("from-tag", "to-tag");
    refused(&mut world, &swapped.replace(";x=", ";from-tag="), "481");
    let (_, invite) = world.a.calling.clone().unwrap();
    let caller = format!(
        "{};to-tag={};from-tag={}",
        invite.call_id().unwrap(),
        world.a.early_tag.clone().unwrap(),
        invite.from().unwrap().tag().unwrap()
    );
    refused(&mut world, &caller, "481");
    world.b.answer(world.now);
    world.run_ms(50);
    refused(&mut world, &format!("{ids};early-only"), "486");
    world.node.delay = std::time::Duration::from_millis(200);
    world.a.bye(world.now);
    world.run_ms(20);
    refused(&mut world, &ids, "603");
    world.finish();

    // Who is second gets 603, and may have the call from who was first.
    let mut world = ringing();
    let ids = early_ids(&world);
    world.b2.replace(world.now, &ids);
    world.b3.replace(world.now, &ids);
    world.run_ms(200);
    assert_eq!(
        (
            world.b2.log.last().unwrap().as_str(),
            world.b3.log.last().unwrap().as_str()
        ),
        ("200 INVITE", "603 INVITE")
    );
    refused_by_b3(&mut world, &ids, "603");
    let taken = world.b2.dialog_ids(0);
    world.b3.replace(world.now, &taken);
    world.run_ms(300);
    assert_hear(&world, &world.a, &world.b3);
    world.b3.bye(world.now);
    world.finish();

    // A call whose caller made no offer.
    let mut world = World::new();
    world.a.invite(world.now, false);
    world.run_ms(20);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let ids = early_ids(&world);
    refused(&mut world, &ids, "488");
    world.b.answer(world.now);
    world.run_ms(100);
    world.a.bye(world.now);
    world.finish();
}

fn refused_by_b3(world: &mut World, ids: &str, status: &str) {
    world.b3.replace(world.now, ids);
    world.run_ms(50);
    assert_eq!(world.b3.log.last().unwrap(), &format!("{status} INVITE"));
}

/// B, who was transferred A to, rings: its dialog is alive, but an early one that nobody has offered to give up.
#[test]
fn a_ringing_target_of_a_transfer_is_not_over() {
    let mut world = talking();
    world.b2.manner = crate::ua::Manner::Ignore;
    world.b.refer(world.now, "<sip:2000@10.3.0.1>", None);
    world.run_ms(50);
    world.b2.respond(world.now, 180, "c1", None);
    world.run_ms(50);
    let invite = world.b2.last_invite.clone().unwrap();
    let tag = invite.from().unwrap().tag().unwrap().to_owned();
    let ids = format!("{};to-tag={tag};from-tag=c1", invite.call_id().unwrap());
    refused_by_b3(&mut world, &ids, "481");
    world.a.bye(world.now);
    world.finish();
}

/// The answer that holds the caller says nothing as its own that the caller has said of itself.
#[test]
fn a_picked_up_caller_does_not_hear_of_itself() {
    let mut world = World::new();
    let body = world.a.body() + "a=ssrc:1234 cname:a\r\na=msid:one two\r\na=simulcast:send 1\r\n";
    let builder = world.a.invite_builder("1000");
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let ids = early_ids(&world);
    world.b2.replace(world.now, &ids);
    world.run_ms(200);
    let held = &world
        .a
        .bodies
        .iter()
        .find(|(status, _)| *status == 200)
        .unwrap()
        .1;
    assert!(held.contains("a=inactive"), "{held}");
    for own in ["ssrc", "msid", "simulcast"] {
        assert!(!held.contains(own), "{held}");
    }
    world.a.bye(world.now);
    world.finish();
}

/// Whoever goes while the call is handed over, the other one is told.
#[test]
fn a_pickup_that_comes_to_nothing_ends_the_call() {
    // Before the caller has its answer.
    let mut world = ringing();
    world.node.delay = std::time::Duration::from_millis(900);
    let ids = early_ids(&world);
    world.b2.replace(world.now, &ids);
    world.run_ms(400);
    world.b2.cancel(world.now);
    world.finish();
    assert_eq!(world.b2.log, ["487 INVITE"]);
    assert_eq!(world.a.log, ["180 INVITE", "480 INVITE"]);

    // The caller, at the same time.
    let mut world = ringing();
    world.node.delay = std::time::Duration::from_millis(100);
    let ids = early_ids(&world);
    world.b2.replace(world.now, &ids);
    world.run_ms(20);
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE"]);
    assert_eq!(world.b2.log, ["487 INVITE"]);

    // The caller refuses the newcomer's offer, or has lost its dialog.
    for status in [488, 481] {
        let mut world = ringing();
        world.a.manner = crate::ua::Manner::Reject(status);
        let ids = early_ids(&world);
        world.b2.replace(world.now, &ids);
        world.finish();
        assert_eq!(world.a.log[1..], ["200 INVITE", "INVITE", "BYE"], "{status}");
        assert!(world.b2.log[0].ends_with(" INVITE") && world.b2.talks.is_empty());
    }

    // The media node is gone.
    let mut world = ringing();
    world.node.mood = crate::node::Mood::Full;
    let ids = early_ids(&world);
    world.b2.replace(world.now, &ids);
    world.finish();
    assert!(!logged(&world.a, "200 INVITE") && world.b2.talks.is_empty());
    assert_eq!(world.b2.log, ["503 INVITE"], "it has cancelled nothing");
}
