//! What goes where.

use media_types::LocalLine;

use crate::bench::{Bench, at, call, config, line, rtcp, rtp};

/// The local addresses of both legs' first lines.
fn locals(report: &media_types::CallReport) -> (LocalLine, LocalLine) {
    let local = |leg: usize| report.legs[leg].lines[0].local.expect("the line is enabled");
    (local(0), local(1))
}

#[test]
fn rtp_and_rtcp_reach_the_other_party_from_the_ports_it_knows() {
    let mut bench = Bench::new(config());
    let report = bench.create(&call("c", line("192.0.2.1:4000"), line("192.0.2.2:5000")));
    let (a, b) = locals(&report);
    assert!(a.rtp.port() % 2 == 0 && a.rtcp.port() == a.rtp.port() + 1);
    assert_eq!(
        bench.fate(a.rtp, "192.0.2.1:4000", &rtp(8, 1, 160, 7)),
        Ok((b.rtp, at("192.0.2.2:5000")))
    );
    assert_eq!(
        bench.fate(b.rtp, "192.0.2.2:5000", &rtp(8, 1, 160, 8)),
        Ok((a.rtp, at("192.0.2.1:4000")))
    );
    assert_eq!(
        bench.fate(a.rtcp, "192.0.2.1:4001", &rtcp(7)),
        Ok((b.rtcp, at("192.0.2.2:5001")))
    );
    assert_eq!(
        bench.fate(b.rtcp, "192.0.2.2:5001", &rtcp(8)),
        Ok((a.rtcp, at("192.0.2.1:4001")))
    );
    let last = bench.delete("c");
    assert_eq!(last.legs[0].lines[0].streams[0].packets, 1);
    assert_eq!(bench.ports.opened, bench.ports.closed);
}
