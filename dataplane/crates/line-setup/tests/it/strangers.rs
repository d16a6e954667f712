//! Who may be the party, where its description does not say it exactly.

use std::net::SocketAddr;
use std::time::Duration;

use line_setup::Config;
use media_engine::{SetupNews, SetupTerms};
use media_types::{DtlsRole, Latching};
use sans_io::network::Conditions;

use crate::bench::{Bench, Party, home};

const MINUTE: Duration = Duration::from_secs(60);

/// A passive line whose party is at `place`, with strangers that were faster.
fn among(latching: Latching, place: SocketAddr, strangers: &[SocketAddr]) -> Bench {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 1);
    let node = bench.identity.fingerprint().clone();
    let party = Party::new(place, 1);
    let terms = SetupTerms {
        latching,
        ..bench.terms(DtlsRole::Passive, vec![party.fingerprint()])
    };
    bench.parties.push(party);
    bench.set(terms);
    for (number, address) in strangers.iter().enumerate() {
        let mut stranger = Party::new(*address, 10 + number as u64);
        stranger.shake_hands(bench.now, DtlsRole::Active, &node);
        bench.parties.push(stranger);
    }
    bench.run_until(Duration::from_millis(5), |_| false);
    let now = bench.now;
    bench.parties[0].shake_hands(now, DtlsRole::Active, &node);
    bench.run_until(MINUTE, |bench| {
        bench.secured().is_some() || bench.failed().is_some()
    });
    bench
}

#[test]
fn a_party_behind_a_nat_is_found_by_its_certificate_among_faster_strangers() {
    let behind_nat = ([198, 51, 100, 1], 7_777).into();
    let strangers: [SocketAddr; 2] = [([203, 0, 113, 1], 1).into(), ([203, 0, 113, 2], 2).into()];
    let mut bench = among(Latching::AnyAddress, behind_nat, &strangers);
    bench.run_until(Duration::from_millis(10), |_| false);
    bench.assert_secured_with(0);
    assert!(
        bench.refused().contains(&"dtls_fingerprint"),
        "{:?}",
        bench.refused()
    );
    assert_eq!(bench.desk.handshakes(), 0);
}

#[test]
fn where_the_address_is_to_be_the_same_others_are_refused_at_once() {
    let behind_nat = ([198, 51, 100, 1], 7_777).into();
    let mut bench = among(Latching::SameAddress, behind_nat, &[([203, 0, 113, 1], 1).into()]);
    bench.run_until(Duration::from_millis(10), |_| false);
    bench.assert_secured_with(0);
    assert!(bench.refused().iter().all(|reason| *reason == "dtls_source"));
}

#[test]
fn without_latching_the_party_is_where_it_says() {
    let elsewhere = ([198, 51, 100, 1], 7_777).into();
    let bench = among(Latching::Off, elsewhere, &[]);
    assert_eq!(bench.failed(), Some("dtls_timeout"));
    assert!(bench.refused().iter().all(|reason| *reason == "dtls_source"));
}

#[test]
fn where_all_that_came_were_others_the_reason_says_so() {
    let nobody = ([192, 0, 2, 200], 1).into();
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 1);
    let node = bench.identity.fingerprint().clone();
    let party = Party::new(nobody, 1);
    let terms = SetupTerms {
        latching: Latching::AnyAddress,
        ..bench.terms(DtlsRole::Passive, vec![party.fingerprint()])
    };
    let mut stranger = Party::new(([203, 0, 113, 1], 1).into(), 2);
    stranger.shake_hands(bench.now, DtlsRole::Active, &node);
    bench.parties.push(stranger);
    bench.set(terms);
    bench.run_until(MINUTE, |bench| bench.failed().is_some());
    assert_eq!(bench.failed(), Some("dtls_fingerprint"));
}

#[test]
fn strangers_may_try_so_often_and_the_signalled_address_always() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 1);
    let node = bench.identity.fingerprint().clone();
    let party = Party::new(home(), 1);
    let terms = SetupTerms {
        latching: Latching::AnyAddress,
        ..bench.terms(DtlsRole::Passive, vec![party.fingerprint()])
    };
    bench.set(terms);
    bench.parties.push(party);
    for number in 0..30u16 {
        let mut stranger = Party::new(([203, 0, 113, 1], 1_000 + number).into(), u64::from(number));
        stranger.shake_hands(bench.now, DtlsRole::Active, &node);
        bench.parties.push(stranger);
        bench.run_until(Duration::from_millis(100), |_| false);
    }
    let lost = bench
        .refused()
        .iter()
        .filter(|reason| **reason == "dtls_fingerprint")
        .count();
    assert_eq!(lost, 16, "handshakes of strangers");
    assert!(bench.refused().contains(&"dtls_source"));
    let now = bench.now;
    bench.parties[0].shake_hands(now, DtlsRole::Active, &node);
    bench.run_until(MINUTE, |bench| bench.secured().is_some());
    bench.run_until(Duration::from_millis(10), |_| false);
    bench.assert_secured_with(0);
}

#[test]
fn what_is_no_handshake_of_this_line_is_refused_by_its_reason() {
    let mut bench = Bench::new(Config::default(), Conditions::PERFECT, 1);
    let party = Party::new(home(), 1);
    let terms = bench.terms(DtlsRole::Passive, vec![party.fingerprint()]);
    bench.set(terms);
    let hello = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
    let with = |length: u16, body: &[u8]| [&hello[..], &length.to_be_bytes(), body].concat();
    for (datagram, reason) in [
        (with(1, &[2]), "dtls_stray"),
        (with(40_000, &[1; 20]), "dtls_oversized"),
        (with(30, &[1; 20]), "dtls_truncated"),
        (vec![0, 1, 0, 0], "stun"),
    ] {
        bench.news.clear();
        let now = bench.now;
        bench
            .desk
            .handle_datagram(now, crate::bench::LINE, home(), &datagram);
        bench.take_desk();
        assert_eq!(bench.refused(), [reason]);
        let keys = |news: &SetupNews| matches!(news, SetupNews::Secured { .. });
        assert!(!bench.news.iter().any(keys));
    }
}
