//! What the end-to-end tests share.

use std::path::PathBuf;
use std::time::Duration;

use ringpath_bench::sipp::Script;
use ringpath_bench::stand::{Stand, StandOptions};

/// In which SIPp must have ended a few short calls.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Logs of the test stay here until its next run.
pub fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// Says that a test cannot run here, and why; a failure under `STRICT=1`.
pub fn skip(test: &str, reason: &str) {
    println!("SKIP {test}: {reason}");
    assert!(
        std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
        "a skip fails under STRICT=1"
    );
}

/// False, with a line that says so, when SIPp is missing; a failure under `STRICT=1`.
pub fn sipp_is_here(test: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("sipp").exists()));
    if !found {
        skip(test, "sipp is not installed; run `make bootstrap`");
    }
    found
}

/// Both planes for one test.
pub fn stand(test: &str, options: &StandOptions) -> Stand {
    Stand::start(options, &folder(test)).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Runs a callee and a caller to their end; both must be content.
pub fn run_both(stand: &mut Stand, callee: &Script<'_>, caller: &Script<'_>) {
    let mut callee = stand.run(callee).unwrap();
    let mut caller = stand.run(caller).unwrap();
    let called = caller.finish(WITHIN);
    let answered = callee.finish(if called.is_ok() { WITHIN } else { Duration::ZERO });
    if let (Err(error), _) | (_, Err(error)) = (&called, &answered) {
        panic!("{error:#}\n{}\n{}", callee.complaint(), stand.control.log_tail());
    }
}

/// Runs a caller whom the control plane answers by itself.
pub fn run_caller(stand: &mut Stand, caller: &Script<'_>) {
    let mut caller = stand.run(caller).unwrap();
    if let Err(error) = caller.finish(WITHIN) {
        panic!("{error:#}\n{}", stand.control.log_tail());
    }
}
