//! How much is set up at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dtls::{Association, Identity};
use line_setup::{Config, Desk, Output};
use media_engine::{SetupId, SetupNews, SetupOrder, SetupState, SetupTerms};
use media_types::{DtlsRole, DtlsSpec, Latching};
use sans_io::Timestamp;

use crate::bench::{epoch, node};

/// The first flight of a party.
fn hello(now: Timestamp) -> Vec<u8> {
    let identity = Identity::generate().expect("an identity");
    let settings = dtls::Settings::default();
    let made = Association::new(&settings, &identity, DtlsRole::Active, epoch(), now);
    made.expect("an association")
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
    let identity = Arc::new(Identity::generate().expect("an identity"));
    let mut desk = Desk::new(config, identity, epoch());
    let hello = hello(now);
    let mut reasons = Vec::new();
    for number in 0..6u64 {
        let host = if number < 4 { 1 } else { 2 };
        let remote: SocketAddr = ([198, 51, 100, host], 4_000 + number as u16).into();
        let id = SetupId(number);
        desk.order(now, 0, SetupOrder::Set(id, terms(remote)));
        desk.handle_datagram(now, (0, id), remote, &hello);
        while let Some((_, output)) = desk.poll_output() {
            if let Output::News(SetupNews::Refused(reason)) = output {
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
