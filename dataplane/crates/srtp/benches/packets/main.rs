//! What protecting and unprotecting a packet costs, beside the system's libsrtp2 (`make bench-srtp`).
//!
//! Both implementations take the same keys, packets and turns: [`PACKETS`] packets of one SSRC are protected, then
//! unprotected, in place in buffers of their own, and the middle of many such turns counts. In every second turn ours takes
//! them two at once (`protect_batch`, `unprotect_batch`).
//! Rounds of the two alternate, so that what else the machine does meets both. What they make of the first packet is
//! compared byte by byte.
#![forbid(unsafe_code)]

mod libsrtp2;
mod ours;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use libsrtp2::Libsrtp2;
use serde_json::json;
use srtp::Suite;

/// Packets of a turn.
const PACKETS: usize = 256;
/// Turns of a round, of which the middle one counts.
const TURNS: usize = 200;
/// Rounds, of which the middle one counts.
const ROUNDS: usize = 7;
/// Bytes of the RTP packets: 20 ms of G.711, and a full packet of video.
const BYTES: [usize; 2] = [172, 1_200];

/// What one round found of one suite and length.
struct Reading {
    suite: String,
    bytes: usize,
    /// Nanoseconds a packet by operation.
    ns: Vec<(&'static str, f64)>,
    /// The first packet, protected.
    first: Vec<u8>,
}

/// Nanoseconds a packet in each round, by implementation, suite, bytes and operation.
type Table = BTreeMap<(&'static str, String, usize, &'static str), Vec<f64>>;

fn main() -> Result<()> {
    let directory = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let directory = PathBuf::from(directory.context("which directory is srtp.json to be written to?")?);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let peer = match Libsrtp2::build(&directory) {
        Ok(peer) => Some(peer),
        Err(error) => {
            println!("ABSENT libsrtp2: {error:#}; its rows are left out");
            None
        }
    };

    let mut table = Table::new();
    for _ in 0..ROUNDS {
        let ours = ours::round();
        if let Some(peer) = &peer {
            let theirs = peer.round()?;
            for theirs in &theirs {
                let same = ours
                    .iter()
                    .any(|ours| (&ours.suite, &ours.first) == (&theirs.suite, &theirs.first));
                ensure!(same, "libsrtp2 makes another packet under {}", theirs.suite);
            }
            keep(&mut table, "libsrtp2", theirs);
        }
        keep(&mut table, "ringpath", ours);
    }

    let middle: BTreeMap<_, f64> = table
        .into_iter()
        .map(|(row, values)| (row, median(values)))
        .collect();
    let rows: Vec<_> = middle
        .iter()
        .map(|((implementation, suite, bytes, operation), ns)| {
            json!({
                "implementation": implementation,
                "suite": suite,
                "operation": operation,
                "bytes": bytes,
                "ns_per_packet": (ns * 10.0).round() / 10.0,
            })
        })
        .collect();
    let path = directory.join("srtp.json");
    let text = serde_json::to_string_pretty(&rows)?;
    std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    print(&middle);
    println!("{}", path.display());
    Ok(())
}

fn keep(table: &mut Table, implementation: &'static str, readings: Vec<Reading>) {
    for reading in readings {
        for (operation, ns) in reading.ns {
            let row = (implementation, reading.suite.clone(), reading.bytes, operation);
            table.entry(row).or_default().push(ns);
        }
    }
}

fn print(middle: &BTreeMap<(&'static str, String, usize, &'static str), f64>) {
    println!("| suite | bytes | operation | ringpath, ns | libsrtp2, ns |\n|---|---|---|---|---|");
    for suite in Suite::ALL {
        for bytes in BYTES {
            for operation in ["protect", "unprotect", "protect_batch", "unprotect_batch"] {
                let cell = |implementation| {
                    let row = (implementation, suite.name().to_owned(), bytes, operation);
                    middle
                        .get(&row)
                        .map_or_else(|| "absent".to_owned(), |ns| format!("{ns:.0}"))
                };
                let (ours, theirs) = (cell("ringpath"), cell("libsrtp2"));
                println!("| {} | {bytes} | {operation} | {ours} | {theirs} |", suite.name());
            }
        }
    }
}

/// The middle one of an odd number of values, else the upper one of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
