//! A user's contacts, called at once and one after the other (RFC 3261 §16.6 and §16.7).

use std::net::SocketAddr;

use call::Stage;
use media_types::LegSpec;
use sans_io::Random;
use sans_io::network::Conditions;
use sip::HeaderName;

use crate::random::number;
use crate::ua::sdp;
use crate::world::{B, B2, B3, World, contact};

/// Two phones of one preference, and a third that comes after them.
fn phones() -> World {
    let contacts = [contact(B, 0, 0), contact(B2, 0, 1), contact(B3, 1, 2)];
    World::with_contacts(&contacts, Conditions::PERFECT, 1)
}

fn two_phones() -> World {
    let mut world = phones();
    world.contacts.pop();
    world
}

fn called(mut world: World) -> World {
    world.a.invite(world.now, true);
    world.run_ms(20);
    world
}

const ELSEWHERE: &str = "CANCEL SIP;cause=200;text=\"Call completed elsewhere\"";

fn callee(world: &World) -> &LegSpec {
    &world.node.calls.values().next().unwrap()[1]
}

fn remote(world: &World) -> Option<SocketAddr> {
    callee(world).lines[0].remote
}

#[test]
fn contacts_of_one_preference_ring_at_once_and_the_first_answer_wins() {
    let mut world = called(phones());
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let first = world.a.early_tag.clone();
    world.b2.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let second = world.a.early_tag.clone();
    assert_ne!(first, second, "each has an early dialog of its own");
    assert!(world.b3.log.is_empty());
    world.b2.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["180 INVITE", "180 INVITE", "200 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", ELSEWHERE]);
    assert_eq!(world.b2.log, ["INVITE", "ACK"]);
    assert_eq!(
        world.a.talks[0].dialog.id().remote_tag.as_deref(),
        second.as_deref()
    );
    assert_eq!(remote(&world), Some("10.2.0.2:4000".parse().unwrap()));
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.b2.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(world.ended().next_hop, Some(B2.parse().unwrap()));
    let call_id = world.b2.talks[0].dialog.id().call_id.clone();
    assert_eq!(world.ended().callee_call_id.as_deref(), Some(&*call_id));
}

#[test]
fn a_second_answer_is_acknowledged_and_hung_up_on() {
    let mut world = called(two_phones());
    world.b.answer(world.now);
    world.b2.answer(world.now);
    world.run_ms(200);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert!(world.b.is_talking() != world.b2.is_talking());
    assert_eq!(world.b2bua.counters().forks_dismissed, 1);
    world.a.bye(world.now);
    world.finish();
}

/// RFC 5359 §2.11, "Find-Me".
#[test]
fn find_me() {
    let mut world = called(phones());
    world.b.respond(world.now, 180, "b1", None);
    world.b2.respond(world.now, 180, "b1", None);
    world.run_ms(19_900);
    assert!(world.b3.log.is_empty());
    world.run_ms(200);
    assert_eq!(world.b.log, ["INVITE", "CANCEL"]);
    assert_eq!(world.b2.log, ["INVITE", "CANCEL"]);
    assert_eq!(world.b3.log, ["INVITE"]);
    world.b3.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    world.b3.bye(world.now);
    world.finish();
    assert_eq!(world.ended().next_hop, Some(B3.parse().unwrap()));
}

/// RFC 5359 §2.8, "Call Forwarding - Busy", and RFC 3665 §3.9: one after the other by their answers.
#[test]
fn call_forwarding_busy() {
    let mut world = called(phones());
    world.b.respond(world.now, 486, "b1", None);
    world.run_ms(20);
    assert!(world.b3.log.is_empty(), "one is still asked");
    world.b2.respond(world.now, 404, "b1", None);
    world.run_ms(20);
    assert_eq!(world.b3.log, ["INVITE"]);
    world.b3.answer(world.now);
    world.run_ms(100);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.a.log, ["200 INVITE", "200 BYE"]);
}

/// RFC 5359 §2.9, "Call Forwarding - No Answer": nobody answers at all.
#[test]
fn nobody_answers() {
    let mut world = called(phones());
    world.b.respond(world.now, 180, "b1", None);
    world.b2.respond(world.now, 180, "b1", None);
    world.run_ms(20_100);
    world.b3.respond(world.now, 180, "b1", None);
    world.finish();
    assert_eq!(world.a.log.last().unwrap(), "480 INVITE");
    assert_eq!(
        world.b3.log[0..2],
        [
            "INVITE",
            "CANCEL Q.850;cause=18;text=\"No answer from the callee\""
        ][..]
    );
}

#[test]
fn the_best_failure_is_the_callers() {
    for (answers, best, of) in [
        ([486, 404, 480], 486, B),
        ([404, 486, 503], 486, B2),
        ([503, 408, 500], 408, B2),
        ([404, 480, 480], 404, B),
        ([500, 503, 488], 488, B3),
        ([401, 407, 487], 487, B3),
        // Not even a challenge that we have no answer to is passed on.
        ([401, 407, 401], 502, B),
    ] {
        let mut world = called(phones());
        world.b.respond(world.now, answers[0], "b1", None);
        world.run_ms(20);
        world.b2.respond(world.now, answers[1], "b1", None);
        world.run_ms(20);
        world.b3.respond(world.now, answers[2], "b1", None);
        world.finish();
        assert_eq!(world.a.log, [format!("{best} INVITE")], "{answers:?}");
        assert_eq!(world.ended().next_hop, Some(of.parse().unwrap()), "{answers:?}");
    }
}

#[test]
fn a_decline_is_for_all_contacts_at_once() {
    let mut world = called(phones());
    world.b2.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.b.respond(world.now, 603, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "603 INVITE"]);
    assert_eq!(world.b2.log[1..], ["CANCEL Q.850;cause=21;text=\"Decline\""]);
    assert!(world.b3.log.is_empty());
}

#[test]
fn a_silent_contact_does_not_hold_up_the_others() {
    let mut world = phones();
    world.deaf.push(B.parse().unwrap());
    let mut world = called(world);
    world.b2.respond(world.now, 180, "b1", None);
    world.run_ms(10_000);
    world.b2.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["180 INVITE", "200 INVITE"]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn silent_contacts_are_left_for_the_next() {
    let mut world = phones();
    world
        .deaf
        .extend([B.parse::<SocketAddr>().unwrap(), B2.parse().unwrap()]);
    let mut world = called(world);
    world.run_ms(4_100);
    assert_eq!(world.b3.log, ["INVITE"]);
    world.b3.respond(world.now, 486, "b1", None);
    world.finish();
    assert_eq!(
        world.a.log,
        ["486 INVITE"],
        "which says more than that nobody was there"
    );
}

/// RFC 5626 §6: flows to one device are tried in turn, never at once.
#[test]
fn a_device_is_called_by_one_flow_at_a_time() {
    for status in [430, 503] {
        let contacts = [contact(B, 0, 0), contact(B2, 0, 0), contact(B3, 0, 1)];
        let mut world = called(World::with_contacts(&contacts, Conditions::PERFECT, 1));
        assert_eq!(
            (&*world.b2.log, &*world.b3.log),
            (&[][..], &["INVITE".to_owned()][..])
        );
        world.b3.respond(world.now, 180, "b1", None);
        world.b.respond(world.now, status, "b1", None);
        world.run_ms(20);
        assert_eq!(world.b2.log, ["INVITE"]);
        world.b2.answer(world.now);
        world.run_ms(100);
        assert_eq!(world.b3.log, ["INVITE", ELSEWHERE]);
        world.a.bye(world.now);
        world.finish();
    }
}

#[test]
fn a_silent_flow_is_left_for_another_of_the_device() {
    let contacts = [contact(B, 0, 0), contact(B2, 0, 0), contact(B3, 0, 1)];
    let mut world = World::with_contacts(&contacts, Conditions::PERFECT, 1);
    world.deaf.push(B.parse().unwrap());
    let mut world = called(world);
    world.b3.respond(world.now, 180, "b1", None);
    world.run_ms(4_100);
    assert_eq!(world.b2.log, ["INVITE"]);
    assert_eq!(world.b3.log, ["INVITE"]);
    world.b2.respond(world.now, 486, "b1", None);
    world.run_ms(20);
    world.b3.answer(world.now);
    world.run_ms(100);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_cancel_reaches_everybody() {
    let mut world = called(two_phones());
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.a.cancel(world.now);
    world.run_ms(20);
    // Its 100 has come from the layer, nothing else has: it is cancelled all the same.
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "487 INVITE"]);
    assert!(world.b.log[1].starts_with("CANCEL"), "{:?}", world.b.log);
    assert!(world.b2.log[1].starts_with("CANCEL"), "{:?}", world.b2.log);
}

/// RFC 6228: for those who want to know, and while the call goes on.
#[test]
fn a_caller_is_told_of_an_early_dialog_that_is_over() {
    for knows in [true, false] {
        let mut world = two_phones();
        let body = world.a.body();
        let mut builder = world.a.invite_builder("1000");
        if knows {
            builder = builder.header(HeaderName::Supported, "199");
        }
        world
            .a
            .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
        world.run_ms(20);
        world.b.respond(world.now, 180, "b1", None);
        world.run_ms(20);
        let first = world.a.early_tag.clone();
        world.b.respond(world.now, 486, "b1", None);
        world.run_ms(20);
        assert_eq!(world.a.log.contains(&"199 INVITE".to_owned()), knows);
        assert_eq!(world.a.early_tag, first);
        world.b2.answer(world.now);
        world.run_ms(50);
        world.a.bye(world.now);
        world.finish();
    }
}

#[test]
fn early_media_is_the_first_one_heard_until_it_is_over() {
    let mut world = called(two_phones());
    let (of_b, of_b2) = (world.b.body(), world.b2.body());
    world.b.respond(world.now, 183, "b1", Some(&of_b));
    world.run_ms(20);
    world.b2.respond(world.now, 183, "b1", Some(&of_b2));
    world.run_ms(20);
    assert_eq!(world.a.log, ["183 INVITE", "183 INVITE"]);
    assert_eq!(remote(&world), Some("10.2.0.1:4000".parse().unwrap()));
    world.b.respond(world.now, 480, "b1", None);
    world.run_ms(20);
    assert_eq!(remote(&world), Some("10.2.0.2:4000".parse().unwrap()));
    assert!(callee(&world).lines[0].relearn);
    world.b2.respond(world.now, 200, "b1", None);
    world.b2.incoming = None;
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    assert_eq!(remote(&world), Some("10.2.0.2:4000".parse().unwrap()));
    world.a.bye(world.now);
    world.finish();
}

/// Two phones behind their NATs that both say 192.168.0.2: what the node has learned of the one is not true of the other.
#[test]
fn the_source_is_learned_anew_when_another_one_answers_from_the_same_address() {
    let mut world = called(two_phones());
    let body = sdp("192.168.0.2", 1, "sendrecv");
    world.b.respond(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    assert!(!callee(&world).lines[0].relearn);
    let updates = world.node.updates;
    world.b2.respond(world.now, 200, "b1", Some(&body));
    world.b2.incoming = None;
    world.run_ms(100);
    assert_eq!(world.node.updates, updates + 1);
    assert!(callee(&world).lines[0].relearn);
    assert!(!world.node.calls.values().next().unwrap()[0].lines[0].relearn);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_offer_that_comes_with_the_answer_is_the_winners() {
    let mut world = two_phones();
    world.a.invite(world.now, false);
    world.run_ms(20);
    world.b2.answer(world.now);
    world.b.answer(world.now);
    world.run_ms(200);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert!(world.b.is_talking() != world.b2.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_contact_that_wants_a_longer_session_gets_it_beside_the_others() {
    let mut world = called(two_phones());
    world.b.response_field = Some(("Min-SE", "4000"));
    world.b.respond(world.now, 422, "b1", None);
    world.b2.response_field = Some(("Min-SE", "3000"));
    world.b2.respond(world.now, 422, "b1", None);
    world.run_ms(20);
    assert_eq!(
        (world.b.log.len(), world.b2.log.len()),
        (2, 2),
        "the INVITE again"
    );
    world.b.response_field = None;
    world.b2.answer(world.now);
    world.run_ms(100);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.a.log, ["200 INVITE", "200 BYE"]);
}

/// Reliable answers in two early dialogs, and a new offer in each of them (RFC 3262, RFC 3311, RFC 6337 §2.2).
#[test]
fn early_dialogs_of_two_contacts_have_their_own_pracks_and_updates() {
    for winner in 0..2 {
        let mut world = two_phones();
        let body = world.a.body();
        let builder = world
            .a
            .invite_builder("1000")
            .header(HeaderName::Supported, "100rel")
            .body("application/sdp", body.as_bytes());
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        let (of_b, of_b2) = (world.b.body(), world.b2.body());
        world.b.respond_reliably(world.now, 183, "b1", Some(&of_b));
        world.run_ms(20);
        world.b2.respond_reliably(world.now, 183, "b1", Some(&of_b2));
        world.run_ms(20);
        assert_eq!(world.b.log, ["INVITE", "PRACK"]);
        assert_eq!(world.b2.log, ["INVITE", "PRACK"]);
        assert_eq!(
            world.a.log,
            ["183 INVITE", "200 PRACK", "183 INVITE", "200 PRACK"]
        );
        world.a.direction = "recvonly";
        for ua in 0..2 {
            let ua = [&mut world.b, &mut world.b2][ua].address;
            let phone = [&mut world.b, &mut world.b2]
                .into_iter()
                .find(|it| it.address == ua)
                .unwrap();
            phone.direction = "sendonly";
            let body = phone.body();
            phone.update_early(world.now, Some(&body));
            world.run_ms(20);
            assert_eq!(
                remote(&world).unwrap().ip(),
                ua.ip(),
                "the latest exchange is what is relayed"
            );
        }
        assert_eq!(world.b.log.last().unwrap(), "200 UPDATE");
        assert_eq!(world.b2.log.last().unwrap(), "200 UPDATE");
        let (winning, losing) = match winner {
            0 => (&mut world.b, B),
            _ => (&mut world.b2, B2),
        };
        winning.answer(world.now);
        world.run_ms(50);
        assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
        assert_eq!(
            remote(&world).unwrap().ip(),
            losing.parse::<SocketAddr>().unwrap().ip()
        );
        let direction = callee(&world).lines[0].direction;
        assert_eq!(
            direction,
            media_types::Direction::SendOnly,
            "what the UPDATE agreed on"
        );
        world.a.bye(world.now);
        world.finish();
        assert_eq!(world.ended().next_hop, Some(losing.parse().unwrap()));
    }
}

/// A story of three phones over a bad network.
fn story(seed: u64) -> World {
    let mut random = Random::from_number(seed);
    let conditions = match random.below(3) {
        0 => Conditions::PERFECT,
        _ => Conditions {
            loss_permille: random.below(150),
            duplication_permille: random.below(100),
            delay_min: std::time::Duration::from_millis(1),
            delay_max: std::time::Duration::from_millis(1 + random.below(80)),
        },
    };
    let mut rank = 0;
    let mut contacts = Vec::new();
    for (device, address) in [B, B2, B3].into_iter().enumerate() {
        rank += u32::try_from(random.below(2)).unwrap();
        // Sometimes another way to the device before.
        let device = device.saturating_sub(usize::from(random.chance_permille(200)));
        contacts.push(contact(address, rank, u32::try_from(device).unwrap()));
    }
    let mut world = World::with_contacts(&contacts, conditions, seed);
    world.node.delay = std::time::Duration::from_millis(random.below(60));
    if random.chance_permille(200) {
        world.deaf.push(B.parse().unwrap());
    }
    let is_reliable = random.chance_permille(300);
    let body = world.a.body();
    let mut builder = world.a.invite_builder("1000");
    if is_reliable {
        builder = builder.header(HeaderName::Supported, "100rel, 199");
    }
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    for _ in 0..random.below(16) {
        let longest = if random.chance_permille(800) { 300 } else { 9_000 };
        world.run_ms(random.below(longest));
        let now = world.now;
        let chosen = random.below(3);
        let deed = random.below(12);
        if deed == 11 {
            world.a.cancel(now);
            continue;
        }
        let phone = match chosen {
            0 => &mut world.b,
            1 => &mut world.b2,
            _ => &mut world.b3,
        };
        let answered = phone
            .incoming
            .as_ref()
            .is_some_and(|(key, ..)| phone.has_answered(*key));
        let body = phone.body();
        match deed {
            0..=2 => phone.respond(now, 180, "b1", None),
            3 => phone.respond(now, 183, "b2", Some(&body)),
            4 if is_reliable && phone.incoming.is_some() => {
                phone.respond_reliably(now, 183, "b1", Some(&body));
            }
            5 if !answered => phone.respond(now, 486, "b1", None),
            6 if !answered => phone.respond(now, 503, "b1", None),
            7 if !answered && random.chance_permille(300) => phone.respond(now, 603, "b1", None),
            8 if phone.incoming.is_some() => phone.update_early(now, Some(&body)),
            9 | 10 => phone.answer(now),
            _ => {}
        }
    }
    for _ in 0..4 {
        world.a.cancel(world.now);
        world.a.bye(world.now);
        world.run_ms(random.below(500));
        world.b.bye_if_acknowledged(world.now);
        world.b2.bye_if_acknowledged(world.now);
        world.b3.bye_if_acknowledged(world.now);
        world.run_ms(40_000);
    }
    world
}

#[test]
fn nothing_is_left_after_any_story_of_three_phones() {
    const STORIES: u64 = 300;
    let given = number("SEED");
    let stories = number("STORIES").unwrap_or(STORIES);
    let mut answered = 0;
    for seed in given.map_or(0..stories, |seed| seed..seed + 1) {
        let told = std::panic::catch_unwind(|| {
            let mut world = story(seed);
            world.finish();
            world
                .records
                .iter()
                .filter(|cdr| cdr.stage == Stage::Answered)
                .count() as u64
        });
        match told {
            Ok(count) => answered += count,
            Err(fault) => {
                eprintln!("the story of SEED={seed} went wrong");
                std::panic::resume_unwind(fault);
            }
        }
    }
    assert!(
        given.is_some() || answered > stories / 5,
        "only {answered} calls were answered"
    );
}

#[test]
fn a_phone_that_is_invited_anew_leaves_the_others_their_early_media() {
    let mut world = called(two_phones());
    world.b.response_field = Some(("Min-SE", "3600"));
    world.b.respond(world.now, 422, "b1", None);
    world.b.response_field = None;
    world.run_ms(20);
    let body = world.b2.body();
    world.b2.respond(world.now, 183, "b2", Some(&body));
    world.run_ms(20);
    assert!(
        world.a.last_body.contains("m=audio"),
        "no early media: {:?}",
        world.a.log
    );
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    assert_eq!(world.a.log, ["183 INVITE", "200 INVITE"]);
    world.a.bye(world.now);
    world.finish();
}
