//! Handshakes without ICE: roles, bad networks, descriptions that come late or change.

use std::net::SocketAddr;
use std::time::Duration;

use line_setup::Config;
use media_engine::{SetupNews, SetupOrder, SetupState};
use media_types::{DtlsRole, DtlsSpec, Fingerprint};
use sans_io::network::Conditions;

use crate::bench::{BAD, Bench, LINE, Party, home, seeds};

const MINUTE: Duration = Duration::from_secs(60);

/// A line of this role and its party, each told of the other.
fn pair(role: DtlsRole, conditions: Conditions, seed: u64) -> Bench {
    told(role, conditions, seed, Party::fingerprint)
}

/// The same, where the line is told of another certificate.
fn told(role: DtlsRole, conditions: Conditions, seed: u64, of: impl Fn(&Party) -> Fingerprint) -> Bench {
    let mut bench = Bench::new(Config::default(), conditions, seed);
    let mut party = Party::new(home(), seed);
    let node = bench.identity.fingerprint().clone();
    let other = match role {
        DtlsRole::Active => DtlsRole::Passive,
        DtlsRole::Passive => DtlsRole::Active,
    };
    party.shake_hands(bench.now, other, &node);
    let terms = bench.terms(role, vec![of(&party)]);
    bench.parties.push(party);
    bench.set(terms);
    bench
}

fn is_settled(bench: &Bench) -> bool {
    let node = bench.secured().is_some() || bench.failed().is_some();
    node && bench.parties[0].keys.is_some()
}

#[test]
fn in_either_role_both_have_the_same_keys() {
    for role in [DtlsRole::Active, DtlsRole::Passive] {
        let mut bench = pair(role, Conditions::PERFECT, 1);
        bench.run_until(MINUTE, is_settled);
        bench.assert_secured_with(0);
        assert!(matches!(bench.news[0], SetupNews::Handshaking), "{role:?}");
        assert_eq!(bench.desk.handshakes(), 0, "{role:?}");
    }
}

#[test]
fn over_a_network_that_loses_three_of_ten_they_come_to_keys_or_say_why_not() {
    let mut secured = 0;
    let seeds = seeds(60);
    for seed in seeds.iter().copied() {
        for role in [DtlsRole::Active, DtlsRole::Passive] {
            let mut bench = pair(role, BAD, seed);
            bench.run_until(2 * MINUTE, is_settled);
            assert!(is_settled(&bench), "stuck: SEED={seed} {role:?}");
            match bench.failed() {
                None => {
                    secured += 1;
                    if let Some(Ok(_)) = bench.parties[0].keys {
                        bench.assert_secured_with(0);
                    }
                }
                Some(reason) => assert_eq!(reason, "dtls_timeout", "SEED={seed} {role:?}"),
            }
            assert_eq!(bench.desk.handshakes(), 0, "SEED={seed} {role:?}");
        }
    }
    assert!(secured > seeds.len(), "{secured} of {}", 2 * seeds.len());
}

#[test]
fn nothing_is_given_out_before_the_description_is_there_and_it_may_come_late() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 3);
    let mut party = Party::new(home(), 3);
    let node = bench.identity.fingerprint().clone();
    party.shake_hands(bench.now, DtlsRole::Active, &node);
    let unknown = bench.terms(DtlsRole::Passive, vec![]);
    let known = bench.terms(DtlsRole::Passive, vec![party.fingerprint()]);
    bench.parties.push(party);
    bench.set(unknown);
    bench.run_until(10 * MINUTE, |_| false);
    assert!(bench.parties[0].keys.is_some(), "the party's side is done");
    assert!(bench.secured().is_none());
    bench.set(known);
    bench.assert_secured_with(0);
}

#[test]
fn a_handshake_that_nobody_begins_ends_by_its_time() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 3);
    let party = Party::new(home(), 3);
    let terms = bench.terms(DtlsRole::Passive, vec![party.fingerprint()]);
    bench.set(terms);
    bench.run_until(MINUTE, |bench| bench.failed().is_some());
    assert_eq!(bench.failed(), Some("dtls_timeout"));
}

#[test]
fn another_certificate_than_the_description_names_gives_no_keys() {
    for role in [DtlsRole::Active, DtlsRole::Passive] {
        let somebody_else = |_: &Party| Party::new(home(), 6).fingerprint();
        let mut bench = told(role, Conditions::PERFECT, 5, somebody_else);
        bench.run_until(MINUTE, |bench| bench.failed().is_some());
        assert_eq!(bench.failed(), Some("dtls_fingerprint"), "{role:?}");
        assert!(bench.secured().is_none(), "{role:?}");
    }
}

#[test]
fn what_is_said_again_changes_nothing_and_another_fingerprint_begins_anew() {
    let mut bench = pair(DtlsRole::Passive, Conditions::PERFECT, 7);
    bench.run_until(MINUTE, is_settled);
    let first = bench.secured().expect("secured").0;
    let terms = bench.terms(DtlsRole::Passive, vec![bench.parties[0].fingerprint()]);
    bench.set(terms);
    let unknown = bench.terms(DtlsRole::Passive, vec![]);
    bench.set(unknown);
    bench.run_until(MINUTE, |_| false);
    assert_eq!(bench.failed(), None);
    assert_eq!(bench.secured().expect("still").0, first);

    let node = bench.identity.fingerprint().clone();
    let mut party = Party::new(home(), 8);
    party.shake_hands(bench.now, DtlsRole::Active, &node);
    let terms = bench.terms(DtlsRole::Passive, vec![party.fingerprint()]);
    bench.parties[0] = party;
    bench.set(terms);
    bench.run_until(MINUTE, |bench| bench.parties[0].keys.is_some());
    bench.run_until(Duration::from_millis(10), |_| false);
    assert_ne!(bench.secured().expect("anew").0, first);
    bench.assert_secured_with(0);
}

#[test]
fn another_tls_id_begins_anew_and_a_lost_last_flight_is_sent_again() {
    let mut bench = pair(DtlsRole::Passive, Conditions::PERFECT, 9);
    bench.run_until(MINUTE, is_settled);
    // What is still on its way belongs to the first.
    bench.run_until(Duration::from_secs(1), |_| false);
    let first = bench.secured().expect("secured").0;
    let node = bench.identity.fingerprint().clone();
    let now = bench.now;
    bench.parties[0].keys = None;
    bench.parties[0].shake_hands(now, DtlsRole::Active, &node);
    let mut terms = bench.terms(DtlsRole::Passive, vec![bench.parties[0].fingerprint()]);
    terms.dtls = terms.dtls.map(|dtls| DtlsSpec {
        tls_id: "another".into(),
        ..dtls
    });
    bench.set(terms);
    // What the node says last is lost: it has its keys, and answers when the party asks again.
    bench.run_until(MINUTE, |bench| {
        bench.secured().is_some_and(|(keys, _)| keys != first)
    });
    bench.network.set_conditions(Conditions {
        loss_permille: 1_000,
        ..Conditions::PERFECT
    });
    bench.run_until(Duration::from_millis(1), |_| false);
    bench.network.set_conditions(Conditions::PERFECT);
    bench.run_until(MINUTE, |bench| bench.parties[0].keys.is_some());
    bench.assert_secured_with(0);
}

#[test]
fn a_line_that_was_secured_in_an_earlier_process_shakes_no_hands() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 11);
    let mut party = Party::new(home(), 11);
    let node = bench.identity.fingerprint().clone();
    party.shake_hands(bench.now, DtlsRole::Active, &node);
    let mut terms = bench.terms(DtlsRole::Passive, vec![party.fingerprint()]);
    terms.reached = SetupState {
        selected: None,
        connected: true,
    };
    bench.parties.push(party);
    bench.set(terms);
    bench.run_until(Duration::from_secs(2), |_| false);
    assert!(bench.secured().is_none() && bench.failed().is_none());
    assert!(!bench.refused().is_empty());
    assert!(bench.refused().iter().all(|reason| *reason == "dtls_stray"));
}

/// What comes of a handshake that is not wanted any more says so: the line's next party must not get its keys.
#[test]
fn news_say_which_handshake_they_are_of() {
    let mut bench = pair(DtlsRole::Passive, Conditions::PERFECT, 31);
    bench.run_until(MINUTE, is_settled);
    assert!(bench.rounds.iter().all(|rounds| rounds.handshake == 0));
    let other = Party::new(home(), 32);
    let mut terms = bench.terms(DtlsRole::Passive, vec![other.fingerprint()]);
    terms.rounds.handshake = 1;
    let told = bench.rounds.len();
    bench.set(terms);
    bench.run_until(MINUTE, |bench| bench.failed().is_some());
    assert_eq!(
        bench.failed(),
        Some("dtls_timeout"),
        "the party before has another certificate"
    );
    assert!(bench.rounds.len() > told);
    assert!(bench.rounds[told..].iter().all(|rounds| rounds.handshake == 1));
}

/// The `number`th of a run of well-formed fragments of a message that is not due yet: some thirty of them end a handshake.
fn fragment(number: u8) -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, number, 0, 13];
    record.extend([11, 0, 0x03, 0xe8, 0, 5, 0, 0, number, 0, 0, 1, 0]);
    record
}

/// From the party's own address, by somebody who forges it: an alert in clear does nothing, nor does what answers no ClientHello.
#[test]
fn what_is_forged_before_the_party_answers_changes_nothing() {
    let mut bench = pair(DtlsRole::Active, Conditions::PERFECT, 33);
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    let forged = std::iter::once(alert.to_vec()).chain((0..60).map(fragment));
    for datagram in forged {
        bench.desk.handle_datagram(bench.now, LINE, home(), &datagram);
        bench.take_desk();
    }
    let refused = bench.refused();
    assert_eq!((refused[0], refused.len()), ("dtls_alert", 61));
    assert!(refused[1..].iter().all(|reason| *reason == "dtls_stray"));
    bench.run_until(MINUTE, is_settled);
    bench.assert_secured_with(0);
}

/// Whoever can make datagrams of the party's address may break a handshake (RFC 6347 has no defence). One that is ours is begun anew, and
/// a party that has lost the first as well takes the next.
#[test]
fn a_handshake_of_ours_that_is_broken_on_the_way_is_begun_anew() {
    let mut bench = pair(DtlsRole::Active, Conditions::PERFECT, 34);
    let mut number = 0;
    let mut breaks = |bench: &mut Bench| {
        for _ in 0..60 {
            number = (number + 1) % 250;
            bench
                .desk
                .handle_datagram(bench.now, LINE, home(), &fragment(number));
            bench.take_desk();
        }
    };
    // From the party's first answer on, whenever that comes.
    while bench.desk.handshakes() == 1 {
        bench.run_until(Duration::from_millis(1), |_| false);
        breaks(&mut bench);
        assert!(bench.secured().is_none(), "too late to break it");
    }
    assert_eq!(bench.failed(), None);
    let node = bench.identity.fingerprint().clone();
    // What was on its way goes where the first one was.
    bench.run_until(Duration::from_millis(100), |_| false);
    let now = bench.now;
    bench.parties[0].shake_hands(now, DtlsRole::Passive, &node);
    bench.run_until(Duration::from_secs(5), is_settled);
    bench.assert_secured_with(0);
}

/// RFC 8842 §4: another address, where the one before came to nothing.
#[test]
fn a_line_that_failed_tries_again_at_another_address() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 35);
    let mut party = Party::new(home(), 35);
    let node = bench.identity.fingerprint().clone();
    let mut terms = bench.terms(DtlsRole::Active, vec![party.fingerprint()]);
    terms.remote = Some(([203, 0, 113, 7], 7_000).into());
    bench.set(terms.clone());
    bench.run_until(MINUTE, |bench| bench.failed().is_some());
    assert_eq!(bench.failed(), Some("dtls_timeout"));
    bench.set(terms.clone());
    bench.run_until(MINUTE, |_| false);
    assert_eq!(bench.desk.handshakes(), 0, "nothing new is no reason");
    party.shake_hands(bench.now, DtlsRole::Passive, &node);
    bench.parties.push(party);
    terms.remote = Some(home());
    bench.set(terms);
    bench.run_until(MINUTE, |bench| {
        bench.secured().is_some() && bench.parties[0].keys.is_some()
    });
    bench.assert_secured_with(0);
}

/// A handshake that only waits for the answer to our offer takes no place of others, however long that rings.
/// A handshake whose keys the engine had no room for counts as one that failed: another place is a reason to try again.
#[test]
fn a_line_whose_keys_were_discarded_tries_again_at_another_address() {
    let elsewhere: SocketAddr = "203.0.113.8:4000".parse().expect("an address");
    for is_discarded in [false, true] {
        let mut bench = pair(DtlsRole::Active, Conditions::PERFECT, 41);
        bench.run_until(MINUTE, is_settled);
        let first = bench.secured().expect("secured").0;
        if is_discarded {
            bench.desk.order(bench.now, LINE.0, SetupOrder::Discard(LINE.1));
        }
        let mut party = Party::new(elsewhere, 8);
        let node = bench.identity.fingerprint().clone();
        party.identity = bench.parties[0].identity.clone();
        party.shake_hands(bench.now, DtlsRole::Passive, &node);
        let mut terms = bench.terms(DtlsRole::Active, vec![party.fingerprint()]);
        terms.remote = Some(elsewhere);
        bench.parties.push(party);
        bench.set(terms);
        bench.run_until(MINUTE, |bench| bench.parties[1].keys.is_some());
        assert_eq!(matches!(bench.parties[1].keys, Some(Ok(_))), is_discarded);
        assert_eq!(bench.secured().expect("still").0 != first, is_discarded);
    }
}

#[test]
fn what_waits_for_a_description_holds_no_place() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 36);
    let mut party = Party::new(home(), 36);
    let node = bench.identity.fingerprint().clone();
    party.shake_hands(bench.now, DtlsRole::Active, &node);
    let unknown = bench.terms(DtlsRole::Passive, vec![]);
    bench.parties.push(party);
    bench.set(unknown);
    bench.run_until(MINUTE, |bench| bench.parties[0].keys.is_some());
    bench.run_until(Duration::from_secs(1), |_| false);
    assert_eq!(bench.desk.handshakes(), 0);
    assert!(bench.secured().is_none());
}

/// So many, and no more: whoever breaks them cannot have the node work for ever.
#[test]
fn a_handshake_of_ours_that_is_broken_as_often_as_may_be_fails() {
    for attempts_max in [1, 3] {
        let config = Config {
            attempts_max,
            ..Config::default()
        };
        let mut bench = Bench::new(config, Conditions::PERFECT, 37);
        let mut party = Party::new(home(), 37);
        let node = bench.identity.fingerprint().clone();
        let terms = bench.terms(DtlsRole::Active, vec![party.fingerprint()]);
        party.shake_hands(bench.now, DtlsRole::Passive, &node);
        bench.parties.push(party);
        bench.set(terms);
        let (mut number, mut broken) = (0, 0);
        for _ in 0..2_000 {
            let was_under_way = bench.desk.handshakes();
            bench.run_until(Duration::from_millis(1), |_| false);
            for _ in 0..60 {
                number = (number + 1) % 250;
                bench
                    .desk
                    .handle_datagram(bench.now, LINE, home(), &fragment(number));
                bench.take_desk();
            }
            if was_under_way == 1 && bench.desk.handshakes() == 0 {
                broken += 1;
                // The party takes the next one as its first.
                bench.parties[0].dtls = None;
                let now = bench.now;
                bench.run_until(Duration::from_millis(100), |_| false);
                bench.parties[0].shake_hands(now, DtlsRole::Passive, &node);
            }
            if bench.failed().is_some() {
                break;
            }
        }
        assert_eq!(broken, attempts_max);
        assert!(
            matches!(bench.failed(), Some("dtls_protocol" | "dtls_queue")),
            "{:?}",
            bench.failed()
        );
        assert!(bench.secured().is_none());
    }
}
