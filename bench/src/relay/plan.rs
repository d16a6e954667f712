//! How the time of a comparison is shared out before it begins, so that every part of it is reached.

use std::time::Duration;

use crate::relay::contender::System;

/// Before a measurement.
pub const WARM_UP: Duration = Duration::from_secs(1);
/// Start and stop of a relay and the packets on their way: what a measurement takes besides.
const AROUND: Duration = Duration::from_millis(700);
/// Fewer seconds measure little.
const MEASURE_MIN: Duration = Duration::from_secs(2);
/// What the rounds get at the least when the time does not do for everything: three fifths.
const ROUNDS_MIN: (u32, u32) = (3, 5);

/// What is to be shared.
#[derive(Clone, Debug)]
pub struct Work<'a> {
    /// All that there is.
    pub time: Duration,
    /// Rounds, and what is measured in each.
    pub rounds: u32,
    /// See `rounds`.
    pub cells: &'a [(System, u32)],
    /// Of one measurement, at the most.
    pub measure: Duration,
    /// The long run, with all that it takes.
    pub long: Duration,
    /// Whose most calls are looked for.
    pub searches: &'a [System],
}

/// How it is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of one measurement.
    pub measure: Duration,
    /// All rounds: what is over then is left out.
    pub rounds: Duration,
}

impl Plan {
    /// Shortens the measurements, to two seconds at the least, then the rounds, to three fifths of the time at the least.
    pub fn new(work: &Work<'_>) -> Self {
        let rest = work.long
            + work
                .searches
                .iter()
                .map(|&system| search_time(system))
                .sum::<Duration>();
        let rounds_of = |measure: Duration| {
            let one: Duration = work
                .cells
                .iter()
                .map(|&(system, calls)| around(system, calls) + measure)
                .sum();
            one * work.rounds
        };
        let least = work.time * ROUNDS_MIN.0 / ROUNDS_MIN.1;
        let share = work.time.saturating_sub(rest).max(least);
        let measurements = u32::try_from(work.cells.len()).unwrap_or(u32::MAX) * work.rounds;
        let each = share
            .saturating_sub(rounds_of(Duration::ZERO))
            .checked_div(measurements)
            .unwrap_or(work.measure);
        let measure = each.max(MEASURE_MIN).min(work.measure);
        Self {
            measure,
            rounds: share,
        }
    }
}

/// What a measurement takes besides the time that is measured.
pub fn around(system: System, calls: u32) -> Duration {
    AROUND + WARM_UP + set_up(system, calls)
}

/// How long a relay takes to get its calls, and these to be where they are to be measured.
pub fn set_up(system: System, calls: u32) -> Duration {
    Duration::from_micros(match system {
        System::Ringpath("kernel") => 800,
        System::Ringpath(_) => 300,
        System::Rtpengine | System::RtpengineSrtp => 700,
        System::RelayProgram | System::BareXdpEcho | System::BareEpoll => 20,
    }) * calls
}

/// What the search for the most calls and the rows at half of that take. It ends earlier when this is over, and says so.
pub fn search_time(system: System) -> Duration {
    Duration::from_secs(match system {
        // With the bare echo at its half load.
        System::Ringpath("uring") => 100,
        System::Ringpath("kernel") => 65,
        _ => 25,
    })
}

/// What the first of these searches gets of the time that is `left`: its part of a surplus, and its own time before the others
/// when there is not enough for all.
pub fn search_share(searches: &[System], left: Duration) -> Duration {
    let all: Duration = searches.iter().map(|&system| search_time(system)).sum();
    let own = searches
        .first()
        .map_or(Duration::ZERO, |&system| search_time(system));
    if left > all && !all.is_zero() {
        left.mul_f64(own.as_secs_f64() / all.as_secs_f64())
    } else {
        own.min(left)
    }
}

/// In the order in which the most calls are looked for: `uring`, whose latency at half load is a bar, `kernel`, then the others.
pub fn search_order(systems: &[System]) -> Vec<System> {
    let mut ordered = systems.to_vec();
    ordered.sort_by_key(|system| match system {
        System::Ringpath("uring") => 0,
        System::Ringpath("kernel") => 1,
        _ => 2,
    });
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn default_run(time: Duration) -> (Plan, Duration) {
        let systems: Vec<System> = System::ALL
            .into_iter()
            .filter(|&system| system != System::RelayProgram && !system.is_secured())
            .collect();
        let mut cells = Vec::new();
        for calls in [100, 500, 1_000, 2_000] {
            cells.extend(systems.iter().map(|&system| (system, calls)));
        }
        for calls in [5_000, 10_000] {
            cells.push((System::Ringpath("kernel"), calls));
            cells.push((System::BareXdpEcho, calls));
        }
        let long = SECOND * 45;
        let plan = Plan::new(&Work {
            time,
            rounds: 3,
            cells: &cells,
            measure: SECOND * 4,
            long,
            searches: &systems,
        });
        let rest = long
            + systems
                .iter()
                .map(|&system| search_time(system))
                .sum::<Duration>();
        (plan, rest)
    }

    #[test]
    fn a_quarter_of_an_hour_does_for_three_rounds_the_long_run_and_the_searches() {
        let (plan, rest) = default_run(SECOND * 900);
        assert!(plan.measure >= SECOND * 5 / 2, "{plan:?}");
        assert!(plan.rounds + rest <= SECOND * 900, "{plan:?}, {rest:?}");
    }

    #[test]
    fn with_time_enough_nothing_is_shortened_and_with_little_the_rounds_do_not_take_it_all() {
        assert_eq!(default_run(SECOND * 3_600).0.measure, SECOND * 4);
        let (short, _) = default_run(SECOND * 170);
        assert_eq!(
            short,
            Plan {
                measure: MEASURE_MIN,
                rounds: SECOND * 102
            }
        );
    }

    #[test]
    fn the_path_whose_latency_is_a_bar_is_searched_first() {
        let order = search_order(&System::ALL);
        assert_eq!(
            order[..2],
            [System::Ringpath("uring"), System::Ringpath("kernel")]
        );
        assert_eq!(order.len(), System::ALL.len());
        let own = search_time(order[0]);
        assert_eq!(search_share(&order, own), own, "the others wait");
        assert_eq!(search_share(&order, SECOND), SECOND);
        assert!(search_share(&order, SECOND * 3_600) > own);
        assert_eq!(search_share(&[], SECOND), Duration::ZERO);
    }
}
