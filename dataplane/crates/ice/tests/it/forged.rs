//! What strangers who can send to the port achieve: nothing.

use std::net::SocketAddr;
use std::time::Duration;

use ice::{Agent, Failure, Refusal, Settings};
use media_types::{IceCredentials, IceMode};
use sans_io::network::Conditions;
use sans_io::{Random, Timestamp};

use crate::pair::{ANSWERER, OFFERER, Pair, address};

/// A check of an agent that calls the answerer by its name and knows another password.
fn check(pair: &Pair, ufrag: &str, password: &str, from: SocketAddr) -> Vec<u8> {
    let epoch = sans_io::Epoch::new(ops::clock::MonotonicClock::start().instant(Timestamp::ZERO));
    let own = pair.agents[OFFERER].credentials().clone();
    let settings = Settings {
        mode: IceMode::Controlling,
        ..Settings::default()
    };
    let mut agent = Agent::new(settings, own, &[from], epoch, pair.now);
    let credentials = IceCredentials::new(ufrag, password).expect("good ones");
    agent.set_remote_credentials(pair.now, credentials);
    let candidate = "candidate:1 1 udp 2130706431 198.51.100.1 2000 typ host";
    assert_eq!(agent.add_remote_candidate(pair.now, candidate), Ok(()));
    let mut now = pair.now;
    for _ in 0..10 {
        if let Some(transmit) = agent.poll_transmit() {
            return transmit.datagram;
        }
        now = agent.poll_timeout().unwrap_or(now);
        agent.handle_timeout(now);
    }
    panic!("no check");
}

fn pair() -> Pair {
    let addresses = [
        vec![address("192.0.2.1:1000")],
        vec![address("198.51.100.1:2000")],
    ];
    let mut pair = Pair::strangers(
        [IceMode::Controlling, IceMode::Lite],
        addresses,
        Conditions::PERFECT,
        8,
    );
    pair.describe(ANSWERER);
    pair
}

#[test]
fn a_check_with_another_password_or_name_learns_us_nothing() {
    let mut pair = pair();
    let (local, stranger) = (address("198.51.100.1:2000"), address("203.0.113.66:6666"));
    let ours = pair.agents[ANSWERER].credentials().clone();
    let guess = "guessguessguessguessguess";
    for (datagram, refusal) in [
        (check(&pair, ours.ufrag(), guess, stranger), Refusal::Integrity),
        (
            check(&pair, "another", ours.password(), stranger),
            Refusal::Stranger,
        ),
        (b"\x00\x01\x00\x00short".to_vec(), Refusal::Malformed),
        (Vec::new(), Refusal::Malformed),
    ] {
        let agent = &mut pair.agents[ANSWERER];
        let now = pair.now;
        assert_eq!(
            agent.handle_datagram(now, local, stranger, &datagram),
            Err(refusal)
        );
        assert_eq!(agent.selected(), None);
        assert_eq!(agent.poll_transmit(), None);
        assert_eq!(agent.poll_event(), None);
    }
    // The same check with the password is answered.
    let right = check(&pair, ours.ufrag(), ours.password(), stranger);
    let agent = &mut pair.agents[ANSWERER];
    assert_eq!(agent.handle_datagram(pair.now, local, stranger, &right), Ok(()));
    let answer = agent.poll_transmit().map(|transmit| transmit.remote);
    assert_eq!(answer, Some(stranger));
}

/// Every byte of a good check changed, and every length cut: refused, or (bytes that the integrity does not cover) taken as it
/// was; never a panic, never anything learned of a stranger.
#[test]
fn a_check_with_any_byte_changed_or_cut_is_refused() {
    let mut pair = pair();
    let (local, remote) = (address("198.51.100.1:2000"), address("192.0.2.1:1000"));
    let ours = pair.agents[ANSWERER].credentials().clone();
    let good = check(&pair, ours.ufrag(), ours.password(), remote);
    let mut random = Random::from_number(9);
    // FINGERPRINT, the last 8 bytes, comes after MESSAGE-INTEGRITY and has no secret in it.
    let covered = good.len() - 8;
    for place in 0..covered {
        let mut bad = good.clone();
        bad[place] ^= 1 + random.below(255) as u8;
        let now = pair.now;
        let taken = pair.agents[ANSWERER].handle_datagram(now, local, remote, &bad);
        // One flipped class bit makes an indication of it, which is taken and means nothing.
        if taken.is_ok() {
            assert_eq!(bad[..2], [0x00, 0x11], "byte {place}");
        }
        assert_eq!(pair.agents[ANSWERER].poll_transmit(), None, "byte {place}");
        assert_eq!(pair.agents[ANSWERER].selected(), None);
    }
    for len in 0..good.len() {
        let now = pair.now;
        let taken = pair.agents[ANSWERER].handle_datagram(now, local, remote, &good[..len]);
        assert!(taken.is_err(), "{len} bytes");
    }
}

#[test]
fn a_party_that_shows_ever_new_addresses_is_bounded() {
    let mut pair = pair();
    let local = address("198.51.100.1:2000");
    let ours = pair.agents[ANSWERER].credentials().clone();
    let mut refused = 0;
    for port in 0..200u16 {
        let remote: SocketAddr = ([192, 0, 2, 1], 10_000 + port).into();
        let datagram = check(&pair, ours.ufrag(), ours.password(), remote);
        let now = pair.now;
        match pair.agents[ANSWERER].handle_datagram(now, local, remote, &datagram) {
            Ok(()) => {}
            Err(refusal) => {
                assert_eq!(refusal, Refusal::TooManySources);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 200 - ice::SOURCES_MAX);
}

/// Someone who replays what the party sent, from elsewhere, moves no media of a pair that is up: a replayed check makes a
/// candidate at most, and without USE-CANDIDATE from there nothing is selected.
#[test]
fn random_datagrams_do_not_disturb_a_pair_that_is_up() {
    let mut pair = pair();
    pair.describe(OFFERER);
    pair.trickle(OFFERER);
    pair.trickle(ANSWERER);
    pair.run(Duration::from_secs(2));
    assert!(pair.is_connected());
    let before = pair.agents[ANSWERER].selected();
    let (local, stranger) = (address("198.51.100.1:2000"), address("203.0.113.66:6666"));
    let mut random = Random::from_number(10);
    for _ in 0..20_000 {
        let mut noise = vec![0; random.below(200) as usize];
        random.fill(&mut noise);
        if noise.len() >= 20 {
            // Well-formed up to its attributes.
            noise.truncate(noise.len() / 4 * 4);
            let len = (noise.len() - 20) as u16;
            noise[..2].copy_from_slice(&[random.below(2) as u8, 1]);
            noise[2..4].copy_from_slice(&len.to_be_bytes());
            noise[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            if noise.len() >= 24 {
                let kinds = [0x0006u16, 0x0008, 0x0024, 0x0025, 0x8028, 0x8029, 0x0020];
                let kind = kinds[random.below(7) as usize];
                noise[20..22].copy_from_slice(&kind.to_be_bytes());
                noise[22..24].copy_from_slice(&(random.below(40) as u16).to_be_bytes());
            }
        }
        let now = pair.now;
        let taken = pair.agents[ANSWERER].handle_datagram(now, local, stranger, &noise);
        assert!(taken.is_err(), "{noise:02x?}");
    }
    pair.run(Duration::from_secs(10));
    assert!(pair.is_connected());
    assert_eq!(pair.agents[ANSWERER].selected(), before);
}

/// RFC 7675 §5.1: consent is an answer to a check that was just made. Who recorded one, and sends it again from anywhere, renews
/// nothing and fills nothing.
#[test]
fn an_answer_gives_consent_once_and_only_from_where_the_check_went() {
    let mut pair = pair();
    pair.describe(OFFERER);
    pair.trickle(OFFERER);
    pair.trickle(ANSWERER);
    pair.run(Duration::from_secs(2));
    assert!(pair.is_connected());
    let (local, remote) = (address("192.0.2.1:1000"), address("198.51.100.1:2000"));

    // The next check of the full agent, and the answer to it.
    let agent = &mut pair.agents[OFFERER];
    let check = loop {
        match agent.poll_transmit() {
            Some(transmit) => break transmit.datagram,
            None => {
                let due = agent.poll_timeout().expect("a check is due");
                pair.now = pair.now.max(due);
                agent.handle_timeout(pair.now);
            }
        }
    };
    let taken = pair.agents[ANSWERER].handle_datagram(pair.now, remote, local, &check);
    assert_eq!(taken, Ok(()));
    let answer = pair.agents[ANSWERER].poll_transmit().expect("an answer").datagram;

    let agent = &mut pair.agents[OFFERER];
    let elsewhere = address("203.0.113.66:6666");
    let from_elsewhere = agent.handle_datagram(pair.now, local, elsewhere, &answer);
    assert_eq!(from_elsewhere, Err(Refusal::Unasked));
    assert_eq!(agent.handle_datagram(pair.now, local, remote, &answer), Ok(()));
    let last = pair.now;

    // The party falls silent, and someone replays its last answer, from its own address and from ever new ones.
    pair.dead = vec![remote];
    for second in 1..=31u16 {
        pair.run(Duration::from_secs(1));
        for from in [remote, ([192, 0, 2, 9], 10_000 + second).into()] {
            let taken = pair.agents[OFFERER].handle_datagram(pair.now, local, from, &answer);
            assert_eq!(taken, Err(Refusal::Unasked), "second {second}");
        }
    }
    assert_eq!(pair.failure(OFFERER), Some(Failure::Consent));
    let (at, _) = pair.events[OFFERER].last().expect("the failure");
    assert!(at.saturating_since(last) <= Duration::from_secs(30), "{at:?}");
}
