//! `make bench-handshakes`: parties and node complete what is offered, and established calls go on.

use std::process::{Command, Stdio};

use ringpath_bench::relay::privilege;
use serde_json::Value;

use crate::bench::{folder, skip};

#[test]
fn what_is_offered_is_completed_in_both_roles_beside_calls_that_lose_nothing() {
    let test = "handshakes-bed";
    if let Err(reason) = privilege::check() {
        return skip(test, &reason.to_string());
    }
    let folder = folder(test);
    std::fs::create_dir_all(&folder).unwrap();
    // Few enough for a build without optimisation.
    let output = Command::new(env!("CARGO_BIN_EXE_ringpath-kit"))
        .args(["handshakes", "--rates=5,10", "--time-s=2", "--folder=results"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join("results/handshakes.json")).unwrap()).unwrap();
    let completed: Vec<_> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["completed"].as_u64(), row["failed"].as_u64()))
        .collect();
    assert_eq!(completed, [(Some(10), Some(0)), (Some(20), Some(0))]);
    assert!(report["alone"]["sent"].as_u64().unwrap() > 0, "{report}");
}
