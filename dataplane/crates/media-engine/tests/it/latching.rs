//! Whose packets are taken, through the whole engine. The latch has unit tests of its own.

use media_types::{EventKind, Latching, LineSpec};

use crate::bench::{Bench, at, call, config, leg, leg_id, line, rtcp, rtp};
use crate::relay::locals;

const A: &str = "192.0.2.1:4000";
const B: &str = "192.0.2.2:5000";
const NAT: &str = "203.0.113.7:61234";

fn with(remote: &str, latching: Latching) -> LineSpec {
    LineSpec {
        latching,
        ..line(remote)
    }
}

#[test]
fn media_goes_to_the_signalled_address_until_a_source_is_learned_and_there_afterwards() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", with("10.9.9.9:4000", Latching::AnyAddress), line(B))));
    assert_eq!(
        bench.fate(b.rtp, B, &rtp(8, 1, 0, 8)),
        Ok((a.rtp, at("10.9.9.9:4000")))
    );
    assert_eq!(bench.fate(a.rtp, NAT, &rtp(8, 1, 0, 7)), Err("source_learning"));
    assert_eq!(
        bench.fate(a.rtcp, "203.0.113.7:61235", &rtcp(7)),
        Err("rtcp_source"),
        "not before RTP"
    );
    assert_eq!(bench.fate(a.rtp, NAT, &rtp(8, 2, 160, 7)), Err("source_learning"));
    assert_eq!(
        bench.fate(b.rtp, B, &rtp(8, 2, 160, 8)),
        Ok((a.rtp, at("10.9.9.9:4000")))
    );
    assert_eq!(bench.fate(a.rtp, NAT, &rtp(8, 3, 320, 7)), Ok((b.rtp, at(B))));
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 3, 320, 8)), Ok((a.rtp, at(NAT))));
    assert_eq!(
        bench.fate(b.rtcp, "192.0.2.2:5001", &rtcp(8)),
        Err("no_destination"),
        "RTCP has not come yet"
    );
    assert!(bench.fate(a.rtcp, "203.0.113.7:61999", &rtcp(7)).is_ok());
    assert_eq!(
        bench.fate(b.rtcp, "192.0.2.2:5001", &rtcp(8)),
        Ok((a.rtcp, at("203.0.113.7:61999")))
    );
    assert_eq!(
        bench.fate(a.rtp, "10.9.9.9:4000", &rtp(8, 4, 480, 7)),
        Err("source_locked")
    );
    let latched: Vec<_> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::Latched { leg, line, source } => Some((leg, line, source)),
            _ => None,
        })
        .collect();
    assert_eq!(latched, [(leg_id("b"), 0, at(B)), (leg_id("a"), 0, at(NAT))]);
}

#[test]
fn a_recvonly_party_behind_nat_is_found_by_its_keepalives() {
    // RFC 6263 §4.6: such a party may send RTP to keep its binding; it teaches the address and goes no further.
    let mut bench = Bench::new(config());
    let mut listener = with("10.9.9.9:4000", Latching::AnyAddress);
    listener.direction = media_types::Direction::RecvOnly;
    let (a, b) = locals(&bench.create(&call("c", listener, line(B))));
    for seq in 1..=3 {
        assert!(bench.fate(a.rtp, NAT, &rtp(8, seq, 0, 7)).is_err());
    }
    assert_eq!(bench.fate(a.rtp, NAT, &rtp(8, 4, 0, 7)), Err("party_not_sending"));
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 1, 0, 8)), Ok((a.rtp, at(NAT))));
    assert!(bench.delete("c").legs[0].lines[0].streams.is_empty());
}

#[test]
fn an_update_moves_the_lock_only_when_it_says_so() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", line(A), line(B))));
    bench.fate(a.rtp, A, &rtp(8, 1, 0, 7)).unwrap();
    bench.update("c", &[leg("a", vec![line(A)])]);
    assert_eq!(
        bench.fate(a.rtp, "192.0.2.1:4444", &rtp(8, 2, 0, 7)),
        Err("source_locked")
    );
    // The party moves: its old source is a stranger now, its new one is taken at once.
    let report = bench.update("c", &[leg("a", vec![line("192.0.2.50:4000")])]);
    assert_eq!(report.legs[0].lines[0].learned, None);
    assert_eq!(
        bench.fate(b.rtp, B, &rtp(8, 1, 0, 8)),
        Ok((a.rtp, at("192.0.2.50:4000")))
    );
    assert_eq!(bench.fate(a.rtp, A, &rtp(8, 3, 0, 7)), Err("source_refused"));
    assert!(bench.fate(a.rtp, "192.0.2.50:4000", &rtp(8, 4, 0, 7)).is_ok());
    // The same address with `relearn`: another port of it can be learned now.
    let relearn = LineSpec {
        relearn: true,
        srtp: None,
        dtls: None,
        ice: None,
        ..line("192.0.2.50:4000")
    };
    assert_eq!(
        bench.update("c", &[leg("a", vec![relearn])]).legs[0].lines[0].learned,
        None
    );
    for (seq, ok) in [(5, false), (6, false), (7, true)] {
        assert_eq!(
            bench.fate(a.rtp, "192.0.2.50:7000", &rtp(8, seq, 0, 7)).is_ok(),
            ok
        );
    }
    let learned = bench.delete("c").legs[0].lines[0].learned;
    assert_eq!(learned, Some(at("192.0.2.50:7000")));
}

#[test]
fn a_payload_type_of_either_party_teaches_and_any_passes_afterwards() {
    let mut bench = Bench::new(config());
    let mut spec_b = line(B);
    spec_b.codecs = vec![crate::bench::codec(0, "PCMU")];
    let (a, _) = locals(&bench.create(&call("c", line(A), spec_b)));
    let nat = "192.0.2.1:61000";
    assert_eq!(bench.fate(a.rtp, nat, &rtp(77, 1, 0, 7)), Err("payload_type"));
    // B's number, as RFC 3264 has it, and A's own.
    assert_eq!(bench.fate(a.rtp, nat, &rtp(0, 2, 0, 7)), Err("source_learning"));
    assert_eq!(bench.fate(a.rtp, nat, &rtp(8, 3, 0, 7)), Err("source_learning"));
    assert!(bench.fate(a.rtp, nat, &rtp(0, 4, 0, 7)).is_ok());
    assert!(
        bench.fate(a.rtp, nat, &rtp(13, 5, 0, 7)).is_ok(),
        "comfort noise that nobody listed"
    );
    assert_eq!(bench.delete("c").legs[0].lines[0].streams[0].payload_type, 13);
}

#[test]
fn the_signalled_address_may_begin_with_any_payload_type() {
    let mut bench = Bench::new(config());
    let (a, _) = locals(&bench.create(&call("c", line(A), line(B))));
    assert!(bench.fate(a.rtp, A, &rtp(13, 1, 0, 7)).is_ok());
}

#[test]
fn a_line_without_codecs_learns_from_any_payload_type() {
    let mut bench = Bench::new(config());
    let bare = |remote| LineSpec {
        codecs: Vec::new(),
        ..line(remote)
    };
    let (a, _) = locals(&bench.create(&call("c", bare(A), bare(B))));
    assert!(bench.fate(a.rtp, A, &rtp(96, 1, 0, 7)).is_ok());
}

#[test]
fn latching_off_takes_the_signalled_ports_only() {
    let mut bench = Bench::new(config());
    let (a, _) = locals(&bench.create(&call("c", with(A, Latching::Off), line(B))));
    for seq in 1..=5 {
        assert_eq!(
            bench.fate(a.rtp, "192.0.2.1:4002", &rtp(8, seq, 0, 7)),
            Err("source_refused")
        );
    }
    assert_eq!(bench.fate(a.rtcp, "192.0.2.1:4003", &rtcp(7)), Err("rtcp_source"));
    assert!(bench.fate(a.rtp, A, &rtp(8, 6, 0, 7)).is_ok());
    assert!(bench.fate(a.rtcp, "192.0.2.1:4001", &rtcp(7)).is_ok());
}
