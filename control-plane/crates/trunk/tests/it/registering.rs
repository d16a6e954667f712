//! Registrations: made, refreshed, refused, moved and taken back.

use std::sync::Arc;
use std::time::Duration;

use sans_io::network::Conditions;
use sip::digest::{Algorithm, Authenticator, Config, Credentials};
use sip::{HeaderName, Message};

use crate::world::{BAD, SECOND, World, for_seeds, login, server, terms};

fn cseq(register: &Message) -> u32 {
    register.cseq().unwrap().seq
}

#[test]
fn a_registration_is_made_with_digest_and_kept_for_hours() {
    for algorithm in Algorithm::ALL {
        let mut world = World::new(Conditions::PERFECT, 1);
        let config = Config {
            algorithms: vec![algorithm],
            ..Config::new("carrier")
        };
        world.carriers[0].authenticator = Some(Authenticator::new(config, sans_io::Random::from_number(1)));
        world.set(vec![terms(7)]);
        world.run_s(1);
        assert!(world.is_registered());
        let [(_, first), (_, second)] = &world.carriers[0].registers[..] else {
            panic!("two REGISTERs: {:?}", world.carriers[0].registers)
        };
        assert_eq!(first.request_uri(), Some("sip:carrier.example"));
        assert_eq!(first.header(HeaderName::To), Some("<sip:us@carrier.example>"));
        assert_eq!(
            first.header(HeaderName::CallId),
            second.header(HeaderName::CallId)
        );
        assert_eq!((cseq(first), cseq(second)), (1, 2));
        let shown = second.header(HeaderName::Authorization).unwrap();
        assert_eq!(Credentials::parse(shown).unwrap().algorithm, algorithm);
        world.run_s(6 * 3_600);
        let carrier = &world.carriers[0];
        assert_eq!(carrier.bound(world.now), ["sip:line7@198.51.100.1:5060"]);
        assert_eq!(carrier.gaps, 0);
        // Half an hour each, refreshed between 80 and 90 % of it, two messages each time.
        assert!(
            (26..=34).contains(&carrier.registers.len()),
            "{}",
            carrier.registers.len()
        );
        assert!(world.carriers[1].registers.is_empty());
    }
}

#[test]
fn a_registration_holds_on_a_bad_network_and_is_taken_back() {
    for_seeds(12, |seed| {
        let mut world = World::new(BAD, seed);
        world.carriers[0].expires_max_s = 300;
        world.carriers[1].expires_max_s = 300;
        world.set(vec![terms(7)]);
        world.run_s(120);
        assert!(world.is_registered());
        world.run_s(3_600);
        assert!(world.is_registered());
        assert_eq!(world.carriers.iter().map(|carrier| carrier.gaps).sum::<u32>(), 0);
        world.trunks.leave(world.now);
        world.settle();
        world.run_s(100);
        assert!(world.trunks.is_gone());
        for carrier in &world.carriers {
            assert!(carrier.bound(world.now).is_empty(), "the last word was heard");
        }
    });
}

/// RFC 3261 §10.2.8.
#[test]
fn a_trunk_may_want_longer_registrations_and_may_name_none() {
    let mut world = World::new(Conditions::PERFECT, 1);
    world.carriers[0].min_expires_s = 3_600;
    world.carriers[0].names_contact = false;
    world.set(vec![terms(7)]);
    world.run_s(1);
    assert!(world.is_registered());
    assert_eq!(world.carriers[0].registers.len(), 3, "401, 423, 200");
    world.run_s(3_590);
    assert_eq!(
        world.carriers[0].registers.len(),
        5,
        "the longer time is asked for at once"
    );
    // One that wants more than a day is refused.
    let mut world = World::new(Conditions::PERFECT, 1);
    world.carriers[0].min_expires_s = 100_000;
    world.set(vec![terms(7)]);
    world.run_s(1);
    let registration = world.status().registration.unwrap();
    assert_eq!(
        (registration.until, registration.failure.as_deref()),
        (None, Some("423 Interval Too Brief"))
    );
}

/// RFC 5626 §4.5: the wait doubles up to its limit, its upper half is chance; a wrong password is no flood.
#[test]
fn a_refused_registration_is_tried_less_and_less_often() {
    for_seeds(20, |seed| {
        let mut world = World::new(Conditions::PERFECT, seed);
        let mut wrong = terms(7);
        wrong.logins = Arc::new([login("wrong")]);
        world.set(vec![wrong]);
        world.run_s(3_600);
        assert!(!world.is_registered());
        let status = world.status();
        assert_eq!(
            status.registration.unwrap().failure.as_deref(),
            Some("401 Unauthorized")
        );
        let firsts = world.carriers[0]
            .registers
            .iter()
            .filter(|(_, register)| !register.has(HeaderName::Authorization));
        let times: Vec<_> = firsts.map(|(at, _)| *at).collect();
        let waits: Vec<u64> = times
            .windows(2)
            .map(|pair| pair[1].saturating_since(pair[0]).as_secs())
            .collect();
        for (n, wait) in waits.iter().enumerate() {
            let upper = (30 << n.min(10)).min(600);
            assert!((upper / 2..=upper + 1).contains(wait), "{waits:?}");
        }
        assert!(waits.len() >= 8, "{waits:?}");
        assert!(
            world.carriers[1].registers.is_empty(),
            "another server would say the same"
        );
    });
}

#[test]
fn a_trunk_that_names_a_time_is_left_alone_until_then() {
    let mut world = World::new(Conditions::PERFECT, 1);
    let mut one = terms(7);
    one.servers = vec![server(SECOND)];
    world.carriers[1].refuses = Some((503, Some("500")));
    world.set(vec![one]);
    world.run_s(499);
    assert_eq!(world.carriers[1].registers.len(), 1);
    world.carriers[1].refuses = None;
    world.run_s(3);
    assert!(world.is_registered());
}

/// RFC 3263 §4.3.
#[test]
fn a_silent_server_is_left_for_the_next_one() {
    for_seeds(10, |seed| {
        let mut world = World::new(Conditions::PERFECT, seed);
        world.carriers[0].is_deaf = true;
        world.set(vec![terms(7)]);
        world.run_s(31);
        assert!(!world.is_registered());
        world.run_s(2);
        assert!(world.is_registered(), "timer F, and then the second");
        // It stays there while it answers, and both silent is a wait.
        world.carriers[0].is_deaf = false;
        world.run_s(3_600);
        assert!(world.carriers[0].registers.is_empty());
        world.carriers[0].is_deaf = true;
        world.carriers[1].is_deaf = true;
        world.run_s(3_600);
        assert!(!world.is_registered(), "it has run out");
        assert_eq!(
            world.status().registration.unwrap().failure.as_deref(),
            Some("no response")
        );
        world.carriers[0].is_deaf = false;
        world.run_s(700);
        assert!(world.is_registered());
        assert_eq!(world.carriers[0].bound(world.now).len(), 1);
    });
}

#[test]
fn the_service_route_is_told_when_it_changes() {
    let mut world = World::new(Conditions::PERFECT, 1);
    world.carriers[0].service_route = vec!["<sip:p1;lr>, <sip:p2;lr>", "<sip:p3;lr>"];
    world.set(vec![terms(7)]);
    world.run_s(3_600);
    assert_eq!(world.told, ["route 7 <sip:p1;lr>,<sip:p2;lr>,<sip:p3;lr>"]);
    world.carriers[0].service_route.clear();
    world.run_s(1_800);
    assert_eq!(world.told[1..], ["route 7 "]);
}

/// RFC 3608 §5.1: it is the binding's, and ends with it.
#[test]
fn the_service_route_ends_with_the_binding() {
    let mut world = World::new(Conditions::PERFECT, 1);
    world.carriers[0].service_route = vec!["<sip:p1;lr>"];
    world.set(vec![terms(7)]);
    world.run_s(1);
    world
        .carriers
        .iter_mut()
        .for_each(|carrier| carrier.is_deaf = true);
    world.run_s(1_790);
    assert_eq!(world.told, ["route 7 <sip:p1;lr>"], "the binding stands");
    world.run_s(20);
    assert!(!world.is_registered());
    assert_eq!(world.told[1..], ["route 7 "]);
    world.carriers[0].is_deaf = false;
    world.run_s(1_300);
    assert_eq!(world.told[2..], ["route 7 <sip:p1;lr>"]);
}

/// A border element before the registrar shows it another host and port than ours, and the answer has them.
#[test]
fn a_contact_that_was_written_anew_on_its_way_is_ours_by_its_user() {
    let ours = "line7@198.51.100.1:5060";
    for (rewritten, others, is_registered) in [
        ("line7@203.0.113.9:40000", vec![], true),
        (
            "line7@203.0.113.9",
            vec!["<sip:phone@203.0.113.7>;expires=60"],
            true,
        ),
        ("line8@198.51.100.1:5060", vec![], false),
        (
            "line7@203.0.113.9",
            vec!["<sip:line7@203.0.113.7>;expires=60"],
            false,
        ),
    ] {
        let mut world = World::new(Conditions::PERFECT, 1);
        world.carriers[0].rewrites = Some((ours, rewritten));
        world.carriers[0].others = others;
        world.set(vec![terms(7)]);
        world.run_s(1);
        assert_eq!(world.is_registered(), is_registered, "{rewritten}");
    }
}

#[test]
fn a_change_of_the_configuration_leaves_what_is_as_it_was() {
    let mut world = World::new(Conditions::PERFECT, 1);
    world.set(vec![terms(1), terms(2)]);
    world.run_s(1);
    let before = world.carriers[0].registers.len();
    assert_eq!(world.carriers[0].bound(world.now).len(), 2);
    world.set(vec![terms(2), terms(1)]);
    world.run_s(10);
    assert_eq!(world.carriers[0].registers.len(), before, "nothing is sent");
    // One goes, one has another name, one is new.
    let mut other = terms(2);
    other.registration.as_mut().unwrap().contact_user = "other".into();
    world.set(vec![other.clone(), terms(3)]);
    world.run_s(10);
    let mut bound = world.carriers[0].bound(world.now);
    bound.sort_unstable();
    assert_eq!(
        bound,
        ["sip:line3@198.51.100.1:5060", "sip:other@198.51.100.1:5060"]
    );
    // The name leads elsewhere now.
    other.servers = vec![server(SECOND)];
    world.set(vec![other]);
    world.run_s(10);
    assert_eq!(
        world.carriers[1].bound(world.now),
        ["sip:other@198.51.100.1:5060"]
    );
    world.trunks.leave(world.now);
    world.run_s(1);
    assert!(world.trunks.is_gone());
}

/// As an operator wants who shortens it at SIGHUP.
#[test]
fn another_time_is_asked_for_at_once() {
    let mut world = World::new(Conditions::PERFECT, 1);
    world.carriers[0].authenticator = None;
    world.set(vec![terms(7)]);
    world.run_s(1);
    let mut shorter = terms(7);
    shorter.registration.as_mut().unwrap().expires_s = 600;
    world.set(vec![shorter]);
    world.run_s(1);
    let registers = &world.carriers[0].registers;
    let asked = registers
        .iter()
        .map(|(_, request)| request.number(HeaderName::Expires));
    let asked: Vec<_> = asked.map(|expires| expires.unwrap()).collect();
    assert_eq!(asked, [Some(1_800), Some(600)]);
}

#[test]
fn a_trunk_whose_name_is_not_found_waits_for_it() {
    let mut world = World::new(Conditions::PERFECT, 1);
    let mut unknown = terms(7);
    unknown.servers.clear();
    world.set(vec![unknown]);
    world.run(Duration::from_secs(60));
    assert_eq!(
        world.status().registration.unwrap().failure.as_deref(),
        Some("no server's address is known")
    );
    world.set(vec![terms(7)]);
    world.run_s(1);
    assert!(world.is_registered());
}

/// The answer of a server comes when the trunk has none any more, and then others.
#[test]
fn an_answer_that_outlives_its_server_does_no_harm() {
    for asks in [true, false] {
        let mut world = World::new(Conditions::PERFECT, 1);
        if !asks {
            world.carriers[0].authenticator = None;
        }
        world.set(vec![terms(7)]);
        let mut unknown = terms(7);
        unknown.servers.clear();
        world.set(vec![unknown]);
        world.run_s(10);
        assert_eq!(world.carriers[0].registers.len(), 1);
        let mut elsewhere = terms(7);
        elsewhere.servers = vec![server(SECOND)];
        world.set(vec![elsewhere]);
        world.run_s(10);
        assert!(world.is_registered());
        assert_eq!(world.carriers[1].bound(world.now).len(), 1);
    }
}
