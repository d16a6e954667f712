//! Which trunks get a call, and when the next one does.

use std::sync::Arc;
use std::time::Duration;

use call::{Config, Failover, Lost, NextHop, Route, Routes, TrunkId, TrunkLimits};
use sans_io::network::Conditions;
use sip::message::RequestBuilder;
use sip::{HeaderName, Transport};

use crate::world::{B, B2, World, config, hop};

const FIRST: TrunkId = TrunkId(1);
const SECOND: TrunkId = TrunkId(2);

/// B is the first trunk's server, B2 the second's.
fn two_trunks(failover: Failover) -> World {
    two_trunks_on(failover, Conditions::PERFECT, 1)
}

fn two_trunks_on(failover: Failover, conditions: Conditions, seed: u64) -> World {
    let failover = Some(Arc::new(failover));
    let at = |address, trunk| NextHop {
        trunk: Some(trunk),
        failover: failover.clone(),
        ..hop(address)
    };
    let route = Route {
        prefix: "1".into(),
        weight: None,
        next_hops: vec![at(B, FIRST), at(B2, SECOND)],
    };
    let config = Config {
        routes: Routes::new([route]),
        ..config(&[B])
    };
    let mut world = World::with(config, conditions, seed);
    let limits = TrunkLimits::default();
    world.b2bua.set_trunks(&[(FIRST, limits), (SECOND, limits)]);
    world
}

fn set_up(world: &mut World, trunk: TrunkId, address: &str, up: bool) {
    world
        .b2bua
        .set_server_up(trunk, Transport::Udp, address.parse().unwrap(), up);
}

/// Who gets the next call.
fn called(world: &mut World) -> (usize, usize) {
    let before = [&world.b, &world.b2].map(|ua| ua.log.iter().filter(|line| *line == "INVITE").count());
    world.a.invite(world.now, true);
    world.run_ms(20);
    let after = [&world.b, &world.b2].map(|ua| ua.log.iter().filter(|line| *line == "INVITE").count());
    (after[0] - before[0], after[1] - before[1])
}

#[test]
fn the_codes_of_a_route_send_a_call_on() {
    for (status, goes_on) in [(486, true), (603, true), (480, false), (503, true)] {
        let mut world = two_trunks(Failover {
            codes: vec![486, 603],
            attempt_timeout: None,
        });
        assert_eq!(called(&mut world), (1, 0));
        world.b.respond(world.now, 180, "b1", None);
        world.run_ms(20);
        world.b.respond(world.now, status, "b1", None);
        world.run_ms(20);
        let has_call = world.b2.incoming.is_some();
        assert_eq!(has_call, goes_on, "{status}");
        if goes_on {
            world.b2.answer(world.now);
            world.run_ms(100);
            world.a.bye(world.now);
        }
        world.finish();
        let last = world
            .a
            .log
            .iter()
            .find(|line| line.ends_with("INVITE") && !line.starts_with("180"));
        let expected = if goes_on { 200 } else { status };
        assert_eq!(last, Some(&format!("{expected} INVITE")), "{status}");
    }
}

/// Trying is not enough; ringing is.
#[test]
fn a_trunk_that_does_not_ring_in_time_is_left() {
    for rings in [false, true] {
        let mut world = two_trunks(Failover {
            codes: vec![],
            attempt_timeout: Some(Duration::from_secs(6)),
        });
        called(&mut world);
        world.b.respond(world.now, 100, "", None);
        world.run_ms(5_000);
        if rings {
            world.b.respond(world.now, 180, "b1", None);
        }
        world.run_ms(900);
        assert!(world.b2.log.is_empty());
        world.run_ms(200);
        assert_eq!(world.b2.incoming.is_some(), !rings);
        world.run_ms(20_000);
        match rings {
            true => world.b.answer(world.now),
            false => world.b2.answer(world.now),
        }
        world.run_ms(100);
        assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
        world.a.bye(world.now);
        world.finish();
    }
}

#[test]
fn a_trunk_that_is_down_is_passed_over_unless_all_are() {
    let mut world = two_trunks(Failover::default());
    set_up(&mut world, FIRST, B, false);
    assert_eq!(called(&mut world), (0, 1));
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(20);
    set_up(&mut world, SECOND, B2, false);
    assert_eq!(called(&mut world), (1, 0), "the first one is tried all the same");
    world.b.respond(world.now, 486, "b1", None);
    world.run_ms(20);
    set_up(&mut world, SECOND, B2, true);
    assert_eq!(called(&mut world), (0, 1));
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(20);
    set_up(&mut world, FIRST, B, true);
    assert_eq!(called(&mut world), (1, 0));
    world.b.respond(world.now, 486, "b1", None);
    world.finish();
}

/// RFC 3261 §21.5.4.
#[test]
fn a_server_that_names_a_time_is_left_alone_until_then() {
    let mut world = two_trunks(Failover::default());
    let refuse = |world: &mut World, seconds| {
        world.b.response_field = Some(("Retry-After", seconds));
        world.b.respond(world.now, 503, "b1", None);
        world.b.response_field = None;
        world.run_ms(20);
    };
    called(&mut world);
    refuse(&mut world, "20");
    assert!(world.b2.incoming.is_some(), "this call goes on at once");
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(20);
    assert_eq!(called(&mut world), (0, 1));
    world.b2.response_field = Some(("Retry-After", "3600"));
    world.b2.respond(world.now, 503, "b2", None);
    world.run_ms(20);
    // Both rest: nobody is asked, and the caller hears how long yet.
    assert_eq!(called(&mut world), (0, 0));
    assert_eq!(world.a.retry_after.as_deref(), Some("19"));
    world.run_ms(20_000);
    assert_eq!(called(&mut world), (1, 0));
    world.b.respond(world.now, 486, "b1", None);
    // `limits.rest_max_s`: no server is left alone for an hour because it says so.
    world.run_ms(60_000);
    set_up(&mut world, FIRST, B, false);
    world.b2.response_field = None;
    assert_eq!(called(&mut world), (0, 1));
    world.b2.respond(world.now, 486, "b2", None);
    world.finish();
    assert_eq!(world.b2bua.counters().next_hops_rested, 2);
}

#[test]
fn a_trunk_has_only_as_many_calls_as_it_takes() {
    let mut world = two_trunks(Failover::default());
    let one = TrunkLimits {
        calls_max: Some(1),
        calls_per_s_max: None,
    };
    world.b2bua.set_trunks(&[(FIRST, one), (SECOND, one)]);
    assert_eq!(called(&mut world), (1, 0));
    world.b.answer(world.now);
    world.run_ms(100);
    assert_eq!(called(&mut world), (0, 1), "the next trunk");
    assert_eq!(called(&mut world), (0, 0));
    world.run_ms(20);
    assert_eq!(world.a.log.last().unwrap(), "503 INVITE");
    assert_eq!(world.b2bua.trunk_use(FIRST).calls, 1);
    assert_eq!(world.b2bua.trunk_use(FIRST).passed_over_at_limit, 2);
    // The limits of a trunk that stays change, its calls go on counting.
    let two = TrunkLimits {
        calls_max: Some(2),
        ..one
    };
    world.b2bua.set_trunks(&[(FIRST, two), (SECOND, one)]);
    assert_eq!(called(&mut world), (1, 0));
    world.b.respond(world.now, 486, "b1", None);
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(100);
    world.a.bye(world.now);
    world.finish();
    for trunk in [FIRST, SECOND] {
        assert_eq!(world.b2bua.trunk_use(trunk).calls, 0, "{trunk:?}");
    }
}

#[test]
fn a_trunk_gets_only_so_many_calls_a_second() {
    let mut world = two_trunks(Failover::default());
    let slow = TrunkLimits {
        calls_max: None,
        calls_per_s_max: Some(10),
    };
    world
        .b2bua
        .set_trunks(&[(FIRST, slow), (SECOND, TrunkLimits::default())]);
    let mut first = [0, 0];
    for phase in &mut first {
        for _ in 0..40 {
            let (to_first, to_second) = called(&mut world);
            *phase += to_first;
            assert_eq!(to_first + to_second, 1);
            match to_first {
                1 => world.b.respond(world.now, 486, "b1", None),
                _ => world.b2.respond(world.now, 486, "b2", None),
            }
            world.run_ms(5);
        }
    }
    // 40 calls take a second: ten at once, and then as many as come due.
    assert!(
        (18..=21).contains(&first[0]) && (9..=11).contains(&first[1]),
        "{first:?}"
    );
    world.finish();
}

#[test]
fn a_request_that_is_no_calls_has_one_end() {
    let mut world = World::new();
    let options = |cseq: u32| {
        RequestBuilder::new("OPTIONS", "sip:10.2.0.1")
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, "<sip:us@198.51.100.1>;tag=1")
            .header(HeaderName::To, "<sip:10.2.0.1>")
            .header(HeaderName::CallId, "probe")
            .header(HeaderName::CSeq, format_args!("{cseq} OPTIONS"))
            .build()
            .unwrap()
    };
    world
        .b2bua
        .send_request(world.now, 7, options(1), hop(B).destination);
    world.run_ms(100);
    world.deaf.push(B.parse().unwrap());
    world
        .b2bua
        .send_request(world.now, 8, options(2), hop(B).destination);
    world.finish();
    let ends: Vec<_> = world
        .answered
        .iter()
        .map(|it| (it.id, it.response.as_ref().map(|response| response.status())))
        .collect();
    assert_eq!(ends, [(7, Ok(Some(481))), (8, Err(&Lost::TimedOut))]);
}

/// Whatever is lost on the way and whatever the trunks say, a call has one end and no trunk keeps it.
#[test]
fn calls_through_trunks_end_well_on_a_bad_network() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..60).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        println!("SEED={seed}");
        let mut world = two_trunks_on(
            Failover {
                codes: vec![486, 500],
                attempt_timeout: Some(Duration::from_secs(6)),
            },
            Conditions {
                loss_permille: 100,
                duplication_permille: 50,
                delay_max: Duration::from_millis(300),
                ..Conditions::PERFECT
            },
            seed,
        );
        let mut random = sans_io::Random::from_number(seed);
        if random.chance_permille(300) {
            set_up(&mut world, FIRST, B, false);
        }
        world.a.invite(world.now, true);
        for _ in 0..6 {
            world.run_ms(500 + random.below(4_000));
            let status = [100, 180, 200, 486, 500, 503][random.below(6) as usize];
            let ua = match world.b2.incoming {
                Some(_) => &mut world.b2,
                None => &mut world.b,
            };
            if ua.incoming.is_none() {
                continue;
            }
            match status {
                200 => ua.answer(world.now),
                _ => ua.respond(world.now, status, "b", None),
            }
        }
        world.run_ms(40_000);
        if world.a.is_talking() {
            world.a.bye(world.now);
        }
        world.finish();
        let uses = [FIRST, SECOND].map(|trunk| world.b2bua.trunk_use(trunk));
        assert_eq!(uses.each_ref().map(|used| used.calls), [0, 0]);
        assert!(
            uses.iter().all(|used| used.attempts <= 1),
            "each trunk is tried once: {uses:?}"
        );
    }
}
