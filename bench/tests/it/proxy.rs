//! Calls through a proxy that we did not write: Debian's Kamailio before us and behind us, record-routing and stateful.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringpath_bench::process::Process;
use ringpath_bench::stand::{Stand, StandOptions};

use crate::bench::{run_both, sipp_is_here, skip, stand};

const CALLS: u32 = 3;

/// Which leg the proxy is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between the caller and us.
    Before,
    /// Between us and the callee.
    Behind,
}

/// Debian has it where only root looks.
fn kamailio() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("kamailio"))
        .find(|file| file.exists())
}

/// A Kamailio at `address`, which sends every call to `to`. It listens when this returns.
fn start(binary: &Path, address: SocketAddr, to: SocketAddr, folder: &Path) -> Process {
    let config = folder.join("proxy.cfg");
    std::fs::write(
        &config,
        include_str!("proxy.cfg").replace("NEXT_HOP", &to.to_string()),
    )
    .unwrap();
    let listen = format!("udp:{address}");
    let runtime = folder.join("kamailio");
    std::fs::create_dir(&runtime).unwrap();
    let arguments: [&std::ffi::OsStr; 11] = [
        "-DD".as_ref(),
        "-E".as_ref(),
        "-m".as_ref(),
        "32".as_ref(),
        "-M".as_ref(),
        "4".as_ref(),
        "-f".as_ref(),
        config.as_ref(),
        "-l".as_ref(),
        listen.as_ref(),
        "-Y".as_ref(),
    ];
    let arguments = arguments.into_iter().chain([runtime.as_os_str()]);
    // What it does not hear yet SIPp sends again.
    Process::start("kamailio", binary, arguments, &[], folder).unwrap()
}

/// Calls through planes and proxy to their end; nothing is held afterwards, and each has a record with this status.
fn run(name: &str, scenario: &str, place: Place, status: i64) {
    let options = StandOptions {
        first_trunk: place == Place::Behind,
        ..StandOptions::default()
    };
    if let Some(stand) = run_with(name, scenario, place, CALLS, &options) {
        check(stand, status, CALLS);
    }
}

/// The same with a callee that is called so often, and no look at what became of it.
fn run_with(name: &str, scenario: &str, place: Place, called: u32, options: &StandOptions) -> Option<Stand> {
    let test = format!("proxy-{name}-{place:?}");
    if !sipp_is_here(&test) {
        return None;
    }
    let Some(binary) = kamailio() else {
        skip(&test, "kamailio is not installed; run `make bench-bootstrap`");
        return None;
    };
    let mut stand = stand(&test, options);
    let callee = stand.callee(scenario, called);
    let mut caller = stand.caller(scenario, CALLS);
    let mut proxy = match place {
        Place::Before => {
            let address = stand.host().address().unwrap();
            caller.remote = Some(address);
            start(&binary, address, stand.sip(), stand.folder())
        }
        Place::Behind => start(&binary, stand.first_trunk(), callee.local, stand.folder()),
    };
    run_both(&mut stand, &callee, &caller);
    stand.wait_until_quiet(Duration::from_secs(10)).unwrap();
    proxy.stop(Duration::from_secs(10)).unwrap();
    Some(stand)
}

fn check(stand: Stand, status: i64, records: u32) {
    let skipped = stand
        .control_metrics()
        .unwrap()
        .value("ringpath_control_call_events_total", "next_hop_skipped");
    assert_eq!(skipped.unwrap_or(0.0), 0.0, "all calls went by the proxy");
    let cdrs = stand
        .wait_for_cdrs(records as usize, Duration::from_secs(10))
        .unwrap();
    assert_eq!(cdrs.len(), records as usize, "{cdrs:#?}");
    for cdr in cdrs {
        assert_eq!(cdr.status, Some(status), "{cdr:#?}");
    }
    stand.finish().unwrap();
}

fn check_transfers(stand: &Stand) {
    let metrics = stand.control_metrics().unwrap();
    let transfers = |stage| metrics.value("ringpath_control_transfers_total", stage);
    assert_eq!(transfers("completed"), Some(f64::from(CALLS)));
}

fn run_on_both_sides(name: &str, scenario: &str, status: i64) {
    for place in [Place::Before, Place::Behind] {
        run(name, scenario, place, status);
    }
}

/// Who stays gets its re-INVITE by the Record-Route.
#[test]
fn a_caller_behind_a_proxy_is_transferred() {
    let options = StandOptions {
        // Of the only route, whose section comes last.
        control_extra: "transfer = \"local\"\n".to_owned(),
        ..StandOptions::default()
    };
    let scenario = "transfer/blind";
    let Some(stand) = run_with("transfer", scenario, Place::Before, CALLS * 2, &options) else {
        return;
    };
    check_transfers(&stand);
    check(stand, 200, CALLS);
}

/// The REFER comes by the proxy, its NOTIFYs go there; the same for who is joined, whose re-INVITEs have and ask for an offer.
#[test]
fn an_attended_transfer_goes_through_a_proxy() {
    for place in [Place::Before, Place::Behind] {
        let options = StandOptions {
            first_trunk: place == Place::Behind,
            sip_extra: "caller_transfer = \"local\"\n".to_owned(),
            ..StandOptions::default()
        };
        let Some(stand) = run_with("attended", "transfer/attended", place, CALLS * 2, &options) else {
            return;
        };
        check_transfers(&stand);
        check(stand, 200, CALLS * 2);
    }
}

/// re-INVITE and BYE of the caller follow the Record-Route.
#[test]
fn hold_and_resume_go_through_a_proxy() {
    run_on_both_sides("hold", "hold/resume", 200);
}

#[test]
fn the_bye_of_the_callee_goes_through_a_proxy() {
    run_on_both_sides("bye", "basic-call/callee-hangs-up", 200);
}

#[test]
fn a_cancel_goes_through_a_proxy() {
    run_on_both_sides("cancel", "cancel/after-ringing", 487);
}

#[test]
fn failures_come_back_through_a_proxy() {
    run_on_both_sides("busy", "reject/busy", 486);
    run_on_both_sides("decline", "reject/decline", 603);
}
