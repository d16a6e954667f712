//! What the control plane is told, and when.

use std::time::Duration;

use media_types::{CallSpec, Direction, EndCause, EventKind, LineSpec};
use sans_io::Timestamp;

use crate::bench::{Bench, call, call_id, config, leg, leg_id, line, rtp};
use crate::relay::locals;

const A: &str = "192.0.2.1:4000";
const B: &str = "192.0.2.2:5000";
const SECOND: Duration = Duration::from_secs(1);

fn timed(a: LineSpec, b: LineSpec) -> CallSpec {
    CallSpec {
        media_timeout: 10 * SECOND,
        ..call("c", a, b)
    }
}

/// The kinds of events, as `first a`, `latched a`, `timeout a`, `ended`.
fn kinds(bench: &mut Bench) -> Vec<String> {
    let name = |kind| match kind {
        EventKind::FirstPacket { leg, .. } => format!("first {leg}"),
        EventKind::Latched { leg, .. } => format!("latched {leg}"),
        EventKind::MediaTimeout { leg, .. } => format!("timeout {leg}"),
        EventKind::SetupFailed { leg, reason, .. } => format!("{reason} {leg}"),
        EventKind::Ended { cause, .. } => format!("ended {cause:?}"),
    };
    bench.events().into_iter().map(|event| name(event.kind)).collect()
}

/// Calls the engine whenever it asks, until `until`.
fn run(bench: &mut Bench, until: Timestamp) {
    while let Some(at) = bench.engine.poll_timeout()
        && at <= until
    {
        assert!(at >= bench.now, "the timer is in the past");
        bench.now = at;
        bench.engine.handle_timeout(at, &mut bench.ports);
        assert!(
            bench.engine.poll_timeout().is_none_or(|next| next > at),
            "the timer stands still"
        );
    }
    bench.now = until;
}

fn run_for(bench: &mut Bench, time: Duration) {
    let until = bench.now + time;
    run(bench, until);
}

#[test]
fn the_first_packet_and_the_lock_are_told_once() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&call("c", line(A), line(B))));
    for seq in 0..3 {
        bench.fate(a.rtp, A, &rtp(8, seq, 0, 7)).unwrap();
    }
    bench.fate(b.rtp, B, &rtp(8, 0, 0, 8)).unwrap();
    assert_eq!(
        kinds(&mut bench),
        ["latched a", "first a", "latched b", "first b"]
    );
}

#[test]
fn silence_is_told_once_until_media_resumes() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&timed(line(A), line(B))));
    let start = bench.now;
    for n in 0..9u16 {
        run_for(&mut bench, SECOND);
        bench.fate(a.rtp, A, &rtp(8, n, 0, 7)).unwrap();
    }
    assert_eq!(kinds(&mut bench), ["latched a", "first a"]);
    // B never sent: told ten seconds after the call was made.
    run_for(&mut bench, SECOND);
    assert_eq!(kinds(&mut bench), ["timeout b"]);
    run_for(&mut bench, 8 * SECOND + SECOND / 2);
    assert_eq!(kinds(&mut bench), [""; 0]);
    run(&mut bench, start + 19 * SECOND);
    assert_eq!(kinds(&mut bench), ["timeout a"]);
    run_for(&mut bench, 100 * SECOND);
    assert_eq!(kinds(&mut bench), [""; 0], "once");
    bench.fate(b.rtp, B, &rtp(8, 1, 0, 8)).unwrap();
    bench.fate(a.rtp, A, &rtp(8, 11, 0, 7)).unwrap();
    let resumed = bench.now;
    run(&mut bench, resumed + (10 * SECOND - Duration::from_nanos(1)));
    assert_eq!(kinds(&mut bench), ["latched b", "first b"]);
    run_for(&mut bench, 10 * SECOND);
    assert_eq!(kinds(&mut bench), ["timeout a", "timeout b"]);
}

#[test]
fn held_and_unanswered_lines_may_be_silent() {
    let inactive = |remote| LineSpec {
        direction: Direction::Inactive,
        ..line(remote)
    };
    let recvonly = |remote| LineSpec {
        direction: Direction::RecvOnly,
        ..line(remote)
    };
    let sendonly = |remote| LineSpec {
        direction: Direction::SendOnly,
        ..line(remote)
    };
    let unanswered = LineSpec {
        remote: None,
        ..line(B)
    };
    let disabled = |remote| LineSpec {
        enabled: false,
        ..line(remote)
    };
    for (a, b, expected) in [
        (inactive(A), line(B), vec![]),
        (sendonly(A), recvonly(B), vec!["timeout a"]),
        (recvonly(A), line(B), vec!["timeout b"]),
        (line(A), unanswered, vec![]),
        (line("0.0.0.0:4000"), line(B), vec![]),
        (disabled(A), disabled(B), vec![]),
        (line(A), line(B), vec!["timeout a", "timeout b"]),
    ] {
        let mut bench = Bench::new(config());
        bench.create(&timed(a, b));
        run_for(&mut bench, 60 * SECOND);
        assert_eq!(kinds(&mut bench), expected);
    }
}

#[test]
fn the_clock_of_silence_starts_when_the_answer_comes_and_when_a_hold_ends() {
    let mut bench = Bench::new(config());
    bench.create(&timed(
        line(A),
        LineSpec {
            remote: None,
            ..line(B)
        },
    ));
    run_for(&mut bench, 55 * SECOND);
    bench.update("c", &[leg("b", vec![line(B)])]);
    run_for(&mut bench, 10 * SECOND - Duration::from_nanos(1));
    assert_eq!(kinds(&mut bench), [""; 0]);
    run_for(&mut bench, Duration::from_nanos(1));
    assert_eq!(kinds(&mut bench), ["timeout a", "timeout b"]);
    let hold = LineSpec {
        direction: Direction::Inactive,
        ..line(A)
    };
    bench.update("c", &[leg("a", vec![hold])]);
    run_for(&mut bench, 100 * SECOND);
    bench.update("c", &[leg("a", vec![line(A)])]);
    run_for(&mut bench, 9 * SECOND);
    assert_eq!(kinds(&mut bench), [""; 0]);
    run_for(&mut bench, SECOND);
    assert_eq!(
        kinds(&mut bench),
        ["timeout a", "timeout b"],
        "resumed, and silent again"
    );
}

#[test]
fn a_lease_that_is_not_renewed_ends_the_call_with_its_last_report() {
    let mut bench = Bench::new(config());
    let spec = CallSpec {
        lease: 20 * SECOND,
        ..call("c", line(A), line(B))
    };
    let (a, _) = locals(&bench.create(&spec));
    bench.fate(a.rtp, A, &rtp(8, 1, 0, 7)).unwrap();
    for _ in 0..5 {
        run_for(&mut bench, 15 * SECOND);
        assert!(bench.engine.renew(bench.now, &call_id("c")));
    }
    run_for(&mut bench, 20 * SECOND - Duration::from_nanos(1));
    assert!(bench.query("c").is_some());
    bench.events();
    run_for(&mut bench, Duration::from_nanos(1));
    let mut events = bench.events();
    let EventKind::Ended { cause, report } = events.remove(0).kind else {
        panic!("{events:?}")
    };
    assert_eq!((cause, report.age), (EndCause::LeaseExpired, 95 * SECOND));
    assert_eq!(report.legs[0].lines[0].streams[0].packets, 1);
    assert_eq!((bench.ports.open.len(), bench.engine.capacity().calls), (0, 0));
    assert_eq!(bench.query("c"), None);
    assert_eq!(bench.engine.counters().calls_ended, 1);
}

#[test]
fn defaults_are_taken_for_a_lease_and_a_timeout_of_zero() {
    let mut bench = Bench::new(config());
    let mut spec = call("c", line(A), line(B));
    spec.lease = Duration::ZERO;
    assert_eq!(bench.create(&spec).lease_left, 60 * SECOND);
    run_for(&mut bench, 30 * SECOND);
    assert_eq!(kinds(&mut bench), ["timeout a", "timeout b"]);
    run_for(&mut bench, 30 * SECOND);
    assert_eq!(kinds(&mut bench), ["ended LeaseExpired"]);
}

#[test]
fn events_that_nobody_fetches_are_counted_as_missed() {
    let mut config = config();
    config.limits.events_max = 3;
    let mut bench = Bench::new(config);
    for n in 0..4 {
        let (a, _) = locals(&bench.create(&call(&format!("c{n}"), line(A), line(B))));
        bench.fate(a.rtp, A, &rtp(8, 1, 0, 7)).unwrap();
    }
    assert_eq!(bench.events().len(), 3);
    assert_eq!(bench.engine.counters().events_missed, 5);
    assert_eq!(
        bench
            .events()
            .iter()
            .filter(|event| event.call == call_id("c0"))
            .count(),
        0
    );
}

#[test]
fn events_name_the_leg_and_the_line() {
    let mut bench = Bench::new(config());
    let mut spec = call("c", line(A), line(B));
    spec.legs[0].lines.push(line("192.0.2.1:4100"));
    spec.legs[1].lines.push(line("192.0.2.2:5100"));
    let second = bench.create(&spec).legs[1].lines[1].local.unwrap();
    bench
        .fate(second.rtp, "192.0.2.2:5100", &rtp(8, 1, 0, 7))
        .unwrap();
    assert!(bench.events().iter().any(|event| event.kind
        == EventKind::FirstPacket {
            leg: leg_id("b"),
            line: 1
        }));
}

#[test]
fn many_leases_that_end_at_once_end_a_few_at_a_time() {
    const CALLS: usize = 45;
    let mut bench = Bench::new(config());
    for n in 0..CALLS {
        bench.create(&call(
            &n.to_string(),
            line("192.0.2.1:4000"),
            line("192.0.2.2:4000"),
        ));
    }
    let end = bench.now + Duration::from_secs(3_600);
    let mut turns = 0;
    let mut ended = 0;
    bench.now = end;
    while bench.engine.capacity().calls > 0 {
        bench.engine.handle_timeout(end, &mut bench.ports);
        let now = bench.events().len();
        assert!(now <= 32, "{now} calls in one turn");
        let left = bench.engine.capacity().calls;
        assert!(
            left == 0 || bench.engine.poll_timeout().is_some_and(|at| at <= end),
            "it asks for the next turn"
        );
        ended += now;
        turns += 1;
    }
    assert_eq!((ended, turns), (CALLS, CALLS.div_ceil(32)));
}
