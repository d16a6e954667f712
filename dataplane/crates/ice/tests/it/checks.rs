//! Agents that both want a pair, over networks of every kind.

use std::time::Duration;

use ice::{CandidateError, Event, Failure};
use media_types::IceMode;
use sans_io::network::Conditions;

use crate::pair::{ANSWERER, OFFERER, Pair, address};

const BAD: Conditions = Conditions {
    loss_permille: 300,
    duplication_permille: 100,
    delay_min: Duration::from_millis(5),
    delay_max: Duration::from_millis(80),
};

/// Every pair of modes that signalling can come to.
const MODES: [[IceMode; 2]; 4] = [
    [IceMode::Controlling, IceMode::Lite],
    [IceMode::Lite, IceMode::Controlling],
    [IceMode::Controlling, IceMode::Controlled],
    // Both offered, say: RFC 8445 §7.3.1.1 has one of them yield.
    [IceMode::Controlling, IceMode::Controlling],
];

fn pair(modes: [IceMode; 2], conditions: Conditions, seed: u64) -> Pair {
    let addresses = [
        vec![address("192.0.2.1:1000"), address("[2001:db8::1]:1000")],
        vec![address("198.51.100.1:2000"), address("[2001:db8::2]:2000")],
    ];
    Pair::strangers(modes, addresses, conditions, seed)
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

fn describe(pair: &mut Pair) {
    for place in [OFFERER, ANSWERER] {
        pair.describe(place);
        pair.trickle(place);
    }
}

#[test]
fn every_pair_of_modes_connects_within_a_second() {
    for modes in MODES {
        let mut pair = pair(modes, Conditions::PERFECT, 1);
        describe(&mut pair);
        pair.run(Duration::from_secs(1));
        assert!(pair.is_connected(), "{modes:?}: {:?}", pair.events);
        assert_eq!(pair.refusals, []);
    }
}

/// Connected in time, or failed with the reason, never neither.
#[test]
fn a_third_lost_reordered_and_doubled_connects() {
    let (mut connected, mut count) = (0, 0);
    for seed in seeds(50) {
        for modes in MODES {
            let mut pair = pair(modes, BAD, seed);
            describe(&mut pair);
            pair.run(Duration::from_secs(31));
            for place in [OFFERER, ANSWERER] {
                let settled = pair.agents[place].selected().is_some() || pair.failure(place).is_some();
                assert!(settled, "SEED={seed} {modes:?}: {place} is stuck");
                assert_ne!(
                    pair.failure(place),
                    Some(Failure::Consent),
                    "SEED={seed} {modes:?}"
                );
            }
            count += 1;
            connected += u64::from(pair.is_connected());
        }
    }
    assert!(connected * 100 >= count * 98, "{connected} of {count} connected");
}

#[test]
fn candidates_and_credentials_may_come_in_any_order() {
    for modes in MODES {
        // The offerer's checks are on their way before its description is.
        let mut early = pair(modes, Conditions::PERFECT, 2);
        early.trickle(OFFERER);
        early.describe(OFFERER);
        early.run(Duration::from_secs(2));
        // A lite agent needs nothing of the party's to answer it.
        let is_lite = modes[ANSWERER] == IceMode::Lite;
        assert_eq!(early.agents[ANSWERER].selected().is_some(), is_lite, "{modes:?}");
        early.describe(ANSWERER);
        early.run(Duration::from_secs(2));
        early.trickle(ANSWERER);
        early.run(Duration::from_secs(5));
        assert!(early.is_connected(), "{modes:?}: {:?}", early.events);
    }
}

/// Of two forks of an offer one is heard at once, and the other one's description comes: that one is the party.
#[test]
fn a_lite_agent_that_has_heard_another_than_its_party_begins_anew() {
    let mut pair = pair([IceMode::Controlling, IceMode::Lite], Conditions::PERFECT, 3);
    pair.trickle(OFFERER);
    pair.describe(OFFERER);
    pair.run(Duration::from_secs(2));
    assert!(pair.agents[ANSWERER].selected().is_some());
    let other = media_types::IceCredentials::new("fork2", "0123456789012345678901").expect("credentials");
    pair.agents[ANSWERER].set_remote_credentials(pair.now, other);
    pair.refusals.clear();
    pair.run(Duration::from_secs(3));
    assert!(!pair.refusals.is_empty(), "the first one is a stranger now");
    // Its pair stays until there is another, or none in time.
    pair.run(Duration::from_secs(31));
    assert_eq!(pair.failure(ANSWERER), Some(Failure::Timeout));
}

#[test]
fn an_address_behind_a_nat_is_learned_from_its_checks() {
    for modes in [
        [IceMode::Controlling, IceMode::Lite],
        [IceMode::Controlling, IceMode::Controlled],
    ] {
        let (inside, outside) = (address("10.0.0.9:1000"), address("203.0.113.9:61000"));
        let addresses = [vec![inside], vec![address("198.51.100.1:2000")]];
        let mut pair = Pair::strangers(modes, addresses, BAD, 3);
        pair.mapped = Some((inside, outside));
        describe(&mut pair);
        pair.run(Duration::from_secs(20));
        assert!(pair.is_connected(), "{modes:?}: {:?}", pair.events);
        assert_eq!(
            pair.agents[ANSWERER].selected().map(|(_, remote)| remote),
            Some(outside)
        );
    }
}

#[test]
fn nobody_there_is_told_in_time() {
    for modes in MODES {
        let mut pair = pair(modes, Conditions::PERFECT, 4);
        pair.dead = pair.addresses[ANSWERER].clone();
        describe(&mut pair);
        pair.run(Duration::from_millis(30_100));
        for place in [OFFERER, ANSWERER] {
            assert_eq!(pair.failure(place), Some(Failure::Timeout), "{modes:?}");
            assert_eq!(pair.agents[place].selected(), None);
        }
    }
}

/// RFC 7675 §5.1: no longer than 30 seconds after the last sign, and not before.
#[test]
fn consent_ends_half_a_minute_after_its_last_sign() {
    for modes in MODES {
        let mut pair = pair(modes, Conditions::PERFECT, 5);
        describe(&mut pair);
        pair.run(Duration::from_secs(120));
        assert!(pair.is_connected(), "{modes:?}: {:?}", pair.events);
        pair.dead = pair.addresses[ANSWERER].clone();
        let silent = pair.now;
        pair.run(Duration::from_secs(40));
        for place in [OFFERER, ANSWERER] {
            assert_eq!(
                pair.failure(place),
                Some(Failure::Consent),
                "{modes:?} {place}: {:?}",
                pair.events[place]
            );
            let at = pair.events[place].iter().rev().find_map(|(at, event)| {
                matches!(event, Event::Failed(Failure::Consent)).then(|| at.saturating_since(silent))
            });
            let at = at.unwrap_or_default();
            assert!(
                at >= Duration::from_secs(20) && at <= Duration::from_secs(30),
                "{modes:?} {place}: {at:?}"
            );
        }
        // Only a restart brings it back.
        pair.dead.clear();
        pair.restart();
        pair.run(Duration::from_secs(5));
        assert!(pair.is_connected(), "{modes:?}: {:?}", pair.events);
    }
}

#[test]
fn a_restart_keeps_the_pair_until_there_is_another() {
    for modes in MODES {
        let mut pair = pair(modes, Conditions::PERFECT, 6);
        describe(&mut pair);
        pair.run(Duration::from_secs(2));
        let before = pair.agents[OFFERER].selected();
        assert!(before.is_some(), "{modes:?}");
        let stale = pair.agents[ANSWERER].credentials().clone();
        pair.restart();
        assert_eq!(pair.agents[OFFERER].selected(), before);
        assert_ne!(*pair.agents[ANSWERER].credentials(), stale);
        pair.run(Duration::from_secs(2));
        assert!(pair.is_connected(), "{modes:?}: {:?}", pair.events);
    }
}

#[test]
fn candidates_that_are_none_are_refused_and_many_are_bounded() {
    let mut pair = pair(MODES[0], Conditions::PERFECT, 7);
    let agent = &mut pair.agents[OFFERER];
    for (text, error) in [
        ("", CandidateError::Malformed),
        ("candidate:1 1 udp 2130706431", CandidateError::Malformed),
        (
            "candidate:1 1 udp 2130706431 5c1e.local 5000 typ host",
            CandidateError::Malformed,
        ),
        (
            "candidate:1 1 tcp 2130706431 192.0.2.7 9 typ host tcptype active",
            CandidateError::Transport,
        ),
    ] {
        assert_eq!(agent.add_remote_candidate(pair.now, text), Err(error), "{text}");
    }
    let of = |port: usize| format!("candidate:1 1 udp 2130706431 192.0.2.7 {port} typ host");
    for port in 0..ice::CANDIDATES_MAX {
        assert_eq!(agent.add_remote_candidate(pair.now, &of(5_000 + port)), Ok(()));
    }
    assert_eq!(
        agent.add_remote_candidate(pair.now, &of(9_000)),
        Err(CandidateError::TooMany)
    );
}
