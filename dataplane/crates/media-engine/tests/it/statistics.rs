//! What reports say of streams.

use std::time::Duration;

use media_types::Direction;
use rtp::rtcp::{CompoundWriter, ReportBlock, SenderInfo};
use rtp::{RtpTimestamp, Ssrc};

use crate::bench::{Bench, call, config, line, rtp};
use crate::relay::locals;

const A: &str = "192.0.2.1:4000";
const B: &str = "192.0.2.2:5000";

#[test]
fn a_stream_is_reported_with_its_losses_and_its_score() {
    let mut bench = Bench::new(config());
    let (a, _) = locals(&bench.create(&call("c", line(A), line(B))));
    for n in 0..200u16 {
        bench.pass(Duration::from_millis(20));
        // Every 20th is lost.
        if n % 20 != 10 {
            bench.fate(a.rtp, A, &rtp(8, n, u32::from(n) * 160, 7)).unwrap();
        }
    }
    bench.pass(Duration::from_millis(30));
    let stream = bench.delete("c").legs[0].lines[0].streams[0].clone();
    assert_eq!(
        (stream.ssrc, stream.payload_type, stream.packets, stream.bytes),
        (7, 8, 190, 190 * 172)
    );
    assert_eq!(
        (
            stream.lost,
            stream.reordered,
            stream.duplicates,
            stream.jitter_us_max
        ),
        (10, 0, 0, 0)
    );
    assert_eq!(stream.idle, Duration::from_millis(30));
    // 5 % random loss of concealed G.711: R = 93.2 - 95 × 5 / (5 + 25.1) = 77.4, so MOS 3.92 (G.107 Annex B).
    assert_eq!(stream.mos_x100, 392);
}

#[test]
fn a_clean_call_scores_4_41_and_its_round_trips_lower_that() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", line(A), line(B))));
    for n in 0..50u16 {
        bench.pass(Duration::from_millis(20));
        bench.fate(a.rtp, A, &rtp(8, n, u32::from(n) * 160, 7)).unwrap();
    }
    let score = |bench: &mut Bench| {
        let report = bench.query("c").unwrap();
        report.legs[0].lines[0].streams[0].mos_x100
    };
    assert_eq!(score(&mut bench), 441);
    // A's sender report passes; B answers it 700 ms later and says that 100 ms of these were its own.
    let info = SenderInfo {
        ntp: 0xe000_0001_8000_0000,
        rtp: RtpTimestamp(0),
        packets: 50,
        bytes: 8_000,
    };
    let (mut sent, mut answer) = (Vec::new(), Vec::new());
    CompoundWriter::new(&mut sent).sender_report(Ssrc(7), &info, &[]);
    let block = ReportBlock {
        ssrc: Ssrc(7),
        fraction_lost: 0,
        lost: 0,
        highest_seq: 49,
        jitter_rtp_units: 0,
        last_sr: info.ntp_middle(),
        delay_since_last_sr: 6_554,
    };
    CompoundWriter::new(&mut answer).receiver_report(Ssrc(8), &[block]);
    bench.fate(a.rtcp, "192.0.2.1:4001", &sent).unwrap();
    bench.pass(Duration::from_millis(700));
    bench.fate(b.rtcp, "192.0.2.2:5001", &answer).unwrap();
    let delayed = score(&mut bench);
    assert!(
        (370..400).contains(&delayed),
        "320 ms from mouth to ear: {delayed}"
    );
}

#[test]
fn nothing_is_scored_before_there_is_something_to_judge() {
    let mut bench = Bench::new(config());
    let mut video = line(A);
    video.kind = media_types::MediaKind::Video;
    let mut silent = line(B);
    silent.direction = Direction::SendRecv;
    let (a, b) = locals(&bench.create(&call("c", video, silent)));
    for n in 0..3u16 {
        bench.fate(a.rtp, A, &rtp(8, n, 0, 7)).unwrap();
    }
    bench.fate(b.rtp, B, &rtp(8, 1, 0, 8)).unwrap();
    let report = bench.delete("c");
    assert_eq!(report.legs[0].lines[0].streams[0].mos_x100, 0, "video");
    assert_eq!(
        report.legs[1].lines[0].streams[0].mos_x100, 0,
        "one packet is no stream yet"
    );
}

#[test]
fn streams_of_a_line_are_bounded_and_the_longest_silent_gives_way() {
    let mut bench = Bench::new(config());
    let (a, _) = locals(&bench.create(&call("c", line(A), line(B))));
    for (n, ssrc) in [1u32, 2, 3, 4, 1, 5].into_iter().enumerate() {
        bench.pass(Duration::from_millis(20));
        bench.fate(a.rtp, A, &rtp(8, n as u16, 0, ssrc)).unwrap();
    }
    let report = bench.delete("c");
    let ssrcs: Vec<u32> = report.legs[0].lines[0]
        .streams
        .iter()
        .map(|stream| stream.ssrc)
        .collect();
    assert_eq!(ssrcs, [1, 3, 4, 5], "oldest first, without 2");
    assert_eq!(bench.engine.counters().streams_evicted, 1);
}

#[test]
fn events_do_not_count_as_jitter() {
    let mut bench = Bench::new(config());
    let (a, _) = locals(&bench.create(&call("c", line(A), line(B))));
    for n in 0..40u16 {
        bench.pass(Duration::from_millis(20));
        // From packet 10 to 19 a digit: all with the timestamp of its beginning (RFC 4733 §2.2.1).
        let digit = (10..20).contains(&n);
        let timestamp = if digit { 1_600 } else { u32::from(n) * 160 };
        bench
            .fate(a.rtp, A, &rtp(if digit { 101 } else { 8 }, n, timestamp, 7))
            .unwrap();
    }
    assert_eq!(bench.delete("c").legs[0].lines[0].streams[0].jitter_us_max, 0);
}
