//! `make bench-setup`: which node it measures, and where.

use std::path::Path;
use std::process::{Command, Stdio};

use ringpath_bench::relay::privilege;
use serde_json::Value;

use crate::bench::{folder, skip};

/// Runs it for a second each, by way of `before`, and gives what it wrote.
fn set_up(folder: &Path, before: &[&str]) -> Value {
    std::fs::create_dir_all(folder).unwrap();
    let program = env!("CARGO_BIN_EXE_ringpath-kit");
    let words = [before, &[program, "setup", "--time-s=1", "--folder=results"]].concat();
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&std::fs::read(folder.join("results/setup.json")).unwrap()).unwrap()
}

fn paths(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().map(|row| row["path"].as_str().unwrap()).collect()
}

#[test]
fn the_node_as_it_comes_is_the_first_row_and_has_the_kernel_path_in_the_bed() {
    let test = "setup-bed";
    if let Err(reason) = privilege::check() {
        return skip(test, &reason.to_string());
    }
    let report = set_up(&folder(test), &[]);
    let paths = paths(&report);
    assert!(
        paths[0] == "kernel" && ["uring-no-steering", "socket"].contains(&paths[1]),
        "{report}"
    );
    assert_eq!(report["setups_per_s"], report["rows"][0]["setups_per_s"]);
    assert!(report["setups_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn without_privilege_both_rows_are_on_loopback_and_that_is_said() {
    let test = "setup-unprivileged";
    // Dropping what one has needs privilege as well.
    if let Err(reason) = privilege::check() {
        return skip(test, &reason.to_string());
    }
    let report = set_up(
        &folder(test),
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"],
    );
    assert!(!paths(&report).contains(&"kernel"), "{report}");
    let note = report["notes"][0].as_str().unwrap();
    assert!(
        note.contains("loopback") && note.contains("CAP_NET_ADMIN"),
        "{note}"
    );
}
