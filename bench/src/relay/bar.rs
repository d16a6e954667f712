//! What the kernel and uring paths have to reach beside their peers, and whether they do.

use serde::Serialize;

use crate::relay::row::{Limit, Load, Row};

/// One bar at one number of calls.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// What is compared.
    pub what: &'static str,
    /// At so many calls.
    pub calls: u32,
    /// What was found.
    pub value: f64,
    /// What it may be at most.
    pub limit: f64,
    /// Whether it is.
    pub is_met: bool,
}

/// CPU a packet of one of our paths by that of another system.
const RATIOS: [(&str, &str, &str, f64); 9] = [
    (
        "kernel",
        "bare-xdp-echo",
        "kernel / bare-xdp-echo, CPU a packet",
        1.3,
    ),
    (
        "kernel",
        "rtpengine",
        "kernel / rtpengine, CPU a packet",
        1.0 / 15.0,
    ),
    ("uring", "bare-epoll", "uring / bare-epoll, CPU a packet", 0.65),
    ("uring", "rtpengine", "uring / rtpengine, CPU a packet", 0.35),
    ("xsk", "bare-epoll", "xsk / bare-epoll, CPU a packet", 0.65),
    ("xsk", "rtpengine", "xsk / rtpengine, CPU a packet", 0.35),
    (
        "uring-no-steering",
        "bare-epoll",
        "uring-no-steering / bare-epoll, CPU a packet",
        0.8,
    ),
    (
        "uring-srtp",
        CLEAR,
        "uring with SRTP / without, CPU a packet",
        1.3,
    ),
    (
        "uring-srtp",
        "rtpengine",
        "uring with SRTP / rtpengine with it, CPU a packet",
        0.45,
    ),
];
/// Our own path in clear.
const CLEAR: &str = "in clear";
/// Whose latency at half load is held against a bar.
pub const HALF_LOAD: (&str, &str) = ("ringpath", "uring");
/// The systems that ours is compared with.
pub const OTHERS: [&str; 3] = ["bare-xdp-echo", "bare-epoll", "rtpengine"];

/// Gives the rows of ours their ratios to the others' at the same number of calls. None to rows that lost packets, ours or
/// theirs: a relay that drops is not cheap.
pub fn relate(rows: &mut [Row]) {
    let of = |rows: &[Row], wanted: &dyn Fn(&Row) -> bool| {
        rows.iter()
            .find(|row| wanted(row) && row.load == Load::Same)
            .filter(|row| row.lost_all_rounds == 0)
            .map(|row| row.cpu_ns_per_packet)
            .filter(|cpu| *cpu > 0.0)
    };
    for place in 0..rows.len() {
        if rows[place].load != Load::Same || rows[place].lost_all_rounds > 0 {
            continue;
        }
        let ours = &rows[place];
        if ours.system != "ringpath" {
            continue;
        }
        let by = |wanted: &dyn Fn(&Row) -> bool| {
            of(rows, &|row| row.calls == ours.calls && wanted(row))
                .map(|theirs| ours.cpu_ns_per_packet / theirs)
        };
        let ratios =
            OTHERS.map(|system| by(&|row| row.system == system && row.is_secured == ours.is_secured));
        let clear = ours
            .path
            .strip_suffix("-srtp")
            .and_then(|path| by(&|row| row.system == ours.system && row.path == path));
        let row = &mut rows[place];
        [
            row.cpu_by_bare_xdp_echo,
            row.cpu_by_bare_epoll,
            row.cpu_by_rtpengine,
        ] = ratios;
        row.cpu_by_clear = clear;
    }
}

/// Every bar that these rows say something about; they have been related.
pub fn bars(rows: &[Row]) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut add = |what, calls, value, limit| {
        bars.push(Bar {
            what,
            calls,
            value,
            limit,
            is_met: value <= limit,
        });
    };
    for (path, other, what, limit) in RATIOS {
        for row in rows {
            let ratio = match other {
                "bare-xdp-echo" => row.cpu_by_bare_xdp_echo,
                "bare-epoll" => row.cpu_by_bare_epoll,
                CLEAR => row.cpu_by_clear,
                _ => row.cpu_by_rtpengine,
            };
            if let (true, Some(ratio)) = (row.path == path, ratio) {
                add(what, row.calls, ratio, limit);
            }
        }
    }
    // Half of what the search found without reaching the relay's limit would be half of nothing in particular.
    let half = |row: &&Row| {
        row.load == Load::Half
            && (row.system, row.path) == HALF_LOAD
            && row.max_lossless_limit == Some(Limit::Relay)
            && row.lost_all_rounds == 0
    };
    if let Some(row) = rows.iter().find(half) {
        // What of it is the bed's: the middle of what the echo takes, which its p99 is not below.
        let floor = rows
            .iter()
            .find(|floor| floor.load == Load::Floor && floor.calls == row.calls)
            .map_or(0, |floor| floor.latency_us_p50);
        let added = [row.latency_us_p50, row.latency_us_p99].map(|us| us.saturating_sub(floor) as f64);
        add(
            "uring at half load, added latency p50, µs",
            row.calls,
            added[0],
            300.0,
        );
        add(
            "uring at half load, added latency p99, µs",
            row.calls,
            added[1],
            1_500.0,
        );
    }
    for row in rows
        .iter()
        .filter(|row| row.load == Load::Long && row.system == "ringpath")
    {
        // What the generator could not offer was not relayed either.
        let missing = if row.generator_fell_behind() {
            f64::INFINITY
        } else {
            row.lost_all_rounds as f64
        };
        add(
            "kernel, packets lost of the whole long run",
            row.calls,
            missing,
            0.0,
        );
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::contender::System;
    use crate::relay::row::Round;

    fn row(system: System, calls: u32, load: Load, cpu: f64) -> Row {
        let round = Round {
            cpu_ns_per_packet: cpu,
            latency_us_p50: 200,
            latency_us_p99: 2_000,
            kept_pace: true,
            ..Round::default()
        };
        Row::new(system, calls, load, vec![round])
    }

    #[test]
    fn ratios_are_of_the_same_number_of_calls_and_say_whether_a_bar_is_met() {
        let mut rows = vec![
            row(System::Ringpath("kernel"), 100, Load::Same, 600.0),
            row(System::BareXdpEcho, 100, Load::Same, 400.0),
            row(System::Rtpengine, 100, Load::Same, 12_000.0),
            row(System::Ringpath("kernel"), 500, Load::Same, 500.0),
            row(System::Ringpath("uring"), 100, Load::Same, 3_000.0),
            row(System::Ringpath("uring"), 50, Load::Half, 3_000.0),
        ];
        rows[5].max_lossless_limit = Some(Limit::Relay);
        relate(&mut rows);
        assert_eq!(rows[0].cpu_by_bare_xdp_echo, Some(1.5));
        assert_eq!(rows[0].cpu_by_rtpengine, Some(0.05));
        assert_eq!(rows[3].cpu_by_bare_xdp_echo, None);
        assert_eq!(rows[1].cpu_by_rtpengine, None, "only ours are compared");
        let met = |rows: &[Row]| -> Vec<_> { bars(rows).iter().map(|bar| (bar.calls, bar.is_met)).collect() };
        assert_eq!(
            met(&rows),
            [(100, false), (100, true), (100, true), (50, true), (50, false)]
        );
        rows[5].max_lossless_limit = Some(Limit::Generator);
        assert_eq!(met(&rows).len(), 3, "half of the generator's limit has no bar");
    }

    #[test]
    fn calls_with_srtp_are_compared_with_ours_in_clear_and_with_a_peers_with_srtp() {
        let mut rows = vec![
            row(System::Ringpath("uring"), 100, Load::Same, 5_000.0),
            row(System::Rtpengine, 100, Load::Same, 10_000.0),
            row(System::Ringpath("uring-srtp"), 100, Load::Same, 6_000.0),
            row(System::RtpengineSrtp, 100, Load::Same, 20_000.0),
        ];
        relate(&mut rows);
        let ratios = |row: &Row| (row.cpu_by_clear, row.cpu_by_rtpengine);
        assert_eq!(ratios(&rows[0]), (None, Some(0.5)));
        assert_eq!(ratios(&rows[2]), (Some(1.2), Some(0.3)));
        assert_eq!(ratios(&rows[3]), (None, None));
        let met: Vec<bool> = bars(&rows).iter().map(|bar| bar.is_met).collect();
        assert_eq!(met, [false, true, true], "of uring / rtpengine, then of SRTP");
    }

    #[test]
    fn rows_that_lost_packets_decide_no_bar() {
        let whole = [
            row(System::Ringpath("uring"), 2_000, Load::Same, 3_000.0),
            row(System::BareEpoll, 2_000, Load::Same, 6_000.0),
            row(System::Ringpath("uring"), 400, Load::Half, 3_000.0),
        ];
        let found = |lossy: Option<usize>| {
            let mut rows = whole.to_vec();
            rows[2].max_lossless_limit = Some(Limit::Relay);
            if let Some(place) = lossy {
                rows[place].lost_all_rounds = 1;
            }
            relate(&mut rows);
            bars(&rows).iter().map(|bar| bar.calls).collect::<Vec<_>>()
        };
        assert_eq!(found(None), [2_000, 400, 400]);
        assert_eq!(found(Some(0)), [400, 400]);
        assert_eq!(found(Some(1)), [400, 400], "theirs lost");
        assert_eq!(found(Some(2)), [2_000]);
    }

    #[test]
    fn latency_at_half_load_is_what_is_added_to_the_middle_of_the_echos() {
        let mut half = row(System::Ringpath("uring"), 400, Load::Half, 5_000.0);
        half.max_lossless_limit = Some(Limit::Relay);
        let mut floor = row(System::BareXdpEcho, 400, Load::Floor, 900.0);
        floor.latency_us_p50 = 50;
        let found: Vec<_> = bars(&[half.clone(), floor.clone()])
            .iter()
            .map(|bar| bar.value)
            .collect();
        assert_eq!(found, [150.0, 1_950.0]);
        floor.calls = 100;
        assert_eq!(bars(&[half, floor])[0].value, 200.0, "no floor: all of it");
    }

    #[test]
    fn a_long_run_that_was_not_offered_whole_is_not_met() {
        let mut late = row(System::Ringpath("kernel"), 10_000, Load::Long, 400.0);
        assert!(bars(std::slice::from_ref(&late))[0].is_met);
        late.rounds[0].kept_pace = false;
        assert!(!bars(std::slice::from_ref(&late))[0].is_met);
    }
}
