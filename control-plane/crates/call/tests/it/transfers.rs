//! Transfers: REFER blind and attended (RFC 3515, RFC 5589), and INVITE with `Replaces` (RFC 3891).

use call::{Config, NextHop, Party, Progress, Released, Route, Routes, TransferError, TransferPolicy};
use media_types::CallId;
use sans_io::Random;
use sans_io::network::Conditions;
use sip::{HeaderName, Message, Method};

use crate::ua::{Manner, Ua};
use crate::world::{A, B, B2, US, World, config, hop};

const TO_B2: &str = "<sip:2000@198.51.100.1>";

pub fn policies(caller: TransferPolicy, callee: TransferPolicy) -> Config {
    let of = |prefix: &str, address: &str| Route {
        prefix: prefix.into(),
        weight: None,
        next_hops: vec![NextHop {
            transfer: callee,
            ..hop(address)
        }],
    };
    Config {
        routes: Routes::new([of("1", B), of("2", B2)]),
        caller_transfer: caller,
        ..config(&[B])
    }
}

pub fn local() -> Config {
    policies(TransferPolicy::Local, TransferPolicy::Local)
}

/// A talks to B.
pub fn talking_with(config: Config, conditions: Conditions, seed: u64) -> World {
    let mut world = World::with(config, conditions, seed);
    world.a.invite(world.now, true);
    world.run_ms(20);
    for _ in 0..100 {
        if world.b.incoming.is_some() {
            break;
        }
        world.run_ms(200);
    }
    world.b.answer(world.now);
    world.run_ms(100);
    world
}

fn talking() -> World {
    talking_with(local(), Conditions::PERFECT, 1)
}

/// A talks to B, and to B2 in a call of its own.
pub fn consulting() -> World {
    let mut world = talking();
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("2000")
        .body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    assert_eq!(world.b2bua.call_count(), 2);
    world
}

fn ip(ua: &Ua) -> String {
    ua.address.ip().to_string()
}

/// Whether the node relays between these two, and each was told the node's address for it.
pub fn assert_hear(world: &World, caller: &Ua, callee: &Ua) {
    let calls: Vec<_> = world.node.calls.values().collect();
    let remotes = |legs: &[media_types::LegSpec]| -> Vec<String> {
        legs.iter()
            .map(|leg| {
                leg.lines[0]
                    .remote
                    .map_or(String::new(), |remote| remote.ip().to_string())
            })
            .collect()
    };
    let call = calls
        .iter()
        .find(|legs| remotes(legs) == [ip(caller), ip(callee)])
        .unwrap_or_else(|| panic!("nobody relays between the two: {calls:#?}"));
    assert!(call.iter().all(|leg| leg.lines[0].enabled));
    for (leg, ua) in [(11, caller), (12, callee)] {
        let told = format!("c=IN IP4 198.51.100.{leg}");
        assert!(
            ua.last_body.contains(&told),
            "{} was told:\n{}",
            ua.address,
            ua.last_body
        );
    }
}

pub fn fragments(ua: &Ua) -> Vec<&str> {
    ua.notified.iter().map(|(line, ..)| line.as_str()).collect()
}

pub fn logged(ua: &Ua, what: &str) -> bool {
    ua.log.iter().any(|line| line == what)
}

/// RFC 5359 §2.4, with the transferee's leg kept: A is with B, and with B2 in the end.
#[test]
fn unattended_transfer_connects_the_two_that_stay() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    assert!(logged(&world.b, "202 REFER"));
    assert_eq!(fragments(&world.b), ["SIP/2.0 100 Trying"]);
    assert_eq!(world.b.notified[0].1, "refer");
    assert!(world.b.notified[0].2.starts_with("active;expires="));
    let invite = world.b2.last_invite.clone().expect("the target is called");
    assert!(invite.body().is_empty(), "the target offers");
    assert!(invite.from().unwrap().uri.starts_with("sip:alice@198.51.100.1"));
    assert!(!invite.has(HeaderName::ReferredBy), "a route is no user of ours");

    world.b2.respond(world.now, 180, "t", None);
    world.run_ms(50);
    assert_eq!(fragments(&world.b)[1..], ["SIP/2.0 180 Ringing"]);
    assert_hear(&world, &world.a, &world.b);

    world.b2.answer_as(world.now, "t");
    world.run_ms(100);
    assert_eq!(fragments(&world.b)[2..], ["SIP/2.0 200 OK"]);
    assert_eq!(world.b.notified[2].2, "terminated;reason=noresource");
    assert_hear(&world, &world.a, &world.b2);

    world.b.bye(world.now);
    world.run_ms(100);
    assert!(logged(&world.b, "200 BYE"));
    assert!(world.a.is_talking() && world.b2.is_talking());

    world.b2.bye(world.now);
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    let record = world.ended();
    let transferred = record.transferred.clone().unwrap();
    assert_eq!(
        (transferred.by, transferred.to.as_str()),
        (Released::Callee, "2000")
    );
    assert_eq!(record.cause.as_ref().unwrap().released, Released::Callee);
    let counters = world.b2bua.counters();
    assert_eq!((counters.transfers_begun, counters.transfers_completed), (1, 1));
}

/// RFC 3323 §4.2: what the caller has asked for holds for whom the call is transferred to, too.
#[test]
fn a_caller_who_hides_is_not_told_to_the_target() {
    let mut world = World::with(local(), Conditions::PERFECT, 1);
    let body = world.a.body();
    let builder = world.a.invite_builder("1000").header(HeaderName::Privacy, "id");
    let builder = builder.body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    let invite = world.b2.last_invite.clone().expect("the target is called");
    assert_eq!(invite.from().unwrap().uri, "sip:anonymous@anonymous.invalid");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn the_caller_can_transfer_the_callee_too() {
    let mut world = talking();
    world.a.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b2.answer_as(world.now, "t");
    world.run_ms(100);
    assert_eq!(fragments(&world.a), ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
    assert_hear(&world, &world.b2, &world.b);
    world.a.bye(world.now);
    world.run_ms(50);
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.b2.log.last().unwrap(), "BYE");
}

/// RFC 5589 §6: what goes wrong at the target leaves the call as it was.
#[test]
fn a_target_that_refuses_leaves_the_call_as_it_was() {
    for (status, told) in [
        (486, "SIP/2.0 486 Busy Here"),
        (603, "SIP/2.0 603 Decline"),
        (302, "SIP/2.0 480 Temporarily Unavailable"),
    ] {
        let mut world = talking();
        let before = world.node.updates;
        world.b.refer(world.now, TO_B2, None);
        world.run_ms(50);
        world.b2.respond(world.now, status, "t", None);
        world.run_ms(50);
        assert_eq!(fragments(&world.b), ["SIP/2.0 100 Trying", told]);
        assert_eq!(world.b.notified[1].2, "terminated;reason=noresource");
        assert_hear(&world, &world.a, &world.b);
        assert_eq!(world.node.updates, before, "nobody's media has changed");
        world.b.reinvite(world.now, "sendonly", true);
        world.run_ms(100);
        assert!(logged(&world.b, "200 INVITE"), "the call goes on");
        world.a.bye(world.now);
        world.finish();
        assert_eq!(world.ended().transferred, None);
    }
}

#[test]
fn a_target_that_never_answers_is_given_up() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b2.respond(world.now, 180, "t", None);
    world.run_ms(61_000);
    assert!(logged(&world.b2, "CANCEL"));
    assert_eq!(
        *fragments(&world.b).last().unwrap(),
        "SIP/2.0 408 Request Timeout"
    );
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_answer_without_a_usable_offer_is_hung_up_on() {
    for body in [
        None,
        Some(
            "v=0\r\no=- 1 1 IN IP4 10.2.0.2\r\ns=-\r\nc=IN IP4 10.2.0.2\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n",
        ),
    ] {
        let mut world = talking();
        world.b.refer(world.now, TO_B2, None);
        world.run_ms(50);
        world.b2.respond(world.now, 200, "t", body);
        world.run_ms(200);
        assert_eq!(
            *fragments(&world.b).last().unwrap(),
            "SIP/2.0 488 Not Acceptable Here"
        );
        assert_eq!(world.b2.log.last().unwrap(), "BYE");
        assert_hear(&world, &world.a, &world.b);
        world.a.bye(world.now);
        world.finish();
    }
}

#[test]
fn the_party_that_stays_may_refuse() {
    let mut world = talking();
    world.a.manner = Manner::Reject(488);
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b2.answer_as(world.now, "t");
    world.run_ms(200);
    assert_eq!(
        *fragments(&world.b).last().unwrap(),
        "SIP/2.0 488 Not Acceptable Here"
    );
    assert_eq!(world.b2.log.last().unwrap(), "BYE");
    assert!(world.a.is_talking() && world.b.is_talking());
    let legs = world.node.calls.values().next().unwrap();
    assert_eq!(
        legs[1].lines[0].remote.unwrap().ip().to_string(),
        ip(&world.b),
        "its media is back"
    );
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_reinvite_of_the_party_that_stays_is_waited_for() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b.manner = Manner::Ignore;
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(20);
    world.b2.answer_as(world.now, "t");
    world.run_ms(1_000);
    assert!(!logged(&world.a, "INVITE"), "its own is first");
    world.a.cancel_reinvite(world.now);
    world.run_ms(2_000);
    assert!(logged(&world.a, "487 INVITE"), "{:?}", world.a.log);
    assert_eq!(*fragments(&world.b).last().unwrap(), "SIP/2.0 200 OK");
    assert_hear(&world, &world.a, &world.b2);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_transferor_that_leaves_at_once_ends_its_own_leg_alone() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b.bye(world.now);
    world.run_ms(50);
    assert!(logged(&world.b, "200 BYE"));
    assert!(world.a.is_talking() && !logged(&world.a, "BYE"));
    world.b2.answer_as(world.now, "t");
    world.run_ms(100);
    assert_hear(&world, &world.a, &world.b2);
    world.a.bye(world.now);
    world.finish();

    // And when nobody answers there is nobody to go back to.
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b.bye(world.now);
    world.run_ms(50);
    world.b2.respond(world.now, 486, "t", None);
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    assert_eq!(world.ended().transferred, None);
}

#[test]
fn a_transferor_that_stays_is_hung_up_on() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.b2.answer_as(world.now, "t");
    world.run_ms(4_000);
    assert!(!logged(&world.b, "BYE"));
    world.run_ms(2_000);
    assert!(logged(&world.b, "BYE"));
    assert!(world.a.is_talking() && world.b2.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn whoever_hangs_up_first_the_target_is_not_left_ringing() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    world.a.bye(world.now);
    world.finish();
    assert!(logged(&world.b2, "CANCEL") || world.b2.log.iter().any(|line| line.starts_with("CANCEL")));
    assert!(logged(&world.b, "BYE"));
    assert_eq!(world.b2bua.counters().transfers_failed, 1);
}

/// RFC 4488: a transferor that wants no NOTIFY gets none.
#[test]
fn a_transfer_may_go_without_a_subscription() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, Some(("Refer-Sub", "false")));
    world.run_ms(50);
    world.b2.answer_as(world.now, "t");
    world.run_ms(100);
    assert!(logged(&world.b, "202 REFER") && world.b.notified.is_empty());
    let accepted = world
        .sent
        .iter()
        .find(|sent| sent.bytes.starts_with(b"SIP/2.0 202"))
        .unwrap();
    let accepted = Message::parse_datagram(accepted.bytes.clone()).unwrap();
    assert_eq!(accepted.header(HeaderName::ReferSub), Some("false"));
    assert_hear(&world, &world.a, &world.b2);
    world.a.bye(world.now);
    world.finish();
}

/// Attack 18: who may not transfer does not, and nobody transfers to where the routing table does not lead.
#[test]
fn what_may_not_be_transferred_is_refused() {
    let status = |world: &mut World, to: &str| {
        world.b.refer(world.now, to, None);
        world.run_ms(50);
        let status = world.b.log.last().unwrap().clone();
        assert!(world.b2.last_invite.is_none(), "{to}");
        assert!(world.b.notified.is_empty(), "{to}");
        status
    };
    let mut world = talking_with(
        policies(TransferPolicy::Local, TransferPolicy::Refuse),
        Conditions::PERFECT,
        1,
    );
    assert_eq!(status(&mut world, TO_B2), "403 REFER");
    world.a.bye(world.now);
    world.finish();
    let mut world = talking();
    for (to, expected) in [
        ("<sip:900123@198.51.100.1>", "403 REFER"),
        ("<sip:somebody@example.com>", "403 REFER"),
        ("<tel:+900>", "403 REFER"),
        ("<sips:2000@198.51.100.1>", "416 REFER"),
        ("<http://example.com>", "416 REFER"),
        ("<sip:2000@198.51.100.1;method=BYE>", "403 REFER"),
        ("<sip:2000@198.51.100.1?Replaces=x>", "400 REFER"),
        ("sip:2000@[", "400 REFER"),
    ] {
        assert_eq!(status(&mut world, to), expected, "{to}");
    }
    assert_eq!(world.b2bua.counters().transfers_refused, 8);
    assert_hear(&world, &world.a, &world.b);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_call_is_transferred_so_often_and_no_more_and_once_at_a_time() {
    let mut settings = local();
    settings.transfers_per_call_max = 2;
    let mut world = talking_with(settings, Conditions::PERFECT, 1);
    for round in 1..=3 {
        world.b.refer(world.now, TO_B2, None);
        world.run_ms(20);
        if round == 3 {
            assert_eq!(world.b.log.last().unwrap(), "403 REFER");
            break;
        }
        world.a.refer(world.now, TO_B2, None);
        world.run_ms(20);
        assert_eq!(world.a.log.last().unwrap(), "491 REFER");
        world.b2.respond(world.now, 486, "t", None);
        world.run_ms(50);
    }
    // RFC 3515 §2.4.6: the second REFER of a dialog is told apart.
    assert!(world.b.notified[2].1.starts_with("refer;id="));
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_refer_outside_of_a_call_is_refused() {
    let mut world = World::new();
    let refer = world.a.invite_builder("1000").build().unwrap();
    let mut builder = sip::message::RequestBuilder::new("REFER", &format!("sip:{US}"));
    for name in [
        HeaderName::MaxForwards,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::Contact,
    ] {
        builder = builder.copy_from(&refer, name);
    }
    let builder = builder
        .header(HeaderName::CSeq, "1 REFER")
        .header(HeaderName::ReferTo, TO_B2);
    world.a.request(world.now, builder);
    world.finish();
    assert_eq!(world.a.log, ["403 REFER"]);
}

/// RFC 5359 §2.5, attended transfer: A is with B and asks B2, then leaves them to each other.
#[test]
fn attended_transfer_connects_the_parties_of_two_calls() {
    let mut world = consulting();
    let to = format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1));
    world.a.refer(world.now, &to, None);
    world.run_ms(300);
    assert!(logged(&world.a, "202 REFER"), "{:?}", world.a.log);
    assert_eq!(*fragments(&world.a).last().unwrap(), "SIP/2.0 200 OK");
    assert_hear(&world, &world.b2, &world.b);
    assert!(logged(&world.a, "BYE"), "the second call is over");
    assert_eq!(world.b2bua.call_count(), 1);
    world.a.bye(world.now);
    world.run_ms(100);
    assert_eq!(world.node.calls.len(), 1);
    assert!(world.b.is_talking() && world.b2.is_talking());
    // Both can still do in their dialogs what they could before.
    world.b2.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert!(logged(&world.b2, "200 INVITE"), "{:?}", world.b2.log);
    assert!(world.b.last_body.contains("a=sendonly"));
    world.b.in_dialog(world.now, "INFO", None);
    world.run_ms(100);
    assert!(logged(&world.b, "200 INFO") && logged(&world.b2, "INFO"));
    world.b2.bye(world.now);
    world.finish();
    assert_eq!(world.b.log.last().unwrap(), "BYE");
    let ended: Vec<_> = world
        .records
        .iter()
        .filter(|cdr| cdr.stage == call::Stage::Ended)
        .collect();
    assert_eq!(ended.len(), 2);
    assert_eq!(ended[0].cause.as_ref().unwrap().text, "Transferred");
    assert_eq!(ended[1].transferred.as_ref().unwrap().to, "2000");
}

/// The transferor leaves both calls the moment that its REFER is taken.
#[test]
fn attended_transfer_survives_a_transferor_in_a_hurry() {
    let mut world = consulting();
    let to = format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1));
    world.a.refer(world.now, &to, None);
    world.run_ms(11);
    world.a.bye(world.now);
    world.a.bye(world.now);
    world.run_ms(500);
    assert_hear(&world, &world.b2, &world.b);
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.b2.log.last().unwrap(), "BYE");
}

#[test]
fn attended_transfer_that_the_target_refuses_brings_both_calls_back() {
    let mut world = consulting();
    world.b2.manner = Manner::Reject(488);
    let to = format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1));
    world.a.refer(world.now, &to, None);
    world.run_ms(300);
    assert_eq!(
        *fragments(&world.a).last().unwrap(),
        "SIP/2.0 488 Not Acceptable Here"
    );
    world.b2.manner = Manner::Accept;
    assert_eq!(world.b2bua.call_count(), 2);
    assert_hear(&world, &world.a, &world.b2);
    world.b2.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert!(logged(&world.b2, "200 INVITE"), "{:?}", world.b2.log);
    world.b2.bye(world.now);
    world.run_ms(100);
    assert_eq!(world.b2bua.call_count(), 1);
    world.b.bye(world.now);
    world.finish();
}

/// An INVITE of `ua` with `Replaces`.
fn pick_up(world: &mut World, replaces: &str, offer: bool) {
    let body = world.b2.body();
    let mut builder = world
        .b2
        .invite_builder("1000")
        .header(HeaderName::Replaces, replaces);
    if offer {
        builder = builder.body("application/sdp", body.as_bytes());
    }
    world.b2.send_invite(world.now, builder);
    world.run_ms(300);
}

/// RFC 3891 §3: an INVITE with `Replaces` takes the place of the dialog that it names.
#[test]
fn an_invite_with_replaces_takes_a_place() {
    let mut world = talking();
    let replaces = world.b.dialog_ids(0);
    pick_up(&mut world, &replaces, true);
    assert!(logged(&world.b2, "200 INVITE"), "{:?}", world.b2.log);
    assert_hear(&world, &world.a, &world.b2);
    assert_eq!(world.b.log.last().unwrap(), "BYE");
    world.b2.bye(world.now);
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    let transferred = world.ended().transferred.clone().unwrap();
    assert_eq!(
        (transferred.by, transferred.to.as_str()),
        (Released::Callee, "alice")
    );
}

#[test]
fn an_invite_with_replaces_that_fits_nothing_gets_its_status() {
    let mut world = talking();
    let good = world.b.dialog_ids(0);
    let other = good.replace("from-tag=", "from-tag=x");
    for (replaces, offer, status) in [
        ("x;to-tag=1;from-tag=2", true, "481 INVITE"),
        (other.as_str(), true, "481 INVITE"),
        ("x;to-tag=1", true, "400 INVITE"),
        (&format!("{good};early-only"), true, "486 INVITE"),
        (&good, false, "488 INVITE"),
    ] {
        pick_up(&mut world, replaces, offer);
        assert_eq!(world.b2.log.last().unwrap(), status, "{replaces}");
    }
    assert_hear(&world, &world.a, &world.b);
    // A dialog that is ending: declined.
    world.deaf.push(A.parse().unwrap());
    world.b.bye(world.now);
    world.run_ms(50);
    pick_up(&mut world, &good, true);
    assert_eq!(world.b2.log.last().unwrap(), "603 INVITE");
    world.deaf.clear();
    world.finish();

    let mut world = talking_with(
        policies(TransferPolicy::Refuse, TransferPolicy::Refuse),
        Conditions::PERFECT,
        1,
    );
    let good = world.b.dialog_ids(0);
    pick_up(&mut world, &good, true);
    assert_eq!(world.b2.log.last().unwrap(), "403 INVITE");
    world.a.bye(world.now);
    world.finish();
}

/// In pass mode the other party decides, and learns nothing of where the transferor is.
#[test]
fn a_refer_that_is_passed_on_is_the_other_partys_to_answer() {
    let mut world = talking_with(
        policies(TransferPolicy::Pass, TransferPolicy::Pass),
        Conditions::PERFECT,
        1,
    );
    world.a.refer(world.now, "<sip:2000@10.1.0.1>", None);
    world.run_ms(50);
    assert!(logged(&world.a, "200 REFER"), "{:?}", world.a.log);
    let refer = world.b.referred.clone().unwrap();
    assert_eq!(
        refer.header(HeaderName::ReferTo),
        Some("<sip:2000@198.51.100.1:5060>")
    );
    assert_eq!(
        refer.header(HeaderName::ReferredBy),
        Some("<sip:alice@198.51.100.1:5060>")
    );
    let body = "SIP/2.0 180 Ringing\r\nContact: <sip:x@10.2.0.9>\r\n";
    world.b.extra_field = Some(("Event", "refer"));
    world.b.in_dialog(world.now, "NOTIFY", Some(body));
    world.run_ms(50);
    assert_eq!(fragments(&world.a), ["SIP/2.0 180 Ringing"]);
    assert!(logged(&world.b, "200 NOTIFY"));
    // RFC 6665 §4.1.3: with the last word the subscription is over.
    world.b.extra_fields = vec![("Subscription-State", "terminated;reason=noresource")];
    for status in ["200 NOTIFY", "481 NOTIFY"] {
        world.b.in_dialog(world.now, "NOTIFY", Some("SIP/2.0 200 OK\r\n"));
        world.run_ms(50);
        assert_eq!(world.b.log.last().unwrap(), status);
    }
    world.b.extra_fields.clear();
    assert_eq!(world.a.notified.len(), 2);
    // Nobody has asked the caller for anything.
    world.a.extra_field = Some(("Event", "refer"));
    world.a.in_dialog(world.now, "NOTIFY", None);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "481 NOTIFY");
    world.a.extra_field = None;
    world.a.bye(world.now);
    world.finish();
}

/// RFC 3515 §2.4.4, RFC 4488: no NOTIFY passes for a REFER that was refused, that wanted none, or whose time is over; another
/// word in `Refer-Sub` is nobody's business.
#[test]
fn a_subscription_of_a_refer_that_was_passed_on_ends() {
    let policies = policies(TransferPolicy::Pass, TransferPolicy::Pass);
    let mut world = talking_with(policies, Conditions::PERFECT, 1);
    let notify = |world: &mut World, state: &'static str| {
        world.b.extra_fields = vec![("Event", "refer"), ("Subscription-State", state)];
        world
            .b
            .in_dialog(world.now, "NOTIFY", Some("SIP/2.0 100 Trying\r\n"));
        world.b.extra_fields.clear();
        world.run_ms(50);
        world.b.log.last().unwrap().clone()
    };
    world.b.manner = Manner::Reject(603);
    world.a.refer(world.now, TO_B2, None);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "603 REFER");
    assert_eq!(notify(&mut world, "active"), "481 NOTIFY");

    world.b.manner = Manner::Accept;
    world.a.refer(world.now, TO_B2, Some(("Refer-Sub", "false;x=y")));
    world.run_ms(50);
    let told = world.b.referred.clone().unwrap();
    assert_eq!(told.header(HeaderName::ReferSub), Some("false"));
    assert_eq!(notify(&mut world, "active"), "481 NOTIFY");

    world.a.refer(world.now, TO_B2, Some(("Refer-Sub", "perhaps")));
    world.run_ms(50);
    let told = world.b.referred.clone().unwrap();
    assert!(!told.has(HeaderName::ReferSub));
    assert_eq!(notify(&mut world, "active;expires=30"), "200 NOTIFY");
    world.run_ms(29_000);
    assert_eq!(notify(&mut world, "active;expires=10"), "200 NOTIFY");
    world.run_ms(11_000);
    assert_eq!(notify(&mut world, "active"), "481 NOTIFY");
    world.a.bye(world.now);
    world.finish();
}

/// `Replaces` in a REFER that is passed on has the ids of the leg at the target.
#[test]
fn ids_are_mapped_across_the_legs() {
    let mut world = talking_with(
        policies(TransferPolicy::Pass, TransferPolicy::Pass),
        Conditions::PERFECT,
        1,
    );
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("2000")
        .body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    let to = format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1));
    world.a.refer(world.now, &to, None);
    world.run_ms(50);
    let refer = world.b.referred.clone().unwrap();
    let id = world.b2.talks[0].dialog.id();
    let expected = format!(
        "Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
        id.call_id,
        id.local_tag,
        id.remote_tag.as_deref().unwrap_or("")
    );
    let told = refer.header(HeaderName::ReferTo).unwrap();
    assert!(told.ends_with(&expected), "{told} has not {expected}");
    // The party that was referred does as it was told.
    let offer = world.b.body();
    let replaces = format!(
        "{};to-tag={};from-tag={}",
        id.call_id,
        id.local_tag,
        id.remote_tag.as_deref().unwrap_or("")
    );
    let builder = world
        .b
        .invite_builder("2000")
        .header(HeaderName::Replaces, replaces)
        .body("application/sdp", offer.as_bytes());
    world.b.send_invite(world.now, builder);
    world.run_ms(300);
    assert!(logged(&world.b, "200 INVITE"), "{:?}", world.b.log);
    assert_hear(&world, &world.b, &world.b2);
    world.a.bye(world.now);
    world.run_ms(100);
    world.b2.bye(world.now);
    world.finish();
}

fn only_call(world: &World) -> CallId {
    world.node.calls.keys().next().unwrap().clone()
}

#[test]
fn an_operator_can_transfer_a_call() {
    let mut world = talking();
    let call = only_call(&world);
    let told = world
        .b2bua
        .transfer(world.now, &call, Party::Callee, "sip:2000@x")
        .unwrap();
    assert_eq!(told.progress, Progress::Answered);
    let again = world
        .b2bua
        .transfer(world.now, &call, Party::Callee, "sip:2000@x");
    assert_eq!(again.unwrap_err(), TransferError::Busy);
    world.run_ms(50);
    world.b2.answer_as(world.now, "t");
    world.run_ms(100);
    assert_hear(&world, &world.a, &world.b2);
    assert!(logged(&world.b, "BYE") && world.b.notified.is_empty());
    for (target, error) in [
        ("2000", TransferError::BadTarget),
        ("sips:2000@x", TransferError::BadTarget),
        ("sip:3000@x", TransferError::NoRoute),
    ] {
        let result = world.b2bua.transfer(world.now, &call, Party::Caller, target);
        assert_eq!(result.unwrap_err(), error, "{target}");
    }
    let unknown = CallId::new("nobody").unwrap();
    let result = world
        .b2bua
        .transfer(world.now, &unknown, Party::Caller, "sip:2000@x");
    assert_eq!(result.unwrap_err(), TransferError::UnknownCall);
    world.a.bye(world.now);
    world.finish();
}

/// Whatever is lost, doubled and out of order, and whoever hangs up when: nothing is left, and nobody hangs.
#[test]
fn transfers_end_well_under_loss() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..150).collect::<Vec<u64>>(),
    };
    let mut completed = 0;
    for seed in seeds {
        let story = std::panic::catch_unwind(|| one_story(seed));
        completed += story.unwrap_or_else(|panic| {
            eprintln!("SEED={seed}");
            std::panic::resume_unwind(panic)
        });
    }
    assert!(
        completed > 40 || std::env::var("SEED").is_ok(),
        "{completed} transfers came to their end"
    );
}

fn one_story(seed: u64) -> u64 {
    let conditions = Conditions {
        loss_permille: 100,
        duplication_permille: 100,
        ..Conditions::PERFECT
    };
    let mut random = Random::from_number(seed);
    let mut world = talking_with(local(), conditions, seed);
    world.run_ms(2_000);
    let is_attended = random.below(2) == 0;
    if is_attended && world.a.is_talking() {
        let body = world.a.body();
        let builder = world
            .a
            .invite_builder("2000")
            .body("application/sdp", body.as_bytes());
        world.a.send_invite(world.now, builder);
        world.run_ms(2_500);
        world.b2.answer_as(world.now, "b2");
        world.run_ms(2_500);
    }
    let to = match is_attended && world.a.talks.len() > 1 {
        true => format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1)),
        false => TO_B2.to_owned(),
    };
    world.a.refer(world.now, &to, None);
    for _ in 0..12 {
        match random.below(12) {
            0 => world.b2.respond(world.now, 180, "t", None),
            1..5 if world.b2.incoming.is_some() => world.b2.answer_as(world.now, "t"),
            5 if random.below(4) == 0 => world.b2.respond(world.now, 486, "t", None),
            6 => world.b.reinvite(world.now, "sendonly", true),
            7 if random.below(2) == 0 => world.a.bye_if_acknowledged(world.now),
            8 if random.below(4) == 0 => world.b.bye_if_acknowledged(world.now),
            9 if random.below(4) == 0 => world.b2.bye_if_acknowledged(world.now),
            _ => {}
        }
        world.run_ms(random.below(1_500));
    }
    world.run_ms(40_000);
    for ua in [0, 1, 2] {
        for _ in 0..3 {
            let ua = match ua {
                0 => &mut world.a,
                1 => &mut world.b,
                _ => &mut world.b2,
            };
            ua.bye(world.now);
        }
    }
    world.finish();
    let invites = world
        .sent
        .iter()
        .filter(|sent| sent.bytes.starts_with(b"INVITE "));
    assert!(invites.count() < 200, "we ask and ask");
    world.b2bua.counters().transfers_completed
}

#[test]
fn every_message_of_ours_within_a_transfer_has_its_method_allowed() {
    let mut world = talking();
    world.b.refer(world.now, TO_B2, None);
    world.run_ms(50);
    let allow = world
        .b2
        .last_invite
        .as_ref()
        .unwrap()
        .header(HeaderName::Allow)
        .unwrap();
    assert!(allow.contains("REFER"));
    assert_eq!(
        world.b2.last_invite.as_ref().unwrap().method(),
        Some(Method::Invite)
    );
    world.a.bye(world.now);
    world.finish();
}
