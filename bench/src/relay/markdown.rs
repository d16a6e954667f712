//! The comparison as a Markdown table, for `docs/performance.md`.

use std::fmt::Write as _;

use crate::relay::comparison::Comparison;
use crate::relay::row::{Limit, Load, Row};

/// Heading-less Markdown: machine, conditions, table, ratios, notes.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!(
        "{}.\n\n{} s a round after {} s of warm-up, {} rounds interleaved; medians, with the range over the rounds in \
         brackets.\n\n",
        comparison.machine, comparison.measure_s, comparison.warm_up_s, comparison.rounds
    );
    text += "| system | path | calls | packets/s | lost | CPU ns/packet | of it process / receive | latency µs p50 / p99 / p99.9 | RSS MB | calls without loss |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in &comparison.rows {
        line(&mut text, row);
    }
    let ratios = ratios(&comparison.rows);
    if !ratios.is_empty() {
        text += "\nCPU a packet, ours by theirs, medians of the same run:\n\n| path | calls | by bare-epoll | by rtpengine |\n|---|---:|---:|---:|\n";
        text += &ratios;
    }
    if !comparison.notes.is_empty() {
        text += "\n";
        for note in &comparison.notes {
            // Writing to a String does not fail.
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

fn line(text: &mut String, row: &Row) {
    let ceiling = match (row.max_lossless_calls, row.max_lossless_limit) {
        (Some(calls), Some(Limit::Relay)) => calls.to_string(),
        (Some(calls), Some(Limit::Generator)) => format!("≥ {calls} (generator)"),
        (Some(calls), Some(Limit::Trial)) => format!("≥ {calls} (no more tried)"),
        (Some(calls), _) => format!("≥ {calls} (time)"),
        (None, _) => "–".to_owned(),
    };
    let calls = match row.load {
        Load::Same => row.calls.to_string(),
        Load::Half => format!("{} (half load)", row.calls),
    };
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "| {} | {} | {calls} | {:.0}{} | {} | {:.0} [{:.0}–{:.0}] | {:.0} / {:.0} | {} / {} / {} | {:.1} | {ceiling} |",
        row.system,
        row.path,
        row.offered_pps,
        if row.generator_fell_behind() { " †" } else { "" },
        row.lost_all_rounds,
        row.cpu_ns_per_packet,
        row.cpu_ns_per_packet_range[0],
        row.cpu_ns_per_packet_range[1],
        row.process_ns_per_packet,
        row.receive_ns_per_packet,
        row.latency_us_p50,
        row.latency_us_p99,
        row.latency_us_p999,
        row.rss_bytes as f64 / 1e6,
    );
}

fn ratios(rows: &[Row]) -> String {
    let cpu = |system: &str, calls: u32| {
        rows.iter()
            .find(|row| row.system == system && row.calls == calls && row.load == Load::Same)
            .map(|row| row.cpu_ns_per_packet)
    };
    let mut text = String::new();
    for row in rows
        .iter()
        .filter(|row| row.system == "ringpath" && row.load == Load::Same)
    {
        let ratio = |system: &str| match cpu(system, row.calls) {
            Some(theirs) if theirs > 0.0 => format!("{:.2}", row.cpu_ns_per_packet / theirs),
            _ => "–".to_owned(),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.path,
            row.calls,
            ratio("bare-epoll"),
            ratio("rtpengine")
        );
    }
    text
}
