//! Reliable provisional responses (RFC 3262), with parties that know them and parties that don't.

use std::time::Duration;

use sans_io::network::Conditions;
use sans_io::{Random, Timestamp};
use sip::HeaderName;

use crate::node::Mood;
use crate::random::number;
use crate::ua::Manner;
use crate::world::{B, B2, World, config};

/// The caller's INVITE, with this in `Supported` or `Require`, has arrived at the callee.
fn invited(name: HeaderName) -> World {
    let mut world = World::new();
    invite(&mut world, Some(name));
    world.run_ms(20);
    assert!(world.b.incoming.is_some());
    world
}

fn invite(world: &mut World, name: Option<HeaderName>) {
    let body = world.a.body();
    let builder = world.a.invite_builder("1000");
    let builder = match name {
        Some(name) => builder.header(name, "100rel"),
        None => builder,
    };
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
}

fn progress(world: &mut World) {
    let body = world.b.body();
    world.b.respond_reliably(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
}

fn hang_up(mut world: World) {
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn both_sides_know_100rel() {
    let mut world = invited(HeaderName::Supported);
    assert!(
        world
            .b
            .last_invite
            .as_ref()
            .unwrap()
            .has_token(HeaderName::Supported, "100rel")
    );
    progress(&mut world);
    assert_eq!(world.b.log, ["INVITE", "PRACK"]);
    assert_eq!(world.a.log, ["183 INVITE", "200 PRACK"]);
    world.b.respond_reliably(world.now, 180, "b1", None);
    world.run_ms(20);
    assert_eq!(world.a.rseqs[1], world.a.rseqs[0] + 1, "RSeq rises by one");
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(
        world.a.log,
        ["183 INVITE", "200 PRACK", "180 INVITE", "200 PRACK", "200 INVITE"]
    );
    assert_eq!(world.b.log, ["INVITE", "PRACK", "PRACK", "ACK"]);
    let described: Vec<bool> = world.a.bodies.iter().map(|(_, body)| !body.is_empty()).collect();
    assert_eq!(described, [true, false, false], "one answer, in the 183");
    // The next request is above the PRACKs in its CSeq, both ways.
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(50);
    world.b.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    assert_eq!(world.a.log[5..], ["200 INVITE", "INVITE", "ACK"]);
    hang_up(world);
}

#[test]
fn a_caller_without_100rel_talks_to_a_callee_with_it() {
    let mut world = World::invited();
    progress(&mut world);
    assert_eq!(world.b.log, ["INVITE", "PRACK"]);
    assert_eq!(world.a.log, ["183 INVITE"]);
    assert!(
        world.a.rseqs.is_empty(),
        "nothing reliable for a caller that does not ask"
    );
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log, ["183 INVITE", "200 INVITE"]);
    assert!(
        world.a.last_body.contains("198.51.100."),
        "the 200 has the answer"
    );
    assert!(!world.a.bodies[1].1.is_empty());
    hang_up(world);
}

#[test]
fn a_caller_that_requires_100rel_talks_to_a_callee_without_it() {
    let mut world = invited(HeaderName::Require);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let body = world.b.body();
    world.b.respond(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    assert_eq!(world.b.log, ["INVITE"], "no PRACK for the callee");
    assert_eq!(
        world.a.log,
        ["180 INVITE", "200 PRACK", "183 INVITE", "200 PRACK"]
    );
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    hang_up(world);
}

#[test]
fn a_lost_prack_makes_the_response_come_again() {
    let mut world = invited(HeaderName::Supported);
    world.a.pracks = false;
    progress(&mut world);
    world.run_ms(7_900);
    let repeated = world.trace.iter().filter(|it| *it == "183 INVITE -> a").count();
    assert_eq!(repeated, 5, "at 0, 0.5, 1.5, 3.5 and 7.5 s");
    assert_eq!(world.a.log, ["183 INVITE"], "repetitions are known as such");
    let rseq = world.a.rseqs[0];
    world.a.prack(world.now, rseq);
    world.run_ms(20_000);
    assert_eq!(world.a.log, ["183 INVITE", "200 PRACK"]);
    world.b.answer(world.now);
    world.run_ms(50);
    hang_up(world);
}

#[test]
fn a_response_without_any_prack_ends_the_call() {
    let mut world = invited(HeaderName::Supported);
    world.a.pracks = false;
    progress(&mut world);
    world.finish();
    assert_eq!(world.a.log, ["183 INVITE", "504 INVITE"]);
    assert_eq!(
        world.b.log[2],
        "CANCEL Q.850;cause=102;text=\"No PRACK for a reliable response\""
    );
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 504);
}

#[test]
fn a_second_prack_and_a_wrong_one_get_481() {
    let mut world = invited(HeaderName::Supported);
    progress(&mut world);
    let rseq = world.a.rseqs[0];
    for wrong in [rseq, rseq + 1] {
        world.a.prack(world.now, wrong);
        world.run_ms(20);
        assert_eq!(world.a.log.last().unwrap(), "481 PRACK");
    }
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    hang_up(world);
}

#[test]
fn a_2xx_waits_for_the_prack_of_the_answer() {
    let mut world = invited(HeaderName::Supported);
    world.a.pracks = false;
    progress(&mut world);
    world.b.answer(world.now);
    world.run_ms(300);
    assert_eq!(
        world.b.log,
        ["INVITE", "PRACK", "ACK"],
        "the callee is not kept waiting"
    );
    assert_eq!(world.a.log, ["183 INVITE"]);
    let rseq = world.a.rseqs[0];
    world.a.prack(world.now, rseq);
    world.run_ms(20);
    assert_eq!(world.a.log[1..], ["200 PRACK", "200 INVITE"]);
    hang_up(world);
}

#[test]
fn a_2xx_that_waits_in_vain_ends_both_legs() {
    let mut world = invited(HeaderName::Supported);
    world.a.pracks = false;
    progress(&mut world);
    world.b.answer(world.now);
    world.finish();
    assert_eq!(world.a.log, ["183 INVITE", "504 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "PRACK", "ACK", "BYE"]);
}

#[test]
fn a_caller_may_cancel_while_the_2xx_waits() {
    let mut world = invited(HeaderName::Supported);
    world.a.pracks = false;
    progress(&mut world);
    world.b.answer(world.now);
    world.run_ms(300);
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.a.log, ["183 INVITE", "487 INVITE"]);
    assert_eq!(world.b.log.last().unwrap(), "BYE");
}

#[test]
fn a_2xx_does_not_wait_for_a_ringing_without_description() {
    let mut world = invited(HeaderName::Supported);
    world.a.pracks = false;
    world.b.respond_reliably(world.now, 180, "b1", None);
    world.run_ms(20);
    world.b.answer(world.now);
    world.a.acknowledges = false;
    world.run_ms(50);
    assert_eq!(world.a.log, ["180 INVITE", "200 INVITE"]);
    // Its PRACK crossed the 2xx, and is known all the same (RFC 3262 §3).
    let rseq = world.a.rseqs[0];
    world.a.talk_pracks(world.now, rseq);
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "200 PRACK");
    world.a.acknowledge();
    world.a.acknowledges = true;
    world.run_ms(20);
    hang_up(world);
}

#[test]
fn responses_out_of_order_are_not_taken() {
    let mut world = invited(HeaderName::Supported);
    progress(&mut world);
    let last = world.tape.iter().rev().find_map(|(from, bytes)| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.starts_with("SIP/2.0 183").then_some((*from, text))
    });
    let (from, text) = last.unwrap();
    let rseq: u32 = text
        .lines()
        .find_map(|line| line.strip_prefix("RSeq: "))
        .unwrap()
        .parse()
        .unwrap();
    let ahead = text.replace(&format!("RSeq: {rseq}"), &format!("RSeq: {}", rseq + 2));
    for again in [text, ahead] {
        world.inject(&from.to_string(), again);
        world.run_ms(20);
    }
    assert_eq!(world.b.log, ["INVITE", "PRACK"], "one PRACK");
    assert_eq!(world.a.log, ["183 INVITE", "200 PRACK"]);
    world.b.answer(world.now);
    world.run_ms(50);
    hang_up(world);
}

/// Who brings the offer of a call is the callee.
fn invited_late(world: &mut World, name: Option<HeaderName>) {
    let builder = world.a.invite_builder("1000");
    let builder = match name {
        Some(name) => builder.header(name, "100rel"),
        None => builder,
    };
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
}

fn is_offered_100rel(world: &World) -> bool {
    let invite = world.b.last_invite.as_ref().unwrap();
    invite.has_token(HeaderName::Supported, "100rel")
}

/// RFC 6337, pattern 4: the offer in a reliable response, its answer in the PRACK. The callee's waits for the caller's.
#[test]
fn an_offer_in_a_reliable_response_is_answered_in_the_prack() {
    for name in [HeaderName::Supported, HeaderName::Require] {
        let mut world = World::new();
        invited_late(&mut world, Some(name));
        assert!(is_offered_100rel(&world) && world.b.last_body.is_empty());
        world.a.pracks = false;
        world.b.direction = "sendonly";
        world.a.direction = "recvonly";
        progress(&mut world);
        assert_eq!(
            (world.b.log.len(), world.a.log.as_slice()),
            (1, &["183 INVITE".to_owned()][..])
        );
        assert!(
            world.a.last_body.contains("c=IN IP4 198.51.100.11"),
            "{}",
            world.a.last_body
        );
        // What the callee sends again meanwhile changes nothing.
        world.run_ms(1_200);
        let (rseq, answer) = (world.a.rseqs[0], world.a.body());
        world.a.prack_with(world.now, rseq, Some(&answer));
        world.run_ms(50);
        assert_eq!(world.b.log, ["INVITE", "PRACK"]);
        assert!(world.b.last_body.contains("a=recvonly"), "{}", world.b.last_body);
        assert!(
            world.b.last_body.contains("c=IN IP4 198.51.100.12"),
            "{}",
            world.b.last_body
        );
        assert_eq!(world.a.log[1..], ["200 PRACK"]);
        let remotes = |world: &World| {
            let legs = world.node.calls.values().next().unwrap();
            [0, 1].map(|leg: usize| legs[leg].lines[0].remote.map(|it| it.ip().to_string()))
        };
        let both = [Some("10.1.0.1".to_owned()), Some("10.2.0.1".to_owned())];
        assert_eq!(remotes(&world), both, "early media flows");
        // The order of offers goes on: an UPDATE of either, and what the 200 leaves out.
        let body = world.b.body();
        world.b.update_early(world.now, Some(&body));
        world.run_ms(50);
        assert_eq!(world.b.log.last().unwrap(), "200 UPDATE");
        world.a.pracks = true;
        world.b.respond_reliably(world.now, 180, "b1", None);
        world.run_ms(20);
        world.b.answer(world.now);
        world.run_ms(50);
        assert_eq!(world.a.bodies.last().unwrap(), &(200, String::new()));
        assert_eq!(remotes(&world), both);
        assert_eq!(world.node.creates, 1);
        world.a.reinvite(world.now, "sendrecv", true);
        world.run_ms(50);
        assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
        world.b.reinvite(world.now, "sendrecv", true);
        world.run_ms(50);
        assert_eq!(world.b.log.last().unwrap(), "200 INVITE");
        hang_up(world);
    }
}

/// A callee that answers the INVITE before its offer has its PRACK, which RFC 3262 §3 forbids: the call comes about all the same.
#[test]
fn a_2xx_before_the_answer_to_an_early_offer_waits_for_it() {
    let mut world = World::new();
    invited_late(&mut world, Some(HeaderName::Supported));
    world.a.pracks = false;
    progress(&mut world);
    world.b.answer(world.now);
    world.run_ms(100);
    assert!(
        !world.a.log.contains(&"200 INVITE".to_owned()),
        "{:?}",
        world.a.log
    );
    let (rseq, answer) = (world.a.rseqs[0], world.a.body());
    world.a.prack_with(world.now, rseq, Some(&answer));
    world.run_ms(2_000);
    assert!(
        world.a.log.contains(&"200 INVITE".to_owned()),
        "{:?}",
        world.a.log
    );
    assert_eq!(world.b.log[..2], ["INVITE", "PRACK"], "{:?}", world.b.log);
    let logs = [&world.a.log, &world.b.log];
    let is_bye = |it: &String| it.starts_with("BYE");
    assert!(!logs.iter().any(|log| log.iter().any(is_bye)), "{logs:?}");
    assert_eq!(logs[1].iter().filter(|it| *it == "ACK").count(), 1, "{logs:?}");
    hang_up(world);
}

/// Whose offer the caller could not get before the 2xx is not asked for it.
#[test]
fn an_early_offer_is_asked_for_where_it_can_be_answered() {
    let mut world = World::new();
    invited_late(&mut world, None);
    assert!(!is_offered_100rel(&world));
    world.a.cancel(world.now);
    world.finish();

    // Several that could have one each; the caller that demands 100rel gets no response that it could not take.
    let mut world = World::with(config(&[B, B2]), Conditions::PERFECT, 1);
    invited_late(&mut world, Some(HeaderName::Require));
    assert!(!is_offered_100rel(&world));
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    assert!(world.a.log.is_empty());
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log, ["200 INVITE"]);
    hang_up(world);
}

/// Another fork answers, with an offer of its own; or offers before its answer, too, and has no PRACK.
#[test]
fn an_early_offer_of_one_fork_leaves_the_others_theirs() {
    for is_early in [false, true] {
        let mut world = World::new();
        invited_late(&mut world, Some(HeaderName::Supported));
        progress(&mut world);
        assert_eq!(world.b.log, ["INVITE", "PRACK"]);
        let body = world.b.body();
        match is_early {
            false => {
                world.b.respond(world.now, 200, "b2", Some(&body));
                world.b.incoming = None;
            }
            true => {
                world.b.respond_reliably(world.now, 183, "b2", Some(&body));
                world.run_ms(100);
                assert_eq!(world.b.log, ["INVITE", "PRACK"]);
                world.b.answer(world.now);
            }
        }
        world.run_ms(100);
        assert_eq!(world.a.log, ["183 INVITE", "200 PRACK", "200 INVITE"]);
        assert!(world.a.is_talking() && world.b.is_talking());
        assert_eq!(world.node.creates, 1);
        world.b.reinvite(world.now, "sendonly", true);
        world.run_ms(50);
        assert_eq!(world.b.log.last().unwrap(), "200 INVITE");
        hang_up(world);
    }
}

#[test]
fn an_early_offer_without_an_answer_ends_the_call() {
    // No answer in the PRACK: 488. No PRACK at all: 504.
    for is_acknowledged in [true, false] {
        let mut world = World::new();
        invited_late(&mut world, Some(HeaderName::Supported));
        world.a.pracks = false;
        progress(&mut world);
        if is_acknowledged {
            let rseq = world.a.rseqs[0];
            world.a.prack_with(world.now, rseq, None);
        }
        world.run_ms(40_000);
        let status = if is_acknowledged {
            "488 INVITE"
        } else {
            "504 INVITE"
        };
        assert!(world.a.log.iter().any(|it| it == status), "{:?}", world.a.log);
        world.finish();
        assert!(!world.b.log.contains(&"PRACK".to_owned()), "{:?}", world.b.log);
    }
    // An offer of no use; and ports that are not to be had.
    for is_usable in [true, false] {
        let mut world = World::new();
        invited_late(&mut world, Some(HeaderName::Supported));
        world.node.mood = Mood::Full;
        let body = match is_usable {
            true => world.b.body(),
            false => "v=0\r\no=- 1 1 IN IP4 10.2.0.1\r\ns=-\r\nt=0 0\r\n".to_owned(),
        };
        world.b.respond_reliably(world.now, 183, "b1", Some(&body));
        world.run_ms(50);
        let status = if is_usable { "503 INVITE" } else { "502 INVITE" };
        assert_eq!(world.a.log, [status]);
        world.finish();
    }
    // The caller gives up while it has it, and while the node is asked.
    for delay_ms in [0, 500] {
        let mut world = World::new();
        invited_late(&mut world, Some(HeaderName::Supported));
        world.a.pracks = false;
        world.node.delay = Duration::from_millis(delay_ms);
        progress(&mut world);
        world.run_ms(300);
        world.a.cancel(world.now);
        world.finish();
        assert_eq!(world.a.log.last().unwrap(), "487 INVITE");
    }
}

#[test]
fn what_is_required_beside_100rel_is_refused() {
    let mut world = World::new();
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("1000")
        .header(HeaderName::Require, "100rel, precondition");
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(50);
    assert_eq!(world.a.unsupported.as_deref(), Some("precondition"));
    world.finish();
}

/// A call over a network that loses, doubles and reorders a tenth of everything.
fn story(seed: u64) -> World {
    let mut random = Random::from_number(seed);
    let conditions = Conditions {
        loss_permille: 100,
        duplication_permille: 100,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(80),
    };
    let mut world = World::with(config(&[B]), conditions, seed);
    let support = [None, Some(HeaderName::Supported), Some(HeaderName::Require)];
    let support = support[random.below(3) as usize];
    match random.chance_permille(300) {
        true => invited_late(&mut world, support),
        false => invite(&mut world, support),
    }
    let arrived = Timestamp::from_millis(40_000);
    while world.b.incoming.is_none() && world.now < arrived {
        world.run_ms(50);
    }
    for _ in 0..random.below(4) {
        let tag = ["b1", "b2"][random.below(2) as usize];
        match random.below(6) {
            0 => world.b.respond_reliably(world.now, 180, tag, None),
            4 => {
                let body = world.a.body();
                world.a.update_early(world.now, Some(&body));
            }
            5 => {
                let body = world.b.body();
                world.b.update_early(world.now, Some(&body));
            }
            1 => world.b.respond(world.now, 180, tag, None),
            _ => {
                let body = world.b.body();
                world.b.respond_reliably(world.now, 183, tag, Some(&body));
            }
        }
        world.run_ms(random.below(2_000));
    }
    if random.chance_permille(150) {
        world.a.cancel(world.now);
    }
    world
        .b
        .answer_as(world.now, ["b1", "b2"][random.below(2) as usize]);
    // Everything that is repeated has had its time.
    world.run_ms(40_000);
    world
}

#[test]
fn reliable_calls_survive_a_bad_network() {
    const STORIES: u64 = 500;
    let given = number("SEED");
    let seeds = given.map_or(0..number("STORIES").unwrap_or(STORIES), |seed| seed..seed + 1);
    let count = seeds.end - seeds.start;
    let mut talking = 0;
    for seed in seeds {
        let told = std::panic::catch_unwind(|| {
            let mut world = story(seed);
            let both = world.a.is_talking() && world.b.is_talking();
            assert_eq!(world.a.is_talking(), world.b.is_talking(), "the parties disagree");
            for _ in 0..2 {
                world.a.bye(world.now);
                world.run_ms(40_000);
                world.b.bye_if_acknowledged(world.now);
            }
            world.finish();
            both
        });
        match told {
            Ok(both) => talking += u64::from(both),
            Err(fault) => {
                eprintln!("the story of SEED={seed} went wrong");
                std::panic::resume_unwind(fault);
            }
        }
    }
    assert!(
        given.is_some() || talking > count / 2,
        "only {talking} of {count} talk"
    );
}

/// A caller that has yet to acknowledge the answer in a 183, which the callee gave reliably or not.
fn unacknowledged(name: HeaderName, is_reliable: bool) -> World {
    let mut world = invited(name);
    world.a.pracks = false;
    let body = world.b.body();
    match is_reliable {
        true => world.b.respond_reliably(world.now, 183, "b1", Some(&body)),
        false => world.b.respond(world.now, 183, "b1", Some(&body)),
    }
    world.run_ms(20);
    assert_eq!(world.a.log, ["183 INVITE"]);
    world
}

fn prack_with_offer(world: &mut World) {
    let (rseq, offer) = (world.a.rseqs[0], world.a.body());
    world.a.prack_with(world.now, rseq, Some(&offer));
    world.run_ms(50);
}

/// RFC 6337, pattern 5: a new offer in the PRACK, its answer in the 200. To the callee, which has had its PRACK, it is an UPDATE.
#[test]
fn an_offer_in_a_prack_reaches_the_callee() {
    let mut world = unacknowledged(HeaderName::Supported, true);
    (world.a.direction, world.b.direction) = ("sendonly", "recvonly");
    prack_with_offer(&mut world);
    assert_eq!(world.b.log, ["INVITE", "PRACK", "UPDATE"]);
    assert!(world.b.last_body.contains("a=sendonly"), "{}", world.b.last_body);
    assert_eq!(world.a.log, ["183 INVITE", "200 PRACK"]);
    let answered = world
        .sent
        .iter()
        .rev()
        .find(|sent| sent.bytes.starts_with(b"SIP/2.0 200"));
    let answer = String::from_utf8_lossy(&answered.unwrap().bytes).into_owned();
    assert!(
        answer.contains("a=recvonly") && answer.contains("PRACK"),
        "{answer}"
    );
    let legs = world.node.calls.values().next().unwrap();
    assert_eq!(legs[0].lines[0].direction, media_types::Direction::SendOnly);
    world.b.answer(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    // The CSeq goes on, both ways.
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    world.b.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    assert_eq!(world.a.log[3..], ["200 INVITE", "INVITE", "ACK"]);
    hang_up(world);
}

/// What cannot be offered now is refused, and what the PRACK acknowledges is acknowledged (RFC 3262 §3).
#[test]
fn an_offer_in_a_prack_that_comes_too_early_or_is_refused_leaves_the_call_as_it_was() {
    for (name, is_reliable, manner) in [
        (HeaderName::Require, false, Manner::Accept),
        (HeaderName::Supported, true, Manner::Reject(405)),
        (HeaderName::Supported, true, Manner::Reject(488)),
    ] {
        let mut world = unacknowledged(name, is_reliable);
        world.b.manner = manner;
        prack_with_offer(&mut world);
        assert_eq!(world.a.log, ["183 INVITE", "488 PRACK"]);
        world.run_ms(5_000);
        let repeated = world.trace.iter().filter(|it| *it == "183 INVITE -> a").count();
        assert_eq!(repeated, 1);
        world.b.manner = Manner::Accept;
        world.b.answer(world.now);
        world.run_ms(50);
        assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
        hang_up(world);
    }
}

/// The callee answers the INVITE, or the caller gives up, while the offer of a PRACK is on its way.
#[test]
fn an_offer_in_a_prack_may_cross_the_end_of_the_ringing() {
    let mut world = unacknowledged(HeaderName::Supported, true);
    world.node.delay = Duration::from_millis(100);
    let (rseq, offer) = (world.a.rseqs[0], world.a.body());
    world.a.prack_with(world.now, rseq, Some(&offer));
    world.run_ms(15);
    world.b.answer(world.now);
    world.run_ms(1_000);
    assert_eq!(world.a.log[1..], ["200 INVITE", "200 PRACK"]);
    hang_up(world);

    let mut world = unacknowledged(HeaderName::Supported, true);
    world.b.manner = Manner::Ignore;
    prack_with_offer(&mut world);
    world.a.cancel(world.now);
    world.run_ms(100);
    assert!(world.a.log.contains(&"487 PRACK".to_owned()), "{:?}", world.a.log);
    assert!(
        world.a.log.contains(&"487 INVITE".to_owned()),
        "{:?}",
        world.a.log
    );
    world.finish();
}
