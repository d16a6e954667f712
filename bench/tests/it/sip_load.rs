//! `make bench-sip`: its search finds a rate that both servers hold, and its file has the rows that it promises.

use std::process::{Command, Stdio};

use ringpath_bench::relay::privilege;
use ringpath_bench::sip_load::contender::has_kamailio;
use serde_json::Value;

use crate::bench::{folder, skip};

#[test]
fn a_rate_that_every_server_holds_becomes_its_rows() {
    let test = "sip-load";
    if privilege::allowed_cores().unwrap().len() < 2 {
        return skip(test, "one core: the server and the load need one each");
    }
    if !has_kamailio() {
        skip("sip-load of kamailio", "not installed");
    }
    let folder = folder(test);
    std::fs::create_dir_all(&folder).unwrap();
    let arguments = [
        "sip-load",
        "--first=10",
        "--rate-max=10",
        "--time-s=1",
        "--without-media",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_ringpath-kit"))
        .args(arguments)
        .args(["--folder", "results"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let rows: Value =
        serde_json::from_slice(&std::fs::read(folder.join("results/sip.json")).unwrap()).unwrap();
    for system in ["ringpath", "kamailio"] {
        if system == "kamailio" && !has_kamailio() {
            continue;
        }
        let row = |metric: &str| {
            let mut rows = rows.as_array().unwrap().iter();
            rows.find(|row| row["system"] == system && row["metric"] == metric)
                .unwrap_or_else(|| panic!("{system} {metric}: {output:?}"))
        };
        let rate = row("cps_signalling");
        assert_eq!(
            (&rate["value"], &rate["runs"]),
            (&10.0.into(), &3.into()),
            "{rate}"
        );
        assert!(row("cpu_us_per_call")["value"].as_f64().unwrap() > 0.0);
    }
}
