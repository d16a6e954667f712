//! The comparison as a Markdown table, for `docs/performance.md`.

use std::fmt::Write as _;

use crate::relay::bar::Bar;
use crate::relay::comparison::Comparison;
use crate::relay::row::{Ceiling, Load, Row};

/// Heading-less Markdown: machine, conditions, table, ratios, notes.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!(
        "{}.\n\n{:.1} s a round after {:.1} s of warm-up, {} rounds interleaved; medians, with the range over the rounds in \
         brackets.\n\n",
        comparison.machine, comparison.measure_s, comparison.warm_up_s, comparison.rounds
    );
    text += "| system | path | calls | packets/s | lost | CPU ns/packet | of it process / receive | latency µs p50 / p99 / p99.9 | RSS MB | calls without loss |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in &comparison.rows {
        line(&mut text, row);
    }
    text += &ratios(&comparison.rows);
    text += &bars(&comparison.bars);
    if let Some(pps) = comparison.generator_pps_max {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "\nThe load's core sends at most {pps:.0} packets a second while it counts what comes back."
        );
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
        (Some(calls), Some(limit)) => Ceiling { calls, limit }.to_string(),
        _ => "–".to_owned(),
    };
    let calls = match row.load {
        Load::Same => row.calls.to_string(),
        Load::Half => format!("{} (half load)", row.calls),
        Load::Floor => format!("{} (floor)", row.calls),
        Load::Long => format!("{} (long)", row.calls),
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

/// Of ours to the others at the same number of calls; empty without any.
fn ratios(rows: &[Row]) -> String {
    let number = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}"));
    let mut text = String::new();
    for row in rows {
        let ratios = [
            row.cpu_by_bare_xdp_echo,
            row.cpu_by_bare_epoll,
            row.cpu_by_rtpengine,
            row.cpu_by_clear,
        ];
        if ratios.iter().any(Option::is_some) {
            let [echo, epoll, rtpengine, clear] = ratios.map(number);
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {echo} | {epoll} | {rtpengine} | {clear} |",
                row.path, row.calls
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    "\nCPU a packet, ours by theirs, medians of the same run:\n\n\
     | path | calls | by bare-xdp-echo | by bare-epoll | by rtpengine | by the same in clear |\n|---|---:|---:|---:|---:|---:|\n"
        .to_owned()
        + &text
}

fn bars(bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let mut text = "\n| bar | calls | found | at most | met |\n|---|---:|---:|---:|---|\n".to_owned();
    for bar in bars {
        let digits = if bar.limit > 0.0 && bar.limit < 10.0 { 3 } else { 0 };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.digits$} | {:.digits$} | {} |",
            bar.what,
            bar.calls,
            bar.value,
            bar.limit,
            if bar.is_met { "yes" } else { "**no**" },
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_whether_it_is_met() {
        let bar = |value: f64| Bar {
            what: "kernel / rtpengine",
            calls: 100,
            value,
            limit: 1.0 / 15.0,
            is_met: value <= 1.0 / 15.0,
        };
        let text = bars(&[bar(0.05), bar(0.07)]);
        assert!(
            text.contains("| 0.050 | 0.067 | yes |") && text.contains("| 0.070 | 0.067 | **no** |"),
            "{text}"
        );
        assert!(bars(&[]).is_empty() && ratios(&[]).is_empty());
    }
}
