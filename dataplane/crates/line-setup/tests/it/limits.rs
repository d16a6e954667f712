//! How much is set up at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dtls::{Association, Endpoint, Identity};
use line_setup::{Config, Desk, Output};
use media_engine::{SetupId, SetupNews, SetupOrder, SetupRounds, SetupState, SetupTerms};
use media_types::{DtlsRole, DtlsSpec, Latching};
use sans_io::Timestamp;

use crate::bench::{epoch, node};

fn endpoint() -> Endpoint {
    let identity = Arc::new(Identity::generate().expect("an identity"));
    Endpoint::new(dtls::Settings::default(), identity).expect("an endpoint")
}

/// The first flight of a party.
fn hello(now: Timestamp) -> Vec<u8> {
    Association::new(&endpoint(), DtlsRole::Active, epoch(), now)
        .poll_transmit()
        .expect("a ClientHello")
}

fn terms(remote: SocketAddr) -> Box<SetupTerms> {
    Box::new(SetupTerms {
        local: node(),
        remote: Some(remote),
        latching: Latching::Off,
        dtls: Some(DtlsSpec {
            role: DtlsRole::Passive,
            fingerprints: vec![],
            tls_id: String::new(),
        }),
        ice: None,
        reached: SetupState::default(),
        rounds: SetupRounds::default(),
    })
}

#[test]
fn handshakes_at_once_and_of_one_address_in_a_second_have_limits() {
    let now = Timestamp::from_millis(1_000);
    let config = Config {
        handshakes_max: 4,
        handshakes_per_source_max: 3,
        ..Config::default()
    };
    let mut desk = Desk::new(config, endpoint(), epoch());
    let hello = hello(now);
    let mut reasons = Vec::new();
    for number in 0..6u64 {
        let host = if number < 4 { 1 } else { 2 };
        let remote: SocketAddr = ([198, 51, 100, host], 4_000 + number as u16).into();
        let id = SetupId(number);
        desk.order(now, 0, SetupOrder::Set(id, terms(remote)));
        desk.handle_datagram(now, (0, id), remote, &hello);
        while let Some((_, output)) = desk.poll_output() {
            if let Output::News(report) = output
                && let SetupNews::Refused(reason) = report.news
            {
                reasons.push((number, reason.reason()));
            }
        }
    }
    assert_eq!(reasons, [(3, "dtls_source_rate"), (5, "dtls_limit")]);
    assert_eq!((desk.lines(), desk.handshakes()), (6, 4));
    // Lines that end leave nothing behind.
    for number in 0..6 {
        desk.order(now, 0, SetupOrder::End(SetupId(number)));
    }
    assert_eq!(
        (desk.lines(), desk.handshakes(), desk.poll_timeout()),
        (0, 0, None)
    );
    desk.handle_datagram(now + Duration::from_secs(1), (0, SetupId(1)), node(), &hello);
    assert!(desk.poll_output().is_none(), "of a line that is gone");
}

/// One of ours waits for its turn, and says what it waited for when it never comes.
#[test]
fn a_handshake_of_ours_that_is_not_admitted_is_tried_again() {
    let config = Config {
        handshakes_max: 1,
        ..Config::default()
    };
    let mut desk = Desk::new(config, endpoint(), epoch());
    let mut now = Timestamp::from_millis(1_000);
    let party: SocketAddr = ([198, 51, 100, 1], 4_000).into();
    let [first, second] = [SetupId(1), SetupId(2)];
    let fingerprint = endpoint().identity().fingerprint().clone();
    for id in [first, second] {
        let mut terms = terms(party);
        let dtls = terms.dtls.as_mut().expect("with DTLS");
        (dtls.role, dtls.fingerprints) = (DtlsRole::Active, vec![fingerprint.clone()]);
        desk.order(now, 0, SetupOrder::Set(id, terms));
    }
    let begun = |desk: &mut Desk| {
        let mut begun = Vec::new();
        while let Some(((_, id), output)) = desk.poll_output() {
            if let Output::News(report) = output {
                begun.push((id, report.news));
            }
        }
        begun
    };
    assert!(matches!(begun(&mut desk)[..], [(id, SetupNews::Handshaking)] if id == first));
    desk.order(now, 0, SetupOrder::End(first));
    let mut news = Vec::new();
    while news.is_empty() && now < Timestamp::from_millis(2_000) {
        now = desk.poll_timeout().expect("a time to try again");
        desk.handle_timeout(now, 8);
        news = begun(&mut desk);
    }
    assert!(
        matches!(news[..], [(id, SetupNews::Handshaking)] if id == second),
        "{news:?}"
    );
    // One that waits for its description holds the only place for as long as it is under way; it is asked for again when it ends.
    desk.order(now, 0, SetupOrder::End(second));
    let third = SetupId(3);
    let mut late = terms(party);
    let dtls = late.dtls.as_mut().expect("with DTLS");
    (dtls.role, dtls.fingerprints) = (DtlsRole::Active, vec![fingerprint]);
    let mut holds = late.clone();
    holds.remote = Some(([198, 51, 100, 2], 4_000).into());
    holds.dtls.as_mut().expect("with DTLS").fingerprints.clear();
    let mut number = 4;
    desk.order(now, 0, SetupOrder::Set(SetupId(number), holds.clone()));
    desk.order(now, 0, SetupOrder::Set(third, late));
    let begun_at = now;
    let end = begun_at + Duration::from_secs(31);
    let mut reason = None;
    while let Some(due) = desk.poll_timeout().filter(|due| *due < end && reason.is_none()) {
        now = now.max(due);
        if now > begun_at + Duration::from_secs(25) && number == 4 {
            // Another takes the place in the same moment.
            desk.order(now, 0, SetupOrder::End(SetupId(number)));
            number += 1;
            desk.order(now, 0, SetupOrder::Set(SetupId(number), holds.clone()));
        }
        desk.handle_timeout(now, 8);
        reason = begun(&mut desk).into_iter().find_map(|(id, news)| match news {
            SetupNews::Failed(reason) if id == third => Some(reason),
            _ => None,
        });
    }
    assert_eq!(reason, Some("dtls_limit"));
}
