//! `make bench-sip` with tiny numbers: every metric has its row, of every server.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ringpath_bench::relay::privilege;
use ringpath_bench::sip_load::contender::has_kamailio;
use serde_json::Value;

use crate::bench::{folder, sipp_is_here, skip};

/// What each process of the kit measures; they run side by side.
const PARTS: [&[&str]; 3] = [
    &[
        "cps_signalling",
        "cpu_us_per_call",
        "added_setup_ms_p50",
        "added_setup_ms_p99",
        "goodput_share_at_150_percent",
    ],
    &["cps_with_media", "register_plain_per_s", "register_digest_per_s"],
    &[
        "bytes_per_registration",
        "bytes_per_call_in_flight",
        "bytes_per_held_call",
    ],
];

fn start(system: &str, metrics: &[&str], folder: &Path) -> Child {
    let tiny = [
        "--first=10",
        "--rate-max=10",
        "--register-first=10",
        "--register-max=10",
        "--time-s=1",
        "--runs=1",
        "--linger-s=1",
        "--users=20",
        "--held=100",
        "--registered=100",
    ];
    std::fs::create_dir_all(folder).unwrap();
    Command::new(env!("CARGO_BIN_EXE_ringpath-kit"))
        .arg("sip-load")
        .args(tiny)
        .args(["--systems", system, "--metrics", &metrics.join(",")])
        .arg("--folder")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_metric_of_every_server_becomes_its_row() {
    let test = "sip-load";
    if privilege::allowed_cores().unwrap().len() < 2 {
        return skip(test, "one core: the server and the load need one each");
    }
    if !sipp_is_here(test) {
        return;
    }
    let mut systems = vec!["ringpath"];
    if has_kamailio() {
        systems.push("kamailio");
    } else {
        skip("sip-load of kamailio", "not installed");
    }
    let folder = folder(test);
    let mut running = Vec::new();
    for system in systems {
        for (part, metrics) in PARTS.into_iter().enumerate() {
            let folder = folder.join(format!("{system}-{part}"));
            running.push((system, metrics, start(system, metrics, &folder), folder));
        }
    }
    for (system, metrics, kit, folder) in running {
        let output = kit.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{system}: {output:?}");
        let rows: Vec<Value> =
            serde_json::from_slice(&std::fs::read(folder.join("sip.json")).unwrap()).unwrap();
        for row in &rows {
            let keys: BTreeSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(
                keys,
                BTreeSet::from(["metric", "runs", "spread", "system", "unit", "value"])
            );
            assert_eq!(
                (&row["system"], &row["runs"]),
                (&system.into(), &1.into()),
                "{row}"
            );
        }
        // Kamailio has no media.
        for metric in metrics
            .iter()
            .filter(|metric| system == "ringpath" || **metric != "cps_with_media")
        {
            let row = rows.iter().find(|row| row["metric"] == *metric);
            let value = row.unwrap_or_else(|| panic!("{system} {metric}: {said}"))["value"]
                .as_f64()
                .unwrap();
            match *metric {
                "cps_signalling" | "register_plain_per_s" | "register_digest_per_s" => {
                    assert_eq!(value, 10.0)
                }
                "cps_with_media" => assert_eq!(value, 5.0),
                // Of calls that were begun later than they should have been, one more falls into the time, or less.
                "goodput_share_at_150_percent" => assert!((1.2..=1.6).contains(&value), "{system}: {value}"),
                // The server's part is a difference, and of few calls.
                "added_setup_ms_p50" | "added_setup_ms_p99" => assert!(value.abs() < 1_000.0, "{value}"),
                // Of so few the allocator's own doings are more.
                "bytes_per_registration" | "bytes_per_call_in_flight" | "bytes_per_held_call" => {
                    assert!(value.abs() < 1_000_000.0, "{system} {metric}: {value}");
                }
                _ => assert!(value > 0.0, "{system} {metric}: {value}\n{said}"),
            }
        }
        if system == "ringpath" && metrics.contains(&"register_digest_per_s") {
            let all = "20 of 20 users registered";
            assert!(
                said.contains(all) && said.contains("20 were there") && said.contains("20 registered again"),
                "{said}"
            );
        }
    }
}
