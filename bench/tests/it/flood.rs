//! `make bench-flood` with tiny numbers: established calls go on, and who shows no credentials is told so.

use std::process::{Command, Stdio};

use ringpath_bench::relay::privilege;
use serde_json::Value;

use crate::bench::{folder, skip};

#[test]
fn requests_within_calls_are_answered_while_strangers_are_challenged() {
    let test = "flood";
    if privilege::allowed_cores().unwrap().len() < 2 {
        return skip(test, "one core: the server and the load need one each");
    }
    let folder = folder(test);
    std::fs::create_dir_all(&folder).unwrap();
    // Few enough for a build without optimisation.
    let output = Command::new(env!("CARGO_BIN_EXE_ringpath-kit"))
        .args(["flood", "--rate=200", "--sources=4", "--time-s=1", "--rounds=1"])
        .arg("--folder")
        .arg(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let rows: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.join("flood.json")).unwrap()).unwrap();
    let kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str()).collect();
    assert_eq!(kinds, [None, Some("register"), Some("invite"), Some("options")]);
    for row in &rows {
        assert!(row["requests"].as_u64().unwrap() > 10, "{row}");
        assert_eq!(row["unanswered"], 0, "{row}");
        assert!(row["response_ms_p99"].as_f64().unwrap() > 0.0, "{row}");
    }
    for (row, status) in rows[1..].iter().zip(["401", "407", "200"]) {
        // None is lost on loopback at so few a second; those within the calls have their 200.
        let answered = row["answers"][status].as_u64().unwrap();
        let within = if status == "200" {
            row["requests"].as_u64().unwrap()
        } else {
            0
        };
        assert_eq!(answered - within, row["sent"].as_u64().unwrap(), "{row}");
    }
    assert_eq!(rows[0]["answers"].as_object().unwrap().len(), 1, "{}", rows[0]);
}
