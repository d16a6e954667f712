//! SIPp as the load: on one core, without logs.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::binary;
use crate::process::Process;
use crate::sip_load::contender::is_bound;
use crate::sipp::{Tally, tally_of, value_of};
use crate::wait;

/// SIPp needs it above 2,000 calls a second; the kernel caps it.
const BUFFER_BYTES: &str = "8388608";
/// SIPp's own limit of calls at once, below that of its open files.
const CALLS_AT_ONCE: &str = "15000";
/// How often SIPp writes a line of statistics.
const STATISTICS_EVERY: &str = "200ms";

/// Where SIPp runs.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// Its core.
    pub core: usize,
    /// What it writes goes there.
    pub folder: &'a Path,
}

/// A running SIPp.
#[derive(Debug)]
pub struct Party {
    /// The child process.
    pub process: Process,
    statistics: PathBuf,
}

impl Loader<'_> {
    /// A callee that listens at `local`, with a pause of `hold` where the scenario has one.
    pub fn callee(&self, scenario: &str, local: SocketAddr, hold: Duration) -> anyhow::Result<Party> {
        let mut party = self.start("uas", scenario, local, &["-d", &hold.as_millis().to_string()])?;
        wait::until_true("SIPp to listen", Duration::from_secs(10), || {
            let process = &mut party.process;
            ensure!(process.is_running()?, "SIPp ended at once\n{}", process.tail());
            is_bound(local)
        })?;
        Ok(party)
    }

    /// A caller that begins `rate` calls a second until there were `calls`. `more` are further arguments.
    pub fn caller(
        &self,
        scenario: &str,
        [local, server]: [SocketAddr; 2],
        rate: u32,
        calls: u64,
        more: &[&str],
    ) -> anyhow::Result<Party> {
        let (server, rate, calls) = (server.to_string(), rate.to_string(), calls.to_string());
        let mut words = vec![server.as_str(), "-r", &rate, "-m", &calls];
        words.extend(more);
        self.start("uac", scenario, local, &words)
    }

    fn start(&self, side: &str, scenario: &str, local: SocketAddr, more: &[&str]) -> anyhow::Result<Party> {
        let name = format!("{side}-{}", local.port());
        let statistics = self.folder.join(format!("{name}.csv"));
        let _ = fs::remove_file(&statistics);
        let file = binary::scenarios().join(scenario).join(format!("{side}.xml"));
        let (core, ip, port) = (
            self.core.to_string(),
            local.ip().to_string(),
            local.port().to_string(),
        );
        let mut words: Vec<OsString> = ["--cpu-list", &core, "sipp", "-sf"].map(OsString::from).into();
        words.push(file.into());
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
        words.extend(fixed.map(OsString::from));
        words.extend(["-trace_stat", "-fd", STATISTICS_EVERY, "-stf"].map(OsString::from));
        words.push(statistics.clone().into());
        words.extend(more.iter().map(OsString::from));
        Ok(Party {
            process: Process::start(&name, "taskset", words, &[], self.folder)?,
            statistics,
        })
    }
}

impl Party {
    /// What it wrote so far: a line of names, then one for each moment.
    pub fn statistics(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.statistics)
            .with_context(|| format!("SIPp gave no statistics\n{}", self.process.tail()))
    }

    /// Its account, as of a moment ago.
    pub fn tally(&self) -> anyhow::Result<Tally> {
        tally_of(&self.statistics()?)
    }

    /// Waits until it has `calls` calls at once, none of which has failed.
    pub fn wait_for_calls(&self, calls: u64, within: Duration) -> anyhow::Result<()> {
        wait::until_true(&format!("{calls} calls at once"), within, || {
            // The file is there once SIPp has written its first line, and a line may be half written.
            let Ok(table) = self.statistics() else {
                return Ok(false);
            };
            let (Ok(now), Ok(failed)) = (value_of(&table, "CurrentCall"), value_of(&table, "FailedCall(C)"))
            else {
                return Ok(false);
            };
            ensure!(failed == 0, "{failed} calls failed\n{}", self.process.tail());
            Ok(now == calls)
        })
    }
}
