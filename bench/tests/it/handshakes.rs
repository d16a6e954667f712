//! `make bench-handshakes`: parties and node complete what is offered, or say what they missed, and established calls go on.

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
    // Few enough for a build without optimisation beside other tests: an established call that loses a packet fails the run.
    let output = Command::new(env!("CARGO_BIN_EXE_ringpath-kit"))
        .args([
            "handshakes",
            "--rates=5,10",
            "--established=10",
            "--time-s=2",
            "--folder=results",
        ])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join("results/handshakes.json")).unwrap()).unwrap();
    for (row, offered) in report["rows"].as_array().unwrap().iter().zip([10, 20]) {
        let of = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(
            (of("completed") + of("missed"), of("failed")),
            (offered, 0),
            "{row}"
        );
        // The last are due shortly before the end, and others have the cores, too.
        assert!(of("completed") * 2 > offered, "{row}");
    }
    assert!(report["alone"]["sent"].as_u64().unwrap() > 0, "{report}");
}
