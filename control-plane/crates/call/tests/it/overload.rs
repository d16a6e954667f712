//! A next hop that says how much it wants to be sent (RFC 7339): calls pass it over by its share, and nothing else does.

use call::{Config, NextHop, Route, Routes};
use sans_io::network::Conditions;
use sip::Transport;
use sip::message::Overload;

use crate::world::{B, B2, World, config, hop};

const fn word(percent: u8, sequence: u64) -> Overload {
    Overload {
        percent,
        validity_ms: 10_000,
        sequence,
    }
}

/// B is obeyed. Calls go there, and to B2 after it if `has_other`.
fn world(has_other: bool) -> World {
    let hops: Vec<NextHop> = match has_other {
        true => vec![hop(B), hop(B2)],
        false => vec![hop(B)],
    };
    let route = Route {
        prefix: "1".into(),
        weight: None,
        next_hops: hops,
    };
    let config = Config {
        routes: Routes::new([route]),
        emergency_numbers: sip::EmergencyNumbers::new(["112".to_owned()]),
        ..config(&[B])
    };
    let mut world = World::with(config, Conditions::PERFECT, 1);
    world.b2bua.obey(&[(Transport::Udp, B.parse().unwrap())]);
    world
}

/// Who gets a call to `user`: B, B2.
fn called(world: &mut World, user: &str) -> (usize, usize) {
    let count = |world: &World| {
        [&world.b, &world.b2].map(|ua| ua.log.iter().filter(|line| *line == "INVITE").count())
    };
    let before = count(world);
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder(user)
        .body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    let after = count(world);
    (after[0] - before[0], after[1] - before[1])
}

/// B says so in the response to a call that it does not take.
fn say(world: &mut World, overload: Overload) {
    assert_eq!(called(world, "1000").0, 1);
    world.b.overload = Some(overload);
    world.b.respond(world.now, 486, "b1", None);
    world.b.overload = None;
    world.run_ms(20);
}

#[test]
fn only_requests_to_who_is_obeyed_offer_it() {
    let mut world = world(true);
    called(&mut world, "1000");
    world.b.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    let offers: Vec<(String, bool)> = world
        .sent
        .iter()
        .filter(|sent| sent.bytes.starts_with(b"INVITE"))
        .map(|sent| {
            let message = sip::Message::parse_datagram(sent.bytes.clone()).unwrap();
            let offers = message.via().unwrap().offers_overload_control();
            (sent.destination.remote.to_string(), offers)
        })
        .collect();
    assert_eq!(offers, [(B.to_owned(), true), (B2.to_owned(), false)]);
    world.b2.respond(world.now, 486, "b2", None);
    world.finish();
}

#[test]
fn calls_pass_over_who_wants_none_until_its_word_ends() {
    let mut world = world(true);
    say(&mut world, word(100, 7));
    assert_eq!(called(&mut world, "1000"), (0, 1));
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(20);
    let counters = *world.b2bua.counters();
    assert_eq!((counters.next_hops_spared, counters.overloads_heard), (1, 1));
    world.run_ms(10_000);
    assert_eq!(called(&mut world, "1000"), (1, 0));
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
}

#[test]
fn without_another_next_hop_the_caller_gets_503_and_no_time() {
    let mut world = world(false);
    say(&mut world, word(100, 7));
    assert_eq!(called(&mut world, "1000"), (0, 0));
    assert_eq!(world.a.log.last().unwrap(), "503 INVITE");
    assert_eq!(world.a.retry_after, None, "it is not we who are overloaded");
    world.finish();
}

#[test]
fn a_share_counts_in_place_of_the_time_beside_it() {
    // Of a server that wants everything the time is all that it says of its state.
    for (percent, rested) in [(1, 0), (0, 1)] {
        let mut world = world(false);
        assert_eq!(called(&mut world, "1000"), (1, 0));
        world.b.overload = Some(word(percent, 7));
        world.b.response_field = Some(("Retry-After", "20"));
        world.b.respond(world.now, 503, "b1", None);
        (world.b.overload, world.b.response_field) = (None, None);
        world.run_ms(20);
        assert_eq!(world.b2bua.counters().next_hops_rested, rested, "{percent} %");
        world.finish();
    }
}

/// RFC 7339 §5.10.1: of 200 calls every tenth is for an emergency number.
#[test]
fn the_share_is_kept_back_and_emergency_calls_are_not() {
    let mut world = world(false);
    let mut spared = 0;
    for n in 0u64..200 {
        let user = if n % 10 == 9 { "112" } else { "1000" };
        let (got, _) = called(&mut world, user);
        match got {
            1 => {
                // Below the 180 ms by which the last word would end.
                world.b.overload = Some(word(50, n + 1));
                world.b.respond(world.now, 486, "b1", None);
                world.run_ms(20);
            }
            _ => spared += 1,
        }
        if user == "112" {
            assert_eq!(got, 1, "call {n}");
        }
    }
    assert!((80..=120).contains(&spared), "{spared}");
    assert_eq!(world.b2bua.counters().next_hops_spared, spared);
    world.finish();
}

#[test]
fn requests_within_a_call_are_never_kept_back() {
    let mut world = world(false);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.overload = Some(word(100, 7));
    world.b.answer(world.now);
    world.run_ms(100);
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    world.a.bye(world.now);
    world.run_ms(100);
    assert!(world.b.log.iter().any(|line| line == "BYE"), "{:?}", world.b.log);
    assert_eq!(called(&mut world, "1000"), (0, 0));
    world.finish();
}

#[test]
fn older_and_bogus_words_and_those_of_others_are_ignored() {
    let mut world = world(true);
    say(&mut world, word(0, 700_000));
    say(&mut world, word(100, 600_000));
    let counters = *world.b2bua.counters();
    assert_eq!((counters.overloads_heard, counters.overloads_ignored), (1, 1));
    // More than everything: it can be no share.
    say(&mut world, word(101, 800_000));
    assert_eq!(world.b2bua.counters().overloads_ignored, 2);
    // B2 is not obeyed.
    assert_eq!(called(&mut world, "1000"), (1, 0));
    world.b.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    world.b2.overload = Some(word(100, 1));
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(20);
    assert_eq!(called(&mut world, "1000"), (1, 0));
    world.b.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    assert!(world.b2.incoming.is_some());
    world.b2.respond(world.now, 486, "b2", None);
    let counters = *world.b2bua.counters();
    assert_eq!((counters.overloads_heard, counters.overloads_ignored), (1, 2));
    world.run_ms(1_000);
    world.finish();
}
