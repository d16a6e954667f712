//! Servers that are asked whether they are there.

use std::time::Duration;

use sans_io::network::Conditions;
use trunk::{ProbeTerms, TrunkTerms};

use crate::world::{BAD, FIRST, SECOND, World, for_seeds, server, terms};

fn probed() -> TrunkTerms {
    TrunkTerms {
        registration: None,
        probe: Some(ProbeTerms {
            period: Duration::from_secs(30),
            timeout: Duration::from_secs(4),
            down_after: 3,
            up_after: 2,
        }),
        ..terms(7)
    }
}

#[test]
fn a_server_that_falls_silent_is_down_soon_and_up_when_it_answers_again() {
    for_seeds(20, |seed| {
        let mut world = World::new(Conditions::PERFECT, seed);
        world.set(vec![probed()]);
        world.run_s(300);
        assert!(world.told.is_empty());
        world.carriers[0].is_deaf = true;
        // At worst a period, and then three times the timeout.
        world.run_s(33 + 12);
        assert_eq!(world.told, [format!("down 7 {FIRST}")]);
        assert!(!world.status().servers[0].up && world.status().servers[1].up);
        world.run_s(600);
        world.carriers[0].is_deaf = false;
        world.run_s(33 + 4 + 4);
        assert_eq!(world.told[1..], [format!("up 7 {FIRST}")]);
        assert_eq!(world.status().counters.servers_lost, 1);
    });
}

/// Whoever answers is there, but for 408, which a proxy gives in place of somebody, and 503.
#[test]
fn any_answer_but_408_and_503_comes_from_somebody_who_is_there() {
    for (status, is_there) in [
        (200, true),
        (404, true),
        (405, true),
        (486, true),
        (500, true),
        (408, false),
        (503, false),
    ] {
        let mut world = World::new(Conditions::PERFECT, 1);
        world.carriers[0].options_status = status;
        world.set(vec![probed()]);
        world.run_s(120);
        assert_eq!(world.told.is_empty(), is_there, "{status}");
    }
}

#[test]
fn a_bad_network_takes_no_server_down() {
    for_seeds(12, |seed| {
        let mut world = World::new(BAD, seed);
        world.set(vec![probed()]);
        world.run_s(3_600);
        assert!(world.told.is_empty(), "{:?}", world.told);
        // A period give or take a tenth, and a few more where one was late.
        let probes = world.carriers[0].probes.len();
        assert!((107..=145).contains(&probes), "{probes}");
    });
}

#[test]
fn servers_that_stay_keep_how_they_stand() {
    let mut world = World::new(Conditions::PERFECT, 1);
    world.carriers[0].is_deaf = true;
    world.set(vec![probed()]);
    world.run_s(60);
    assert_eq!(world.told, [format!("down 7 {FIRST}")]);
    let turned = TrunkTerms {
        servers: vec![server(SECOND), server(FIRST)],
        ..probed()
    };
    world.set(vec![turned.clone()]);
    let up: Vec<bool> = world.status().servers.iter().map(|server| server.up).collect();
    assert_eq!(up, [true, false]);
    // Nobody asks any more: calls go there again.
    let unasked = TrunkTerms {
        probe: None,
        ..turned
    };
    world.set(vec![unasked]);
    assert_eq!(world.told[1..], [format!("up 7 {FIRST}")]);
    assert!(world.status().servers.iter().all(|server| server.up));
    world.run_s(100);
    assert_eq!(world.trunks.poll_timeout(), None);
}
