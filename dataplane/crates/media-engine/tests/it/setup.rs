//! Lines whose keys and addresses are found out beside the engine: what it takes of what it is told, and from whom.

use std::net::SocketAddr;

use media_engine::{SetupId, SetupNews, SetupOrder, SetupReport, SetupRounds, SetupTerms};
use media_types::{
    DtlsRole, DtlsSpec, DtlsState, Fingerprint, HashFunction, IceCredentials, IceMode, IceSpec, IceState,
    Latching, LineReport, LineSpec, SrtpKey, SrtpSpec, SrtpSuite,
};

use crate::bench::{Bench, at, call, config, leg, line};
use crate::relay::locals;

const A: &str = "192.0.2.1:4000";
const ELSEWHERE: &str = "192.0.2.1:4600";
const B: &str = "192.0.2.2:5000";
/// The beginning of a STUN message, and of a DTLS record.
const STUN: [u8; 20] = [0; 20];
const DTLS: [u8; 20] = [22; 20];

fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint::new(HashFunction::Sha256, &[byte; 32]).expect("a fingerprint")
}

fn with_dtls(byte: u8) -> LineSpec {
    LineSpec {
        rtcp_mux: true,
        dtls: Some(Box::new(DtlsSpec {
            role: DtlsRole::Passive,
            fingerprints: vec![fingerprint(byte)],
            tls_id: String::new(),
        })),
        ..line(A)
    }
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials::new(name, "0123456789012345678901").expect("credentials")
}

fn with_ice(remote: Option<&str>) -> LineSpec {
    LineSpec {
        remote: None,
        ice: Some(Box::new(IceSpec {
            mode: IceMode::Lite,
            local: credentials("node"),
            remote: remote.map(credentials),
            candidates: vec![],
        })),
        ..with_dtls(1)
    }
}

fn secured(byte: u8, remote: &str) -> SetupNews {
    let key = |byte| SrtpKey::new(SrtpSuite::AesCm128HmacSha1_80, &[byte; 30]).expect("a key");
    SetupNews::Secured {
        keys: SrtpSpec {
            receive: vec![key(byte)],
            send: Some(key(!byte)),
        },
        version: "DTLS 1.3",
        remote: at(remote),
    }
}

/// A call whose first party is set up; the line's name and its latest terms are taken with [`Line::ordered`].
struct Line {
    bench: Bench,
    face: SocketAddr,
    id: SetupId,
    rounds: SetupRounds,
}

impl Line {
    fn new(a: LineSpec) -> Self {
        Self::on(Bench::new(config()), a)
    }

    fn on(mut bench: Bench, a: LineSpec) -> Self {
        let made = bench.create(&call("c", a, line(B)));
        let face = locals(&made).0.rtp;
        let mut line = Self {
            bench,
            face,
            id: SetupId(0),
            rounds: SetupRounds::default(),
        };
        line.ordered();
        line
    }

    fn ordered(&mut self) -> SetupTerms {
        let Some(SetupOrder::Set(id, terms)) = self.bench.engine.poll_setup_order() else {
            panic!("an order");
        };
        (self.id, self.rounds) = (id, terms.rounds);
        *terms
    }

    fn update(&mut self, a: LineSpec) -> SetupTerms {
        self.bench
            .update("c", &[leg("a", vec![a]), leg("b", vec![line(B)])]);
        self.ordered()
    }

    fn tell(&mut self, rounds: SetupRounds, news: SetupNews) {
        let now = self.bench.now;
        let report = SetupReport { rounds, news };
        self.bench.engine.handle_setup_report(now, self.id, report);
    }

    fn report(&mut self) -> LineReport {
        self.bench.query("c").expect("a call").legs[0].lines[0].clone()
    }

    fn dtls(&mut self) -> DtlsState {
        self.report().dtls.expect("with DTLS").state
    }

    fn has_keys(&mut self) -> bool {
        self.report().srtp.is_some_and(|srtp| srtp.send.is_some())
    }
}

#[test]
fn keys_of_a_handshake_before_secure_no_other_partys_line() {
    let mut line = Line::new(with_dtls(1));
    let before = line.rounds;
    line.update(with_dtls(2));
    assert_ne!(line.rounds, before);
    line.tell(before, SetupNews::Handshaking);
    line.tell(before, secured(1, A));
    assert_eq!((line.dtls(), line.has_keys()), (DtlsState::New, false));
    line.tell(before, SetupNews::Failed("dtls_timeout"));
    assert_eq!(line.dtls(), DtlsState::New);
    let rounds = line.rounds;
    line.tell(rounds, secured(2, A));
    assert_eq!((line.dtls(), line.has_keys()), (DtlsState::Connected, true));
    // The same certificate again, and a hold, are the same handshake.
    line.update(with_dtls(2));
    assert_eq!(line.rounds, rounds);
    assert!(line.has_keys());
}

/// A line that has had as many keys as it may: whoever sets it up is told that its handshake is worth nothing.
#[test]
fn keys_that_a_line_has_no_room_for_are_discarded() {
    let mut config = config();
    config.limits.srtp_keys_per_line_max = 3;
    let mut line = Line::on(Bench::new(config), with_dtls(1));
    let mut byte = 1;
    loop {
        let rounds = line.rounds;
        line.tell(rounds, secured(byte, A));
        if line.dtls() == DtlsState::Failed {
            break;
        }
        byte += 1;
        assert!(byte < 8, "three keys at the most");
        line.update(with_dtls(byte));
    }
    assert!(byte > 1, "the first has room");
    assert_eq!(line.report().dtls.expect("with DTLS").failure, "srtp_keys");
    let order = line.bench.engine.poll_setup_order();
    assert!(
        matches!(order, Some(SetupOrder::Discard(id)) if id == line.id),
        "{order:?}"
    );
    assert!(!line.has_keys());
}

#[test]
fn a_handshake_that_fails_leaves_no_keys() {
    let mut line = Line::new(with_dtls(1));
    line.tell(line.rounds, secured(1, A));
    line.update(with_dtls(2));
    line.tell(line.rounds, SetupNews::Failed("dtls_fingerprint"));
    assert_eq!((line.dtls(), line.has_keys()), (DtlsState::Failed, false));
}

#[test]
fn media_goes_to_whoever_has_proven_itself_though_another_was_taken_for_it() {
    let mut line = Line::new(with_dtls(1));
    line.tell(line.rounds, secured(1, A));
    assert_eq!(line.report().learned, Some(at(A)));
    // Behind its NAT the party shakes hands anew, from another port.
    line.update(with_dtls(2));
    line.tell(line.rounds, secured(2, ELSEWHERE));
    assert_eq!(line.report().learned, Some(at(ELSEWHERE)));
}

#[test]
fn another_party_of_ice_is_searched_for_anew_and_what_is_told_of_the_one_before_is_late() {
    let mut line = Line::new(with_ice(None));
    // Its description comes: the same search.
    let rounds = line.rounds;
    line.update(with_ice(Some("fork1")));
    assert_eq!(line.rounds, rounds);
    line.tell(rounds, SetupNews::Selected(at(A)));
    assert_eq!(line.report().ice.expect("with ICE").state, IceState::Connected);
    let terms = line.update(with_ice(Some("fork2")));
    assert_eq!(terms.latching, Latching::Off);
    assert_ne!(line.rounds.search, rounds.search);
    assert_eq!(
        line.rounds.handshake, rounds.handshake,
        "the certificate is the same"
    );
    let found = line.report().ice.expect("with ICE");
    assert_eq!((found.state, found.selected), (IceState::Checking, Some(at(A))));
    line.tell(rounds, SetupNews::Selected(at(B)));
    line.tell(rounds, SetupNews::Unreachable("ice_timeout"));
    assert_eq!(line.report().ice.expect("with ICE").selected, Some(at(A)));
    line.tell(line.rounds, SetupNews::Selected(at(ELSEWHERE)));
    let found = line.report().ice.expect("with ICE");
    assert_eq!(
        (found.state, found.selected, found.failure),
        (IceState::Connected, Some(at(ELSEWHERE)), "")
    );
}

#[test]
fn strangers_spend_nothing_of_what_the_party_may_send() {
    for (spec, party) in [(with_dtls(1), A), (with_ice(Some("party")), A)] {
        let mut line = Line::new(spec);
        if line.report().ice.is_some() {
            line.tell(line.rounds, SetupNews::Selected(at(party)));
        }
        let per_second = 200;
        let mut taken = 0;
        for number in 0..1_000 {
            let stranger = format!("203.0.113.9:{}", 1_024 + number);
            taken += u32::from(line.bench.fate(line.face, &stranger, &DTLS) == Err("set_up"));
        }
        assert_eq!(taken, per_second);
        for number in 0..per_second {
            assert_eq!(
                line.bench.fate(line.face, party, &DTLS),
                Err("set_up"),
                "{number}"
            );
        }
        assert_eq!(line.bench.fate(line.face, party, &DTLS), Err("setup_rate"));
    }
    let mut line = Line::new(with_dtls(1));
    assert_eq!(line.bench.fate(line.face, A, &STUN), Err("stun"));
}

/// A connectivity check (RFC 8445 §7.2.2) whose integrity nobody has proven yet.
fn check(names: &str) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0];
    message.resize(20, 0);
    message.extend([0, 6, 0, names.len() as u8]);
    message.extend(names.as_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// Before a pair is there: a stranger cannot know our name, which is random, and a party that begins early is nowhere yet.
#[test]
fn before_there_is_a_pair_strangers_spend_nothing_of_what_checks_by_our_name_may() {
    for spec in [with_ice(Some("party")), with_ice(None)] {
        let mut line = Line::new(spec);
        for number in 0..1_000 {
            let stranger = format!("203.0.113.9:{}", 1_024 + number);
            for datagram in [&check("other:party")[..], &STUN, &DTLS] {
                line.bench
                    .fate(line.face, &stranger, datagram)
                    .expect_err("not media");
            }
        }
        let check = check("node:party");
        for number in 0..200 {
            assert_eq!(line.bench.fate(line.face, A, &check), Err("set_up"), "{number}");
        }
        assert_eq!(line.bench.fate(line.face, A, &check), Err("setup_rate"));
        // What checks by our name have spent, the pair has still.
        line.tell(line.rounds, SetupNews::Selected(at(A)));
        assert_eq!(line.bench.fate(line.face, A, &DTLS), Err("set_up"));
    }
}

/// A full agent's own checks are answered from where the party's candidates are, and an answer names nobody.
#[test]
fn answers_from_the_partys_candidates_are_not_counted_with_strangers() {
    let mut spec = with_ice(Some("party"));
    let ice = spec.ice.as_mut().expect("with ICE");
    ice.mode = IceMode::Controlling;
    ice.candidates = vec!["candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host".to_owned()];
    let mut line = Line::new(spec);
    for number in 0..1_000 {
        let stranger = format!("203.0.113.9:{}", 1_024 + number);
        line.bench
            .fate(line.face, &stranger, &STUN)
            .expect_err("not media");
    }
    assert_eq!(line.bench.fate(line.face, A, &STUN), Err("set_up"));
}

/// Before a handshake is done: behind a NAT the party is at another port of its address.
#[test]
fn before_there_are_keys_strangers_spend_nothing_of_what_the_partys_address_may() {
    let spec = LineSpec {
        latching: Latching::SameAddress,
        ..with_dtls(1)
    };
    let mut line = Line::new(spec);
    for number in 0..1_000 {
        let stranger = format!("203.0.113.9:{}", 1_024 + number);
        line.bench
            .fate(line.face, &stranger, &DTLS)
            .expect_err("not media");
    }
    for number in 0..200 {
        assert_eq!(
            line.bench.fate(line.face, ELSEWHERE, &DTLS),
            Err("set_up"),
            "{number}"
        );
    }
}
