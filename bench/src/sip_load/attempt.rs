//! One run of SIPp against a server: so many calls, or registrations, a second for so long.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use ops::clock::MonotonicClock;

use crate::sip_load::contender::Contender;
use crate::sip_load::loader::Loader;
use crate::sipp::{Tally, tally_of, value_of};
use crate::{usage, wait};

/// Calls that are not over by then, after the last was begun, have failed. A retransmission comes after half a second.
const PATIENCE: Duration = Duration::from_secs(4);
/// What SIPp must begin of the rate that it was asked for.
const PACE: f64 = 0.97;
/// The parts of a run at which memory is looked at; the latter ends the account of [`Outcome::busy`], too.
const MOMENTS: [f64; 2] = [0.6, 0.9];

/// What SIPp does again and again.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// A call that ends at once.
    Call,
    /// A registration of the next user of the file, without a challenge.
    Register(&'a Path),
    /// The same with digest: two REGISTERs.
    RegisterDigest(&'a Path),
}

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Where both SIPp run.
    pub loader: Loader<'a>,
    /// What they do.
    pub work: Work<'a>,
    /// Caller's and callee's addresses.
    pub parties: [SocketAddr; 2],
    /// The server's.
    pub server: SocketAddr,
    /// Calls, or registrations, a second.
    pub rate: u32,
    /// How many.
    pub calls: u64,
    /// Whether to look at the server's memory meanwhile.
    pub weigh: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Calls, or registrations, that were asked for.
    pub calls: u64,
    /// SIPp's account.
    pub tally: Tally,
    /// Calls begun a second.
    pub pace: f64,
    /// Calls a second that had succeeded when the time in which they were to be begun was over.
    pub goodput: f64,
    /// Offered.
    pub rate: u32,
    /// Processor time of the server by call.
    pub cpu_us_per_call: f64,
    /// Processor time of the server's processes, and of both SIPp, by time that passed, while calls were begun.
    pub busy: [f64; 2],
    /// Memory of the server's processes in bytes when six tenths, and nine tenths, of the time were over; zero if not asked for.
    pub memory: [u64; 2],
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
    /// How long SIPp begins calls.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.calls as f64 / f64::from(self.rate.max(1)))
    }

    /// Runs it.
    pub fn run(&self, contender: &Contender) -> anyhow::Result<Outcome> {
        let [caller, callee] = self.parties;
        let (scenario, users) = match self.work {
            Work::Call => ("load/call", None),
            Work::Register(users) => ("load/register", Some(users)),
            Work::RegisterDigest(users) => ("load/register-digest", Some(users)),
        };
        let mut uas = match self.work {
            Work::Call => Some(self.loader.callee(scenario, callee, Duration::ZERO)?),
            Work::Register(_) | Work::RegisterDigest(_) => None,
        };
        let answering = || {
            uas.as_ref()
                .map_or(Ok(Duration::ZERO), |uas| usage::run_time(uas.process.id()))
        };
        let clock = MonotonicClock::start();
        let begun = clock.now();
        let before = [contender.run_time()?, answering()?];
        let users = users.map(|users| users.display().to_string());
        let fields = users.as_ref().map(|users| ["-inf", users.as_str()]);
        let mut more = vec!["-d", "0"];
        more.extend(fields.iter().flatten());
        let mut uac = self
            .loader
            .caller(scenario, [caller, self.server], self.rate, self.calls, &more)?;
        // While SIPp still begins calls: what follows is waiting, and would make the cores look idle.
        let duration = self.duration();
        let mut memory = [0; 2];
        for (moment, memory) in MOMENTS.into_iter().zip(&mut memory) {
            wait::pass((begun + duration.mul_f64(moment)).saturating_since(clock.now()));
            if self.weigh {
                *memory = contender.memory_bytes()?;
            }
        }
        let server = contender.run_time()?.saturating_sub(before[0]);
        let mut load = answering()?.saturating_sub(before[1]);
        if uac.process.is_running()? {
            load += usage::run_time(uac.process.id())?;
        }
        let passed = clock.now().saturating_since(begun).as_secs_f64();
        // A run that is not over by then is killed, and the calls that it still had have failed.
        let end = begun + duration + PATIENCE;
        let _ = uac.process.wait(end.saturating_since(clock.now()));
        contender.settle()?;
        let work = contender.run_time()?.saturating_sub(before[0]);
        if let Some(uas) = &mut uas {
            uas.process.kill()?;
        }
        let table = uac.statistics()?;
        ensure!(
            value_of(&table, "TotalCallCreated")? > 0,
            "SIPp began nothing\n{}",
            uac.process.tail()
        );
        let mut tally = tally_of(&table)?;
        tally.failed = tally.failed.max(self.calls.saturating_sub(tally.successful));
        Ok(Outcome {
            calls: self.calls,
            tally,
            pace: pace_of(&table, self.calls).unwrap_or(0.0),
            goodput: goodput_of(&table, duration).unwrap_or(0.0),
            rate: self.rate,
            cpu_us_per_call: work.as_micros() as f64 / tally.successful.max(1) as f64,
            busy: [server, load].map(|work| work.as_secs_f64() / passed),
            memory,
        })
    }
}

/// A line of SIPp's statistics.
struct Line {
    /// Since 1970.
    seconds: f64,
    begun: u64,
    successful: u64,
}

fn lines_of(table: &str) -> Option<impl Iterator<Item = Line>> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next()?.split(';').collect();
    let place = |wanted: &str| names.iter().position(|name| *name == wanted);
    let (time, begun) = (place("CurrentTime")?, place("TotalCallCreated")?);
    let successful = place("SuccessfulCall(C)")?;
    Some(lines.filter_map(move |line| {
        let fields: Vec<&str> = line.split(';').collect();
        Some(Line {
            // Date, time of day and seconds since 1970.
            seconds: fields.get(time)?.split('\t').next_back()?.parse().ok()?,
            begun: fields.get(begun)?.parse().ok()?,
            successful: fields.get(successful)?.parse().ok()?,
        })
    }))
}

/// The rate at which SIPp began calls: from the first line of its statistics with a call to the last at which it had not
/// begun all. What one begins too late it begins soon after, so a short delay in between makes no difference. One call
/// more is allowed for the ends.
fn pace_of(table: &str, calls: u64) -> Option<f64> {
    let under_way: Vec<Line> = lines_of(table)?
        .filter(|line| (1..calls).contains(&line.begun))
        .collect();
    let (first, last) = (under_way.first()?, under_way.last()?);
    let passed = last.seconds - first.seconds;
    (passed > 0.0).then(|| (last.begun - first.begun + 1) as f64 / passed)
}

/// Calls a second that had succeeded within `duration` of the first line: what succeeds later would not have, had the load
/// gone on.
fn goodput_of(table: &str, duration: Duration) -> Option<f64> {
    let mut lines = lines_of(table)?;
    let begun = lines.next()?.seconds;
    let last = lines
        .take_while(|line| line.seconds - begun <= duration.as_secs_f64())
        .last()?;
    (last.seconds > begun).then(|| last.successful as f64 / (last.seconds - begun))
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

    const TABLE: &str = "CurrentTime;TotalCallCreated;SuccessfulCall(C);\n\
                         a\tb\t10.0;0;0;\n\
                         a\tb\t10.2;7;5;\n\
                         a\tb\t10.4;7;6;\n\
                         a\tb\t11.2;46;30;\n\
                         a\tb\t19.0;50;50;\n";

    #[test]
    fn the_pace_is_that_between_the_ends() {
        assert_eq!(pace_of(TABLE, 50).map(f64::round), Some(40.0));
        assert_eq!(pace_of(TABLE.lines().next().unwrap(), 50), None);
    }

    #[test]
    fn what_succeeds_after_the_time_is_no_goodput() {
        assert_eq!(
            goodput_of(TABLE, Duration::from_millis(1_250)).map(f64::round),
            Some(25.0)
        );
        assert_eq!(goodput_of(TABLE, Duration::ZERO), None);
    }
}
