//! One run of SIPp against a server: so many calls a second for so long.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::binary;
use crate::process::Process;
use crate::sip_load::contender::{Contender, is_bound};
use crate::sipp::{Tally, tally_of};
use crate::wait;

/// Calls that are not over by then, after the last was begun, have failed. A retransmission comes after half a second.
const PATIENCE: Duration = Duration::from_secs(4);
/// SIPp needs it above 2,000 calls a second; the kernel caps it.
const BUFFER_BYTES: &str = "8388608";
/// SIPp's own limit of calls at once, below that of its open files.
const CALLS_AT_ONCE: &str = "15000";
/// What SIPp must begin of the rate that it was asked for.
const PACE: f64 = 0.97;

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
    /// How busy the server's core was, and the load's, of one.
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
    /// Runs it. `server_core` is for the account of time.
    pub fn run(&self, contender: &Contender, server_core: usize) -> anyhow::Result<Outcome> {
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
        let before = (contender.run_time()?, Cores::read(server_core, self.core)?);
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
                "1",
            ],
        )?;
        // A run that is not over by then is killed, and the calls that it still had have failed.
        let _ = uac.wait(self.duration + PATIENCE);
        let work = contender.run_time()?.saturating_sub(before.0);
        let busy = Cores::read(server_core, self.core)?.busy_since(&before.1);
        uas.kill()?;
        let table = fs::read_to_string(&statistics)
            .with_context(|| format!("SIPp gave no statistics\n{}", uac.tail()))?;
        let mut tally = tally_of(&table)?;
        tally.failed = tally.failed.max(calls.saturating_sub(tally.successful));
        Ok(Outcome {
            calls,
            tally,
            pace: pace_of(&table).unwrap_or(0.0),
            rate: self.rate,
            cpu_us_per_call: work.as_micros() as f64 / tally.successful.max(1) as f64,
            busy,
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

/// The rate at which SIPp began calls: the median of its seconds but the first and the last, which are not whole; of
/// the whole run when it had no others.
fn pace_of(table: &str) -> Option<f64> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next()?.split(';').collect();
    let place = names.iter().position(|name| *name == "CallRate(P)")?;
    let mut rates: Vec<f64> = lines
        .filter_map(|line| line.split(';').nth(place)?.parse().ok())
        .filter(|rate| *rate > 0.0)
        .collect();
    if rates.len() > 2 {
        rates = rates[1..rates.len() - 1].to_vec();
    }
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len().checked_sub(1)? / 2).copied()
}

/// Ticks of two cores: all, and those with nothing to do.
struct Cores([[u64; 2]; 2]);

impl Cores {
    fn read(server: usize, load: usize) -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let ticks = |core: usize| -> anyhow::Result<[u64; 2]> {
            let name = format!("cpu{core} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            let fields: Vec<u64> = line
                .with_context(|| format!("/proc/stat has no core {core}"))?
                .split_whitespace()
                .map_while(|field| field.parse().ok())
                .collect();
            // user nice system idle iowait irq softirq steal; the guests' after them are in user already.
            let idle = fields.iter().skip(3).take(2).sum();
            Ok([fields.iter().take(8).sum(), idle])
        };
        Ok(Self([ticks(server)?, ticks(load)?]))
    }

    fn busy_since(&self, before: &Self) -> [f64; 2] {
        [0, 1].map(|core| {
            let [all, idle] = [0, 1].map(|field| self.0[core][field].saturating_sub(before.0[core][field]));
            1.0 - idle as f64 / all.max(1) as f64
        })
    }
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
    fn the_pace_is_that_of_whole_seconds() {
        let table = "CallRate(P);x\n3;1\n100;1\n101;1\n99;1\n2;1\n";
        assert_eq!(pace_of(table), Some(100.0));
        assert_eq!(pace_of("CallRate(P)\n"), None);
    }

    #[test]
    fn cores_have_ticks() {
        let first = crate::relay::privilege::allowed_cores().unwrap()[0];
        let now = Cores::read(first, first).unwrap();
        assert!(now.0[0][0] > now.0[0][1]);
        assert_eq!(now.busy_since(&now), [1.0, 1.0]);
    }
}
