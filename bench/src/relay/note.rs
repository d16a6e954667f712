//! What the rows say besides their figures, in sentences.

use crate::relay::bar::{self, HALF_LOAD};
use crate::relay::row::{Ceiling, Load, Row};

/// What is left to say of these rows, of which each has had as many rounds as were `wanted` or fewer.
pub fn notes(rows: &[Row], wanted: u32) -> Vec<String> {
    let mut notes: Vec<String> = rows.iter().flat_map(|row| of_row(row, wanted)).collect();
    notes.extend(by_the_best(rows));
    notes.extend(half_load(rows));
    if rows.iter().any(Row::generator_fell_behind) {
        let note = "† The generator's core could not offer the whole load; the figures belong to the rate that is given.";
        notes.push(note.to_owned());
    }
    notes
}

fn of_row(row: &Row, wanted: u32) -> Vec<String> {
    let name = format!("{} {} with {} calls", row.system, row.path, row.calls);
    let mut notes = Vec::new();
    let had = row.rounds.len();
    if row.load != Load::Long && had < wanted as usize {
        notes.push(format!("{name} has {had} of {wanted} rounds."));
    }
    if row.lost_all_rounds > 0 {
        let at = row.dropped_all_rounds;
        notes.push(format!(
            "{name} lost {}; of these the kernel dropped {} at the veth's end of the relay, {} at that of the load, {} at the \
             relay's sockets, {} at the load's.{}",
            row.lost_all_rounds, at.veth_relay, at.veth_load, at.relay_sockets, at.load_sockets,
            if row.load == Load::Long { "" } else { " It decides no bar." }
        ));
    }
    if row.holds_all_rounds > 0 {
        notes.push(format!(
            "{name}: packets waited {} times since the rings of the bed were full; the wait is in the latency.",
            row.holds_all_rounds
        ));
    }
    notes
}

/// Each path of ours at the most calls that it took by the least CPU a packet of each other system at any number of calls,
/// both without loss.
fn by_the_best(rows: &[Row]) -> Vec<String> {
    let whole =
        |row: &&Row| row.load == Load::Same && row.lost_all_rounds == 0 && !row.generator_fell_behind();
    let best = |system: &str, is_secured: bool| {
        rows.iter()
            .filter(whole)
            .filter(|row| (row.system, row.is_secured) == (system, is_secured) && row.cpu_ns_per_packet > 0.0)
            .min_by(|one, other| one.cpu_ns_per_packet.total_cmp(&other.cpu_ns_per_packet))
    };
    let mut paths: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.system == "ringpath") {
        if !paths.contains(&row.path) {
            paths.push(row.path);
        }
    }
    let mut notes = Vec::new();
    for path in paths {
        let Some(ours) = rows
            .iter()
            .filter(whole)
            .filter(|row| (row.system, row.path) == ("ringpath", path))
            .max_by_key(|row| row.calls)
        else {
            continue;
        };
        let ratios: Vec<String> = bar::OTHERS
            .into_iter()
            // The echo is a floor for what stays in the kernel.
            .filter(|system| path == "kernel" || *system != "bare-xdp-echo")
            .filter_map(|system| best(system, ours.is_secured))
            .map(|theirs| {
                format!(
                    "{} ({} calls, {:.0} ns) {:.3}",
                    theirs.system,
                    theirs.calls,
                    theirs.cpu_ns_per_packet,
                    ours.cpu_ns_per_packet / theirs.cpu_ns_per_packet
                )
            })
            .collect();
        if !ratios.is_empty() {
            notes.push(format!(
                "{path} at {} calls, {:.0} ns a packet, by the best row without loss of: {}.",
                ours.calls,
                ours.cpu_ns_per_packet,
                ratios.join(", ")
            ));
        }
    }
    notes
}

/// Why the latency at half load is held against no bar.
fn half_load(rows: &[Row]) -> Option<String> {
    let row = rows
        .iter()
        .find(|row| row.load == Load::Half && (row.system, row.path) == HALF_LOAD)?;
    let ceiling = Ceiling {
        calls: row.max_lossless_calls?,
        limit: row.max_lossless_limit?,
    };
    (!ceiling.is_the_relays()).then(|| {
        format!(
            "{} at half load has no bar: the search for its most calls ended at {ceiling}, so {} calls may be less than half.",
            row.path, row.calls
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::contender::System;
    use crate::relay::row::{Limit, Round};

    fn row(system: System, calls: u32, cpu: f64, lost: u64) -> Row {
        let round = Round {
            cpu_ns_per_packet: cpu,
            lost,
            kept_pace: true,
            ..Round::default()
        };
        Row::new(system, calls, Load::Same, vec![round])
    }

    #[test]
    fn ours_is_held_against_the_best_of_the_others_at_any_number_of_calls() {
        let rows = [
            row(System::Ringpath("kernel"), 100, 9_000.0, 0),
            row(System::Ringpath("kernel"), 10_000, 500.0, 0),
            row(System::Rtpengine, 100, 25_000.0, 0),
            row(System::Rtpengine, 500, 20_000.0, 0),
            row(System::Rtpengine, 1_000, 10_000.0, 7),
        ];
        let notes = by_the_best(&rows);
        assert_eq!(
            notes,
            [
                "kernel at 10000 calls, 500 ns a packet, by the best row without loss of: rtpengine (500 calls, 20000 ns) 0.025."
            ]
        );
    }

    #[test]
    fn waits_losses_and_missing_rounds_are_told() {
        let mut held = row(System::Ringpath("kernel"), 10_000, 500.0, 3);
        held.holds_all_rounds = 12;
        let notes = notes(&[held], 3).join("\n");
        assert!(
            notes.contains("has 1 of 3 rounds")
                && notes.contains("lost 3;")
                && notes.contains("waited 12 times"),
            "{notes}"
        );
    }

    #[test]
    fn a_half_load_that_the_relay_did_not_bound_says_what_did() {
        let mut half = row(System::Ringpath("uring"), 450, 4_000.0, 0);
        half.load = Load::Half;
        half.max_lossless_calls = Some(900);
        half.max_lossless_limit = Some(Limit::Time);
        let note = half_load(std::slice::from_ref(&half)).unwrap();
        assert!(note.contains("≥ 900 (time)"), "{note}");
        half.max_lossless_limit = Some(Limit::Relay);
        assert_eq!(half_load(&[half]), None);
    }
}
