//! The search for ceilings, of several servers in turns.

use std::path::Path;
use std::time::Duration;

use ops::clock::MonotonicClock;

use crate::sip_load::attempt::{Offer, Outcome, Work};
use crate::sip_load::bench::Report;
use crate::sip_load::ceiling::Ceiling;
use crate::sip_load::contender::{Contender, Role};
use crate::sip_load::row::{Metric, Row};
use crate::sip_load::site::{Server, Site};
use crate::wait;

/// A server is at rest when its processes take less than this part of a core for so long.
const REST: (f64, Duration) = (0.03, Duration::from_millis(250));
/// A server that is not at rest by then goes on as it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often in a row SIPp may fail to begin anything before the run is given up.
const MISFIRES: u32 = 3;

/// Where a search looks, in calls or registrations a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Where it begins.
    pub first: u32,
    /// How exactly it looks.
    pub step: u32,
    /// Where it ends.
    pub max: u32,
}

/// One server with its search.
#[derive(Debug)]
pub struct Candidate {
    /// What it is there for.
    pub role: Role,
    /// It runs.
    pub server: Server,
    /// How far the search is.
    pub ceiling: Ceiling,
    /// All runs, in order.
    pub outcomes: Vec<Outcome>,
}

/// Waits until a server has done what a run left to it, such as records that go to its database: that would be the next
/// run's burden.
pub fn rest(contender: &Contender) -> anyhow::Result<()> {
    let (part, pause) = REST;
    let clock = MonotonicClock::start();
    let end = clock.now() + PATIENCE;
    loop {
        let before = contender.run_time()?;
        wait::pass(pause);
        let work = contender.run_time()?.saturating_sub(before);
        if work < pause.mul_f64(part) || clock.now() >= end {
            return Ok(());
        }
    }
}

/// In turns, so that what else the machine does meets all alike. `users` are those of servers that register.
pub fn search(
    candidates: &mut [Candidate],
    site: &Site,
    users: Option<&Path>,
    duration: Duration,
) -> anyhow::Result<()> {
    let mut misfires = 0;
    loop {
        let mut is_over = true;
        for candidate in candidates.iter_mut() {
            let Some(rate) = candidate.ceiling.next_rate() else {
                continue;
            };
            is_over = false;
            let work = match (users, candidate.role) {
                (Some(users), Role::Digest) => Work::RegisterDigest(users),
                (Some(users), _) => Work::Register(users),
                (None, _) => Work::Call,
            };
            let offer = Offer {
                loader: site.loader(),
                work,
                parties: site.parties,
                server: candidate.server.sip,
                rate,
                calls: u64::from(rate) * duration.as_millis() as u64 / 1_000,
                weigh: false,
            };
            let outcome = match offer.run(&candidate.server.contender) {
                Ok(outcome) => outcome,
                // Says nothing about the server.
                Err(error) if misfires < MISFIRES => {
                    println!("{error:#}");
                    misfires += 1;
                    rest(&candidate.server.contender)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            misfires = 0;
            println!(
                "{:<9} {:<9} {rate:>6}/s: {} of {}, {} retransmissions, {:.0} begun a second, {:.0} us each; busy: server {:.0} %, load {:.0} %",
                candidate.server.system.name(),
                candidate.role.name(),
                outcome.tally.successful,
                outcome.calls,
                outcome.tally.retransmissions,
                outcome.pace,
                outcome.cpu_us_per_call,
                outcome.busy[0] * 100.0,
                outcome.busy[1] * 100.0,
            );
            candidate.ceiling.take(outcome.holds());
            candidate.outcomes.push(outcome);
            rest(&candidate.server.contender)?;
        }
        if is_over {
            return Ok(());
        }
    }
}

impl Candidate {
    fn values(&self, of: fn(&Outcome) -> f64) -> Vec<f64> {
        self.outcomes
            .iter()
            .filter(|outcome| Some(outcome.rate) == self.ceiling.rate() && outcome.holds())
            .map(of)
            .collect()
    }

    /// Puts the row of the ceiling, and what limits it, into the report.
    pub fn tell(&self, metric: Metric, report: &mut Report) {
        let name = format!("{}, {}", self.server.system.name(), self.role.name());
        let Some(rate) = self.ceiling.rate() else {
            report
                .notes
                .push(format!("{name}: no rate held as often as it must; no row."));
            return;
        };
        let row = Row::of(self.server.system, metric, self.values(|outcome| outcome.pace));
        report.rows.extend(row.map(|row| Row {
            value: f64::from(rate),
            ..row
        }));
        report.notes.push(format!("{name}: {}", self.limit()));
    }

    /// Processor time a call at the ceiling.
    pub fn cpu_row(&self) -> Option<Row> {
        let cpu = self.values(|outcome| outcome.cpu_us_per_call);
        Row::of(self.server.system, Metric::CpuUsPerCall, cpu)
    }

    /// What keeps the ceiling from being higher.
    fn limit(&self) -> String {
        let Some(failed) = self
            .outcomes
            .iter()
            .rev()
            .find(|outcome| !outcome.holds())
            .filter(|_| self.ceiling.is_limited())
        else {
            return "nothing above was tried.".to_owned();
        };
        let [server, load] = failed.busy.map(|share| share * 100.0);
        let what = if !failed.kept_pace() || load > server {
            "the load"
        } else {
            "the server"
        };
        format!(
            "at {}/s {} of {} failed with the server's processes {server:.0} % and the load's {load:.0} % of a core busy: {what} limits.",
            failed.rate, failed.tally.failed, failed.calls
        )
    }
}
