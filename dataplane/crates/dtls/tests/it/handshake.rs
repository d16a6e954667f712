//! Handshakes that both want, over networks of every kind.

use std::time::Duration;

use dtls::{Failure, Settings, Versions};
use sans_io::Timestamp;
use sans_io::network::Conditions;

use crate::pair::{Pair, Side};

const ANY: Settings = Settings {
    versions: Versions::Any,
    mtu: 1_200,
    timeout: Duration::from_secs(30),
    retransmit_first: Duration::from_millis(400),
    insecure_seed: None,
};

fn only(versions: Versions) -> Settings {
    Settings { versions, ..ANY }
}

/// `SEED=n` runs one alone.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

#[test]
fn every_pair_of_versions_that_have_one_in_common_connects() -> anyhow::Result<()> {
    for (active, passive, version) in [
        (Versions::Any, Versions::Any, "DTLS 1.3"),
        (Versions::Only12, Versions::Any, "DTLS 1.2"),
        (Versions::Any, Versions::Only12, "DTLS 1.2"),
        (Versions::Only13, Versions::Any, "DTLS 1.3"),
        (Versions::Any, Versions::Only13, "DTLS 1.3"),
    ] {
        let mut pair = Pair::new([only(active), only(passive)], Conditions::PERFECT, 1)?;
        pair.settle();
        pair.assert_keys_agree()?;
        for end in &pair.ends {
            assert_eq!(end.version(), Some(version), "{active:?} with {passive:?}");
        }
    }
    Ok(())
}

#[test]
fn versions_without_one_in_common_fail_on_both_sides_in_time() -> anyhow::Result<()> {
    let settings = [only(Versions::Only13), only(Versions::Only12)];
    let mut pair = Pair::new(settings, Conditions::PERFECT, 1)?;
    pair.settle();
    for side in [Side::Active, Side::Passive] {
        let outcome = pair.outcome(side);
        assert!(
            matches!(outcome, Some(Err(Failure::Timeout | Failure::Protocol))),
            "{side:?}: {outcome:?}"
        );
    }
    Ok(())
}

#[test]
fn a_flight_in_small_fragments_connects() -> anyhow::Result<()> {
    for versions in [Versions::Only12, Versions::Only13] {
        let small = Settings {
            mtu: 300,
            ..only(versions)
        };
        let mut pair = Pair::new([small, small], Conditions::PERFECT, 2)?;
        pair.settle();
        pair.assert_keys_agree()?;
    }
    Ok(())
}

/// Three of ten datagrams lost, some twice, all out of order: connected or over in time, never stuck; and nobody that is connected
/// has other keys than the other. A side may be connected while the other has given up: nothing more can be told over such a
/// network, and signalling ends the call.
#[test]
fn a_third_lost_reordered_and_doubled_connects_or_times_out() -> anyhow::Result<()> {
    let conditions = Conditions {
        loss_permille: 300,
        duplication_permille: 100,
        delay_min: Duration::from_millis(5),
        delay_max: Duration::from_millis(80),
    };
    let (mut connected, mut count) = (0, 0);
    for seed in seeds(60) {
        for versions in [Versions::Only12, Versions::Only13, Versions::Any] {
            let mut pair = Pair::new([only(versions), only(versions)], conditions, seed)?;
            let start = pair.now;
            pair.settle();
            count += 1;
            for side in [Side::Active, Side::Passive] {
                let outcome = pair.outcome(side);
                let settled = pair.settled[side as usize];
                assert!(
                    matches!(outcome, Some(Ok(()) | Err(Failure::Timeout))),
                    "SEED={seed} {versions:?} {side:?}: {outcome:?}"
                );
                let took = settled.unwrap_or(Timestamp::MAX).saturating_since(start);
                assert!(
                    took <= ANY.timeout + Duration::from_millis(100),
                    "SEED={seed} {took:?}"
                );
            }
            if pair.outcome(Side::Active) == Some(Ok(())) && pair.outcome(Side::Passive) == Some(Ok(())) {
                connected += 1;
                pair.assert_keys_agree()?;
            }
        }
    }
    // Each flight has six tries in the time that there is.
    assert!(connected * 10 >= count * 9, "{connected} of {count} connected");
    Ok(())
}

#[test]
fn a_party_that_never_answers_is_given_up_in_time() -> anyhow::Result<()> {
    let silence = Conditions {
        loss_permille: 1_000,
        ..Conditions::PERFECT
    };
    let mut pair = Pair::new([ANY, ANY], silence, 3)?;
    let start = pair.now;
    pair.settle();
    for side in [Side::Active, Side::Passive] {
        assert_eq!(pair.outcome(side), Some(Err(Failure::Timeout)));
        let took = pair.settled[side as usize]
            .unwrap_or(Timestamp::MAX)
            .saturating_since(start);
        assert!(took >= ANY.timeout.mul_f64(0.9), "{side:?} {took:?}");
        assert!(
            took <= ANY.timeout + Duration::from_millis(100),
            "{side:?} {took:?}"
        );
        assert_eq!(pair.ends[side as usize].poll_timeout(), None);
    }
    Ok(())
}

/// RFC 8842 §5.5: the answer is slower than the handshake.
#[test]
fn keys_wait_for_the_fingerprint() -> anyhow::Result<()> {
    let mut pair = Pair::strangers([ANY, ANY], Conditions::PERFECT, 4)?;
    pair.run(pair.now + Duration::from_secs(5));
    assert_eq!(pair.outcome(Side::Active), None);
    assert_eq!(pair.outcome(Side::Passive), None);
    pair.now = pair.now + Duration::from_secs(5);
    for side in [Side::Active, Side::Passive] {
        let fingerprint = pair.identities[side.other() as usize].fingerprint().clone();
        pair.tell(side, vec![fingerprint]);
        assert_eq!(pair.outcome(side), Some(Ok(())));
    }
    pair.assert_keys_agree()
}
