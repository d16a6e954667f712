//! What goes where.

use media_types::{CallReport, Direction, InterfaceName, Latching, LocalLine};

use crate::bench::{Bench, at, call, config, hand_over, leg, line, rtcp, rtp};

/// The local addresses of both legs' first lines.
pub fn locals(report: &CallReport) -> (LocalLine, LocalLine) {
    let local = |leg: usize| report.legs[leg].lines[0].local.expect("the line is enabled");
    (local(0), local(1))
}

const A: &str = "192.0.2.1:4000";
const A_RTCP: &str = "192.0.2.1:4001";
const B: &str = "192.0.2.2:5000";
const B_RTCP: &str = "192.0.2.2:5001";

#[test]
fn rtp_and_rtcp_reach_the_other_party_from_the_ports_it_knows() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", line(A), line(B))));
    assert!(a.rtp.port() % 2 == 0 && a.rtcp.port() == a.rtp.port() + 1);
    assert_eq!(bench.fate(a.rtp, A, &rtp(8, 1, 160, 7)), Ok((b.rtp, at(B))));
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 1, 160, 8)), Ok((a.rtp, at(A))));
    assert_eq!(bench.fate(a.rtcp, A_RTCP, &rtcp(7)), Ok((b.rtcp, at(B_RTCP))));
    assert_eq!(bench.fate(b.rtcp, B_RTCP, &rtcp(8)), Ok((a.rtcp, at(A_RTCP))));
    let last = bench.delete("c");
    assert_eq!(
        (
            last.legs[0].lines[0].streams[0].packets,
            last.legs[1].lines[0].rtcp_forwarded
        ),
        (1, 1)
    );
    assert_eq!(bench.ports.opened, bench.ports.closed);
    assert_eq!(
        (
            bench.engine.counters().rtp_forwarded,
            bench.engine.counters().rtcp_forwarded
        ),
        (2, 2)
    );
    assert_eq!(bench.engine.counters().bytes_forwarded, 2 * 172 + 2 * 8);
}

#[test]
fn a_party_that_multiplexes_is_relayed_to_one_that_does_not() {
    let mut bench = Bench::new(config());
    let mut muxed = line(A);
    muxed.rtcp_mux = true;
    let (a, b) = locals(&bench.create(&call("c", muxed, line(B))));
    assert_eq!(a.rtcp, a.rtp);
    assert_eq!(
        bench.ports.open.len(),
        3,
        "the second port of the muxed line stays closed"
    );
    bench.fate(a.rtp, A, &rtp(8, 1, 160, 7)).unwrap();
    assert_eq!(bench.fate(a.rtp, A, &rtcp(7)), Ok((b.rtcp, at(B_RTCP))));
    assert_eq!(bench.fate(b.rtcp, B_RTCP, &rtcp(8)), Ok((a.rtp, at(A))));
    assert_eq!(bench.fate(a.rtp, A_RTCP, &rtcp(7)), Err("rtcp_source"));
    assert_eq!(bench.fate(b.rtp, B, &rtcp(8)), Err("rtcp_not_muxed"));
    assert_eq!(
        bench.fate(b.rtcp, B_RTCP, &rtp(8, 1, 1, 1)),
        Err("rtp_on_rtcp_port")
    );
}

#[test]
fn both_may_multiplex() {
    let mut bench = Bench::new(config());
    let muxed = |remote| media_types::LineSpec {
        rtcp_mux: true,
        ..line(remote)
    };
    let (a, b) = locals(&bench.create(&call("c", muxed(A), muxed(B))));
    assert_eq!(bench.fate(a.rtp, A, &rtcp(7)), Ok((b.rtp, at(B))));
    assert_eq!(bench.fate(b.rtp, B, &rtcp(7)), Ok((a.rtp, at(A))));
}

#[test]
fn ipv4_and_ipv6_parties_hear_each_other_through_the_interfaces_asked_for() {
    let mut bench = Bench::new(config());
    let mut spec = call("c", line(A), line("[2001:db8:2::9]:5000"));
    spec.legs[0].interface = Some(InterfaceName::new("outside").unwrap());
    let (a, b) = locals(&bench.create(&spec));
    assert_eq!(a.rtp.ip(), at("198.51.100.1:1").ip(), "the advertised address");
    assert_eq!(b.rtp.ip(), at("[2001:db8::1]:1").ip(), "the first of the family");
    let bound = std::net::SocketAddr::new(at("10.1.0.1:1").ip(), a.rtp.port());
    assert_eq!(
        bench.fate(bound, A, &rtp(8, 1, 160, 7)),
        Ok((b.rtp, at("[2001:db8:2::9]:5000")))
    );
    assert_eq!(
        bench.fate(b.rtp, "[2001:db8:2::9]:5000", &rtp(8, 1, 1, 8)),
        Ok((bound, at(A)))
    );
}

/// RFC 3264 §5.1 and §6.1, from the view of each party; RTCP flows in every case.
#[test]
fn directions_decide_whose_rtp_passes_and_never_stop_rtcp() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (direction_a, direction_b, a_to_b, b_to_a) in [
        (SendRecv, SendRecv, Ok(()), Ok(())),
        (SendOnly, RecvOnly, Ok(()), Err("party_not_sending")),
        (RecvOnly, SendOnly, Err("party_not_sending"), Ok(())),
        (SendOnly, SendRecv, Ok(()), Err("peer_not_receiving")),
        (
            Inactive,
            SendRecv,
            Err("party_not_sending"),
            Err("peer_not_receiving"),
        ),
        (
            Inactive,
            Inactive,
            Err("party_not_sending"),
            Err("party_not_sending"),
        ),
    ] {
        let mut bench = Bench::new(config());
        let (mut spec_a, mut spec_b) = (line(A), line(B));
        (spec_a.direction, spec_b.direction) = (direction_a, direction_b);
        let (a, b) = locals(&bench.create(&call("c", spec_a, spec_b)));
        assert_eq!(
            bench.fate(a.rtp, A, &rtp(8, 1, 160, 7)).map(drop),
            a_to_b,
            "{direction_a:?} a"
        );
        assert_eq!(
            bench.fate(b.rtp, B, &rtp(8, 1, 160, 8)).map(drop),
            b_to_a,
            "{direction_b:?} b"
        );
        assert!(bench.fate(a.rtcp, A_RTCP, &rtcp(7)).is_ok());
        assert!(bench.fate(b.rtcp, B_RTCP, &rtcp(8)).is_ok());
        let report = bench.delete("c");
        let counted: u64 = report
            .legs
            .iter()
            .flat_map(|leg| &leg.lines[0].drops)
            .map(|drop| drop.1)
            .sum();
        assert_eq!(counted, u64::from(a_to_b.is_err()) + u64::from(b_to_a.is_err()));
    }
}

#[test]
fn nothing_goes_to_a_party_that_has_not_said_where() {
    let mut bench = Bench::new(config());
    let mut silent = line(B);
    silent.remote = None;
    let (a, b) = locals(&bench.create(&call("c", line(A), silent)));
    assert_eq!(bench.fate(a.rtp, A, &rtp(8, 1, 160, 7)), Err("no_destination"));
    assert_eq!(bench.fate(a.rtcp, A_RTCP, &rtcp(7)), Err("no_destination"));
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 1, 160, 8)), Err("source_refused"));
    bench.update("c", &[leg("b", vec![line(B)])]);
    assert_eq!(bench.fate(a.rtp, A, &rtp(8, 2, 320, 7)), Ok((b.rtp, at(B))));
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 2, 320, 8)), Ok((a.rtp, at(A))));
    assert_eq!(
        bench.delete("c").legs[0].lines[0].streams[0].packets,
        2,
        "both were received"
    );
}

/// RFC 3264 §8.4: `c=0.0.0.0` asks for silence, RTCP included; what was learned stays.
#[test]
fn an_unspecified_remote_address_holds_the_party() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", line(A), line(B))));
    bench.fate(a.rtp, A, &rtp(8, 1, 160, 7)).unwrap();
    bench.update("c", &[leg("a", vec![line("0.0.0.0:4000")])]);
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 1, 160, 8)), Err("no_destination"));
    assert_eq!(bench.fate(b.rtcp, B_RTCP, &rtcp(8)), Err("no_destination"));
    assert!(bench.fate(a.rtp, A, &rtp(8, 2, 320, 7)).is_ok());
    bench.update("c", &[leg("a", vec![line(A)])]);
    assert_eq!(bench.fate(b.rtp, B, &rtp(8, 2, 320, 8)), Ok((a.rtp, at(A))));
}

#[test]
fn rtcp_goes_where_the_description_says() {
    let mut bench = Bench::new(config());
    let mut explicit = line(B);
    explicit.remote_rtcp = Some(at("192.0.2.77:900"));
    let (a, b) = locals(&bench.create(&call("c", line(A), explicit)));
    assert_eq!(
        bench.fate(a.rtcp, A_RTCP, &rtcp(7)),
        Ok((b.rtcp, at("192.0.2.77:900")))
    );
    assert!(bench.fate(b.rtcp, "192.0.2.77:900", &rtcp(8)).is_ok());
}

/// Behind a NAT that keeps the address, RTCP comes from another port than the one after RTP. It is known by its SSRC.
#[test]
fn rtcp_follows_the_source_that_it_comes_from() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", line(A), line(B))));
    let elsewhere = "192.0.2.2:61000";
    assert_eq!(
        bench.fate(b.rtcp, elsewhere, &rtcp(8)),
        Err("rtcp_source"),
        "no stream to know it by"
    );
    bench.fate(b.rtp, B, &rtp(8, 1, 0, 8)).unwrap();
    assert_eq!(
        bench.fate(b.rtcp, elsewhere, &rtcp(9)),
        Err("rtcp_source"),
        "another's SSRC"
    );
    assert_eq!(
        bench.fate(b.rtcp, "192.0.2.66:61000", &rtcp(8)),
        Err("rtcp_source")
    );
    assert!(bench.fate(b.rtcp, elsewhere, &rtcp(8)).is_ok());
    assert_eq!(bench.fate(a.rtcp, A_RTCP, &rtcp(7)), Ok((b.rtcp, at(elsewhere))));
    assert_eq!(
        bench.fate(b.rtcp, B_RTCP, &rtcp(8)),
        Err("rtcp_source"),
        "it is locked"
    );
}

#[test]
fn rtcp_of_a_party_that_only_listens_is_known_by_its_address() {
    let mut bench = Bench::new(config());
    let listener = media_types::LineSpec {
        direction: Direction::RecvOnly,
        ..line(B)
    };
    let (_, b) = locals(&bench.create(&call("c", line(A), listener)));
    assert!(bench.fate(b.rtcp, "192.0.2.2:61000", &rtcp(8)).is_ok());
}

#[test]
fn lines_are_relayed_by_their_place_and_disabled_ones_have_no_ports() {
    let mut bench = Bench::new(config());
    let mut spec = call("c", line(A), line(B));
    let disabled = media_types::LineSpec {
        enabled: false,
        remote: None,
        ..line(A)
    };
    spec.legs[0]
        .lines
        .extend([disabled.clone(), line("192.0.2.1:4100")]);
    spec.legs[1].lines.extend([disabled, line("192.0.2.2:5100")]);
    let report = bench.create(&spec);
    let local = |leg: usize, place: usize| report.legs[leg].lines[place].local;
    assert_eq!(
        (local(0, 1), local(1, 1), bench.ports.open.len()),
        (None, None, 8)
    );
    let (a, b) = (local(0, 2).unwrap(), local(1, 2).unwrap());
    assert_eq!(
        bench.fate(a.rtp, "192.0.2.1:4100", &rtp(8, 1, 1, 1)),
        Ok((b.rtp, at("192.0.2.2:5100")))
    );
    assert_eq!(bench.fate(a.rtp, A, &rtp(8, 1, 1, 1)), Err("source_locked"));
}

#[test]
fn what_is_neither_rtp_nor_rtcp_is_dropped_by_its_kind() {
    let mut bench = Bench::new(config());
    let mut muxed = line(A);
    muxed.rtcp_mux = true;
    muxed.latching = Latching::AnyAddress;
    let (a, _) = locals(&bench.create(&call("c", muxed, line(B))));
    for (first, reason) in [
        (0u8, "stun"),
        (3, "stun"),
        (16, "zrtp"),
        (20, "dtls"),
        (63, "dtls"),
        (64, "turn_channel"),
        (4, "not_media"),
        (255, "not_media"),
    ] {
        assert_eq!(bench.fate(a.rtp, A, &[first; 40]), Err(reason));
    }
    assert_eq!(bench.fate(a.rtp, A, &[]), Err("not_media"));
    let good = rtp(8, 1, 160, 7);
    for len in 0..12 {
        let expected = if len == 0 { "not_media" } else { "rtp_truncated" };
        assert_eq!(bench.fate(a.rtp, A, &good[..len]), Err(expected), "length {len}");
    }
    for len in 2..8 {
        let reason = bench.fate(a.rtp, A, &rtcp(7)[..len]).unwrap_err();
        assert!(
            ["rtcp_truncated", "rtcp_length"].contains(&reason),
            "length {len}: {reason}"
        );
    }
    let report = bench.delete("c");
    assert_eq!(report.legs[0].lines[0].learned, None);
    assert!(
        report.legs[0].lines[0].streams.is_empty(),
        "noise makes no stream"
    );
    let dropped: u64 = report.legs[0].lines[0].drops.iter().map(|drop| drop.1).sum();
    assert_eq!(dropped, bench.engine.counters().dropped_total());
}

#[test]
fn packets_for_a_port_that_is_gone_are_counted() {
    let mut bench = Bench::new(config());
    let (a, _) = locals(&bench.create(&call("c", line(A), line(B))));
    let port = bench.ports.open[&a.rtp];
    bench.delete("c");
    for port in [port, media_engine::PortId(4_000_000)] {
        let verdict = hand_over(&mut bench.engine, bench.now, port, at(A), &rtp(8, 1, 1, 1));
        assert_eq!(
            verdict,
            media_engine::Verdict::Drop(media_engine::DropReason::UnknownPort)
        );
    }
    assert_eq!(bench.engine.counters().received(), 2);
}
