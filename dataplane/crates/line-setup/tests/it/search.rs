//! Lines whose addresses ICE finds, with a handshake over the pair.

use std::time::Duration;

use line_setup::Config;
use media_engine::{SetupNews, SetupOrder, SetupState, SetupTerms};
use media_types::{DtlsRole, IceCredentials, IceMode, Latching};
use sans_io::Random;
use sans_io::network::Conditions;

use crate::bench::{BAD, Bench, LINE, Party, home, seeds};

const MINUTE: Duration = Duration::from_secs(60);

/// A line with ICE and a passive handshake, and a party that begins when it has a pair.
fn found(mode: IceMode, conditions: Conditions, seed: u64) -> (Bench, SetupTerms) {
    found_by(Config::default(), mode, conditions, seed)
}

fn found_by(config: Config, mode: IceMode, conditions: Conditions, seed: u64) -> (Bench, SetupTerms) {
    let mut bench = Bench::new(config, conditions, seed);
    let mut random = Random::from_number(seed);
    let party = Party::new(home(), seed);
    let fingerprint = party.fingerprint();
    bench.parties.push(party);
    bench.begins_with = Some(bench.identity.fingerprint().clone());
    let ice = bench.with_ice(0, mode, &mut random);
    let terms = SetupTerms {
        remote: None,
        latching: Latching::Off,
        ice: Some(ice),
        ..bench.terms(DtlsRole::Passive, vec![fingerprint])
    };
    bench.set(terms.clone());
    (bench, terms)
}

fn selections(bench: &Bench) -> usize {
    let selected = |news: &&SetupNews| matches!(news, SetupNews::Selected(remote) if *remote == home());
    bench.news.iter().filter(selected).count()
}

fn is_settled(bench: &Bench) -> bool {
    let unreachable = bench
        .news
        .iter()
        .any(|news| matches!(news, SetupNews::Unreachable(_)));
    unreachable || bench.failed().is_some() || bench.secured().is_some() && bench.parties[0].keys.is_some()
}

#[test]
fn a_pair_is_selected_and_hands_are_shaken_over_it() {
    for mode in [IceMode::Lite, IceMode::Controlling, IceMode::Controlled] {
        let (mut bench, _) = found(mode, Conditions::PERFECT, 1);
        bench.run_until(MINUTE, is_settled);
        assert!(selections(&bench) > 0, "{mode:?}");
        bench.assert_secured_with(0);
        // Consent goes on for as long as the party is there.
        bench.run_until(3 * MINUTE, |_| false);
        let silent = |news: &SetupNews| matches!(news, SetupNews::Silent(_) | SetupNews::Unreachable(_));
        assert!(!bench.news.iter().any(silent), "{mode:?}");
    }
}

#[test]
fn over_a_network_that_loses_three_of_ten_they_come_to_keys_or_say_why_not() {
    let mut secured = 0;
    let seeds = seeds(40);
    for seed in seeds.iter().copied() {
        for mode in [IceMode::Lite, IceMode::Controlling] {
            let (mut bench, _) = found(mode, BAD, seed);
            bench.run_until(3 * MINUTE, is_settled);
            assert!(is_settled(&bench), "stuck: SEED={seed} {mode:?}");
            if bench.secured().is_some() {
                secured += 1;
                if let Some(Ok(_)) = bench.parties[0].keys {
                    bench.assert_secured_with(0);
                }
            } else if let Some(reason) = bench.failed() {
                assert_eq!(reason, "dtls_timeout", "SEED={seed} {mode:?}");
            }
        }
    }
    assert!(secured > seeds.len(), "{secured} of {}", 2 * seeds.len());
}

#[test]
fn a_party_that_goes_silent_is_told_of_and_one_that_comes_back_too() {
    for (mode, is_lite) in [(IceMode::Lite, true), (IceMode::Controlling, false)] {
        // Sooner than the party gives up by itself.
        let config = Config {
            ice_consent: Duration::from_secs(8),
            ..Config::default()
        };
        let (mut bench, _) = found_by(config, mode, Conditions::PERFECT, 2);
        bench.run_until(MINUTE, is_settled);
        let before = selections(&bench);
        bench.network.set_conditions(Conditions {
            loss_permille: 1_000,
            ..Conditions::PERFECT
        });
        bench.run_until(Duration::from_secs(10), |_| false);
        let silent = bench
            .news
            .iter()
            .any(|news| matches!(news, SetupNews::Silent("ice_consent")));
        let unreachable = bench
            .news
            .iter()
            .any(|news| matches!(news, SetupNews::Unreachable("ice_consent")));
        assert_eq!((silent, unreachable), (is_lite, !is_lite), "{mode:?}");
        assert_eq!(selections(&bench), before);
        bench.network.set_conditions(Conditions::PERFECT);
        bench.run_until(Duration::from_secs(20), |_| false);
        // Who made checks that were not answered needs a restart (RFC 7675 §5.1).
        assert_eq!(selections(&bench) > before, is_lite, "{mode:?}: {:?}", bench.news);
    }
}

#[test]
fn a_party_without_a_pair_is_unreachable_by_its_time() {
    let (mut bench, _) = found(
        IceMode::Lite,
        Conditions {
            loss_permille: 1_000,
            ..Conditions::PERFECT
        },
        3,
    );
    bench.run_until(MINUTE, is_settled);
    assert!(
        bench
            .news
            .iter()
            .any(|news| matches!(news, SetupNews::Unreachable("ice_timeout")))
    );
    assert!(bench.secured().is_none());
}

#[test]
fn a_handshake_from_elsewhere_than_the_pair_is_refused() {
    let (mut bench, _) = found(IceMode::Lite, Conditions::PERFECT, 4);
    let node = bench.identity.fingerprint().clone();
    let mut stranger = Party::new(([203, 0, 113, 9], 9).into(), 5);
    stranger.shake_hands(bench.now, DtlsRole::Active, &node);
    bench.parties.push(stranger);
    bench.run_until(MINUTE, is_settled);
    bench.assert_secured_with(0);
    assert!(bench.refused().contains(&"dtls_source"), "{:?}", bench.refused());
    assert!(bench.parties[1].keys.is_none());
}

#[test]
fn other_credentials_restart_and_keep_the_keys() {
    let (mut bench, terms) = found(IceMode::Lite, Conditions::PERFECT, 6);
    bench.run_until(MINUTE, is_settled);
    let keys = bench.secured().expect("secured").0;
    let before = selections(&bench);
    let ice = bench.with_ice(0, IceMode::Lite, &mut Random::from_number(99));
    bench.set(SetupTerms {
        ice: Some(ice),
        ..terms
    });
    bench.run_until(Duration::from_secs(5), |_| false);
    assert_eq!(bench.secured().expect("still").0, keys);
    assert!(bench.failed().is_none());
    assert_eq!(
        selections(&bench),
        before + 1,
        "its new name is heard where the old one was"
    );
    let silent = |news: &SetupNews| matches!(news, SetupNews::Silent(_) | SetupNews::Unreachable(_));
    bench.run_until(2 * MINUTE, |_| false);
    assert!(!bench.news.iter().any(silent), "{:?}", bench.news);
}

#[test]
fn a_line_of_an_earlier_process_goes_on_with_its_pair() {
    let (mut bench, terms) = found(IceMode::Lite, Conditions::PERFECT, 7);
    bench.run_until(MINUTE, is_settled);
    bench.desk.order(bench.now, LINE.0, SetupOrder::End(LINE.1));
    bench.news.clear();
    bench.set(SetupTerms {
        reached: SetupState {
            selected: Some(home()),
            connected: true,
        },
        ..terms
    });
    bench.run_until(2 * MINUTE, |_| false);
    let silent = |news: &SetupNews| matches!(news, SetupNews::Silent(_) | SetupNews::Unreachable(_));
    assert!(!bench.news.iter().any(silent), "{:?}", bench.news);
    assert!(bench.failed().is_none());
}

#[test]
fn checks_that_are_not_the_partys_teach_nothing() {
    let (mut bench, terms) = found(IceMode::Lite, Conditions::PERFECT, 8);
    let stranger = Party::new(([203, 0, 113, 9], 9).into(), 5);
    bench.parties.push(stranger);
    // It knows the names and not the password.
    let wrong = bench.with_ice(1, IceMode::Lite, &mut Random::from_number(5));
    let ours = terms.ice.as_ref().expect("with ICE");
    let theirs = ours.remote.as_ref().expect("its credentials");
    let forged = IceCredentials::new(ours.local.ufrag(), wrong.local.password()).expect("credentials");
    let own = IceCredentials::new(theirs.ufrag(), wrong.local.password()).expect("credentials");
    let settings = ice::Settings {
        mode: IceMode::Controlling,
        ..ice::Settings::default()
    };
    let mut agent = ice::Agent::new(
        settings,
        own,
        &[bench.parties[1].address],
        crate::bench::epoch(),
        bench.now,
    );
    agent.set_remote_credentials(bench.now, forged);
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.1 20000 typ host";
    agent
        .add_remote_candidate(bench.now, candidate)
        .expect("a candidate");
    bench.parties[1].ice = Some(agent);
    bench.begins_with = None;
    bench.run_until(Duration::from_secs(3), |_| false);
    assert!(
        bench.refused().contains(&"stun_integrity"),
        "{:?}",
        bench.refused()
    );
    let elsewhere = |news: &SetupNews| matches!(news, SetupNews::Selected(remote) if *remote != home());
    assert!(!bench.news.iter().any(elsewhere));
}

/// The next process's agent knows nothing of a party that was connected: it goes on for as long as that is there, though it nominates
/// nothing anew, and notices when it is not.
#[test]
fn a_party_that_does_not_nominate_again_stays_connected_over_a_takeover() {
    for mode in [IceMode::Lite, IceMode::Controlled] {
        let (mut bench, terms) = found(mode, Conditions::PERFECT, 41);
        bench.run_until(MINUTE, is_settled);
        bench.desk.order(bench.now, LINE.0, SetupOrder::End(LINE.1));
        bench.news.clear();
        // Nothing comes from it for longer than a search may take, and its consent has just been given.
        bench.parties[0].ice = None;
        bench.set(SetupTerms {
            reached: SetupState {
                selected: Some(home()),
                connected: true,
            },
            ..terms
        });
        bench.run_until(Duration::from_secs(29), |_| false);
        assert!(bench.news.is_empty(), "{mode:?}: {:?}", bench.news);
        bench.run_until(Duration::from_secs(2), |_| false);
        let lost = |news: &SetupNews| {
            matches!(
                news,
                SetupNews::Silent("ice_consent") | SetupNews::Unreachable("ice_consent")
            )
        };
        assert!(bench.news.iter().any(lost), "{mode:?}: {:?}", bench.news);
    }
}

/// Another fork of our offer answers, elsewhere: the search begins anew by its credentials alone, and its handshake waits for its pair.
#[test]
fn the_credentials_of_another_party_alone_begin_another_search() {
    let (mut bench, terms) = found(IceMode::Lite, Conditions::PERFECT, 42);
    bench.run_until(MINUTE, is_settled);
    let before = bench.news.len();
    let ours = terms.ice.clone().expect("with ICE");
    let address = ([203, 0, 113, 40], 4_000).into();
    let mut fork = Party::new(address, 43);
    let theirs = IceCredentials::random(&mut Random::from_number(43));
    let settings = ice::Settings {
        mode: IceMode::Controlling,
        ..ice::Settings::default()
    };
    let mut agent = ice::Agent::new(
        settings,
        theirs.clone(),
        &[address],
        crate::bench::epoch_of(),
        bench.now,
    );
    agent.set_remote_credentials(bench.now, ours.local.clone());
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.1 20000 typ host";
    agent
        .add_remote_candidate(bench.now, candidate)
        .expect("a candidate");
    fork.ice = Some(agent);
    let fingerprint = fork.fingerprint();
    bench.parties.push(fork);
    bench.set(SetupTerms {
        ice: Some(media_types::IceSpec {
            remote: Some(theirs),
            candidates: vec![],
            ..ours
        }),
        ..bench.terms(DtlsRole::Passive, vec![fingerprint])
    });
    bench.run_until(MINUTE, |bench| bench.parties[1].keys.is_some());
    bench.run_until(Duration::from_secs(1), |_| false);
    let course: Vec<_> = bench.news[before..]
        .iter()
        .filter_map(|news| match news {
            SetupNews::Selected(remote) => Some(("selected", *remote)),
            SetupNews::Secured { remote, .. } => Some(("secured", *remote)),
            _ => None,
        })
        .collect();
    assert_eq!(course, [("selected", address), ("secured", address)]);
    bench.assert_secured_with(1);
}

/// Two forks of our offer: one is heard before any description is there, and shakes hands; the other one answers.
#[test]
fn who_was_heard_first_is_not_taken_for_the_party_that_answers() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 44);
    let mut random = Random::from_number(44);
    bench.parties.push(Party::new(home(), 44));
    bench.begins_with = Some(bench.identity.fingerprint().clone());
    let ice = bench.with_ice(0, IceMode::Lite, &mut random);
    let invited = SetupTerms {
        remote: None,
        latching: Latching::Off,
        ice: Some(media_types::IceSpec {
            remote: None,
            candidates: vec![],
            ..ice.clone()
        }),
        ..bench.terms(DtlsRole::Passive, vec![])
    };
    bench.set(invited.clone());
    bench.run_until(MINUTE, |bench| bench.parties[0].keys.is_some());
    assert!(selections(&bench) > 0, "a lite agent answers at once");
    assert!(bench.secured().is_none(), "nobody knows who that is");
    let address = ([203, 0, 113, 40], 4_000).into();
    let mut fork = Party::new(address, 45);
    let theirs = IceCredentials::random(&mut random);
    let settings = ice::Settings {
        mode: IceMode::Controlling,
        ..ice::Settings::default()
    };
    let mut agent = ice::Agent::new(
        settings,
        theirs.clone(),
        &[address],
        crate::bench::epoch_of(),
        bench.now,
    );
    agent.set_remote_credentials(bench.now, ice.local.clone());
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.1 20000 typ host";
    agent
        .add_remote_candidate(bench.now, candidate)
        .expect("a candidate");
    fork.ice = Some(agent);
    let fingerprint = fork.fingerprint();
    bench.parties.push(fork);
    bench.set(SetupTerms {
        ice: Some(media_types::IceSpec {
            remote: Some(theirs),
            candidates: vec![],
            ..ice
        }),
        dtls: bench.terms(DtlsRole::Passive, vec![fingerprint]).dtls,
        ..invited
    });
    bench.run_until(MINUTE, |bench| bench.parties[1].keys.is_some());
    bench.run_until(Duration::from_secs(1), |_| false);
    assert_eq!(bench.failed(), None);
    bench.assert_secured_with(1);
}
