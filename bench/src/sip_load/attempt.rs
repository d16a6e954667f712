//! One run of SIPp against a server: so many calls a second for so long.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ops::clock::MonotonicClock;

use crate::binary;
use crate::process::Process;
use crate::sip_load::contender::{Contender, is_bound};
use crate::sipp::{Tally, tally_of};
use crate::{usage, wait};

/// Calls that are not over by then, after the last was begun, have failed. A retransmission comes after half a second.
const PATIENCE: Duration = Duration::from_secs(4);
/// SIPp needs it above 2,000 calls a second; the kernel caps it.
const BUFFER_BYTES: &str = "8388608";
/// SIPp's own limit of calls at once, below that of its open files.
const CALLS_AT_ONCE: &str = "15000";
/// What SIPp must begin of the rate that it was asked for.
const PACE: f64 = 0.97;
/// How often SIPp writes a line of statistics.
const STATISTICS_EVERY: &str = "200ms";
/// The part of a run over which [`Outcome::busy`] is taken.
const BUSY_PART: f64 = 0.9;

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The core of both SIPp.
    pub core: usize,
    /// Caller's and callee's addresses.
    pub parties: [SocketAddr; 2],
    /// The server's.
    pub server: SocketAddr,
    /// Calls a second.
    pub rate: u32,
    /// For how long.
    pub duration: Duration,
    /// What SIPp writes goes there.
    pub folder: &'a Path,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Calls that were asked for.
    pub calls: u64,
    /// SIPp's account.
    pub tally: Tally,
    /// Calls begun a second.
    pub pace: f64,
    /// Offered.
    pub rate: u32,
    /// Processor time of the server by call.
    pub cpu_us_per_call: f64,
    /// Processor time of the server's processes, and of both SIPp, by time that passed, while calls were begun.
    pub busy: [f64; 2],
}

impl Outcome {
    /// Whether every call went well, and so many a second.
    pub fn holds(&self) -> bool {
        self.tally.failed == 0 && self.tally.successful == self.calls && self.kept_pace()
    }

    /// Whether SIPp began as many calls a second as it was to.
    pub fn kept_pace(&self) -> bool {
        self.pace >= f64::from(self.rate) * PACE
    }
}

impl Offer<'_> {
    /// Runs it.
    pub fn run(&self, contender: &Contender) -> anyhow::Result<Outcome> {
        let calls = u64::from(self.rate) * self.duration.as_millis() as u64 / 1_000;
        let [caller, callee] = self.parties;
        let mut uas = self.sipp("uas", callee, &[])?;
        wait::until_true("SIPp to listen", Duration::from_secs(10), || {
            ensure!(uas.is_running()?, "SIPp ended at once\n{}", uas.tail());
            is_bound(callee)
        })?;
        let statistics = self.folder.join("uac.csv");
        let _ = fs::remove_file(&statistics);
        let (rate, count) = (self.rate.to_string(), calls.to_string());
        let clock = MonotonicClock::start();
        let begun = clock.now();
        let before = [contender.run_time()?, usage::run_time(uas.id())?];
        let mut uac = self.sipp(
            "uac",
            caller,
            &[
                &self.server.to_string(),
                "-r",
                &rate,
                "-m",
                &count,
                "-d",
                "0",
                "-trace_stat",
                "-stf",
                &statistics.display().to_string(),
                "-fd",
                STATISTICS_EVERY,
            ],
        )?;
        // While SIPp still begins calls: what follows is waiting, and would make the cores look idle.
        wait::pass(self.duration.mul_f64(BUSY_PART));
        let server = contender.run_time()?.saturating_sub(before[0]);
        let mut load = usage::run_time(uas.id())?.saturating_sub(before[1]);
        if uac.is_running()? {
            load += usage::run_time(uac.id())?;
        }
        let passed = clock.now().saturating_since(begun).as_secs_f64();
        // A run that is not over by then is killed, and the calls that it still had have failed.
        let _ = uac.wait(self.duration + PATIENCE);
        let work = contender.run_time()?.saturating_sub(before[0]);
        uas.kill()?;
        let table = fs::read_to_string(&statistics)
            .with_context(|| format!("SIPp gave no statistics\n{}", uac.tail()))?;
        let mut tally = tally_of(&table)?;
        tally.failed = tally.failed.max(calls.saturating_sub(tally.successful));
        Ok(Outcome {
            calls,
            tally,
            pace: pace_of(&table, calls).unwrap_or(0.0),
            rate: self.rate,
            cpu_us_per_call: work.as_micros() as f64 / tally.successful.max(1) as f64,
            busy: [server, load].map(|work| work.as_secs_f64() / passed),
        })
    }

    fn sipp(&self, side: &str, local: SocketAddr, more: &[&str]) -> anyhow::Result<Process> {
        let scenario = binary::scenarios().join("load/call").join(format!("{side}.xml"));
        let (core, ip, port) = (
            self.core.to_string(),
            local.ip().to_string(),
            local.port().to_string(),
        );
        let mut words: Vec<OsString> = ["--cpu-list", &core, "sipp", "-sf"].map(OsString::from).into();
        words.push(scenario.into());
        let fixed = [
            "-i",
            &ip,
            "-p",
            &port,
            "-mi",
            &ip,
            "-nostdin",
            "-buff_size",
            BUFFER_BYTES,
            "-l",
            CALLS_AT_ONCE,
        ];
        words.extend(fixed.iter().chain(more).map(OsString::from));
        Process::start(side, "taskset", words, &[], self.folder)
    }
}

/// The rate at which SIPp began calls: from the first line of its statistics with a call to the last at which it had not
/// begun all. What one begins too late it begins soon after, so a short delay in between makes no difference. One call
/// more is allowed for the ends.
fn pace_of(table: &str, calls: u64) -> Option<f64> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next()?.split(';').collect();
    let place = |wanted: &str| names.iter().position(|name| *name == wanted);
    let (time, begun) = (place("CurrentTime")?, place("TotalCallCreated")?);
    let points: Vec<(f64, u64)> = lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(';').collect();
            // Date, time of day and seconds since 1970.
            let seconds = fields.get(time)?.split('\t').next_back()?.parse().ok()?;
            Some((seconds, fields.get(begun)?.parse().ok()?))
        })
        .filter(|(_, begun)| (1..calls).contains(begun))
        .collect();
    let ((from, first), (to, last)) = (points.first()?, points.last()?);
    (to > from).then(|| (last - first + 1) as f64 / (to - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_holds_when_every_call_went_well_and_the_rate_was_offered() {
        let good = Outcome {
            calls: 100,
            tally: Tally {
                successful: 100,
                failed: 0,
                retransmissions: 3,
            },
            pace: 49.0,
            rate: 50,
            ..Outcome::default()
        };
        assert!(good.holds());
        assert!(!Outcome { pace: 40.0, ..good }.holds());
        assert!(!Outcome { calls: 101, ..good }.holds());
    }

    #[test]
    fn the_pace_is_that_between_the_ends() {
        let table = "CurrentTime;TotalCallCreated;\n\
                     a\tb\t10.0;0;\n\
                     a\tb\t10.2;7;\n\
                     a\tb\t10.4;7;\n\
                     a\tb\t11.2;46;\n\
                     a\tb\t19.0;50;\n";
        assert_eq!(pace_of(table, 50).map(f64::round), Some(40.0));
        assert_eq!(pace_of("CurrentTime;TotalCallCreated\n", 50), None);
    }
}
