//! The run: servers take turns at every rate until each one's ceiling is known; then what is asked at that ceiling.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use crate::sip_load::ceiling::Ceiling;
use crate::sip_load::contender::{Role, System, has_kamailio, kamailio_version};
use crate::sip_load::footprint::{self, Steps};
use crate::sip_load::outage;
use crate::sip_load::row::{Metric, Row};
use crate::sip_load::search::{Candidate, Rates, search};
use crate::sip_load::site::Site;
use crate::sip_load::strain;

/// Calls a second while memory is filled: far below every ceiling.
const FILL_PER_S: u32 = 1_000;
/// The same of registrations.
const REGISTER_PER_S: u32 = 4_000;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which rows.
    pub metrics: Vec<Metric>,
    /// Of what; Kamailio only where it is installed.
    pub systems: Vec<System>,
    /// Calls a second; half of the first with media.
    pub calls: Rates,
    /// Registrations a second.
    pub registrations: Rates,
    /// Of one run.
    pub duration: Duration,
    /// How often a ceiling must hold, and what is measured there is measured.
    pub runs: usize,
    /// How long servers keep finished transactions.
    pub linger: Duration,
    /// Users that register.
    pub users: u32,
    /// Ringing and held calls whose memory is measured.
    pub held: u32,
    /// Registrations whose memory is measured: so many that what an allocator gives back in between is little beside it.
    pub registered: u32,
    /// Folder of results.
    pub folder: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of measurement.
    pub rows: Vec<Row>,
    /// What limits, and what is missing.
    pub notes: Vec<String>,
}

/// Measures, and writes `sip.json` to the folder. The calling thread must outlive the run.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let mut site = Site::new(&options.folder.join("sip"), options.linger, options.users)?;
    let mut report = Report::default();
    let mut systems = options.systems.clone();
    if systems.contains(&System::Kamailio) {
        if has_kamailio() {
            report.notes.push(format!("Kamailio: {}.", kamailio_version()?));
        } else {
            systems.retain(|system| *system != System::Kamailio);
            report
                .notes
                .push("Kamailio is not installed (`make bench-bootstrap`): its rows are missing.".to_owned());
        }
    }
    let wants = |metrics: &[Metric]| metrics.iter().any(|metric| options.metrics.contains(metric));
    use Metric::{
        AddedSetupMsP50, AddedSetupMsP99, BytesPerCallInFlight, BytesPerHeldCall, BytesPerRegistration,
        CpsSignalling, CpsWithMedia, CpuUsPerCall, GoodputShareAt150Percent, RegisterDigestPerS,
        RegisterPlainPerS,
    };
    if wants(&[
        CpsSignalling,
        CpuUsPerCall,
        AddedSetupMsP50,
        AddedSetupMsP99,
        GoodputShareAt150Percent,
    ]) {
        calls(&mut site, options, &systems, &mut report)?;
    }
    if wants(&[CpsWithMedia]) && systems.contains(&System::Ringpath) {
        let rates = Rates {
            first: (options.calls.first / 2).max(1),
            ..options.calls
        };
        let mut found = searched(&mut site, options, &[System::Ringpath], Role::Media, rates, None)?;
        for candidate in &found {
            candidate.tell(CpsWithMedia, &mut report);
        }
        stop(&mut found)?;
    }
    for (metric, role) in [
        (RegisterPlainPerS, Role::Registrar),
        (RegisterDigestPerS, Role::Digest),
    ] {
        if wants(&[metric]) {
            registrations(&mut site, options, &systems, (metric, role), &mut report)?;
        }
    }
    let registered = Steps::after_the_peak(
        REGISTER_PER_S.min(options.registered),
        options.linger,
        options.registered,
    );
    let more = options.held;
    let kept = Steps::after_the_peak(FILL_PER_S.min(more), options.linger, more);
    let ringing = Steps {
        counts: [more / 5, more + more / 5],
        ..kept
    };
    for &system in &systems {
        for (metric, steps) in [
            (BytesPerRegistration, registered),
            (BytesPerCallInFlight, ringing),
            (BytesPerHeldCall, kept),
        ] {
            if !wants(&[metric]) {
                continue;
            }
            let measured = match metric {
                BytesPerRegistration => footprint::of_registration(&mut site, system, &steps),
                BytesPerCallInFlight => footprint::of_ringing_call(&mut site, system, &steps),
                _ => footprint::of_held_call(&mut site, system, &steps),
            };
            match measured {
                Ok(bytes) => {
                    println!(
                        "{:<9} {}: {bytes:.0} B from {} to {}",
                        system.name(),
                        metric.name(),
                        steps.counts[0],
                        steps.counts[1]
                    );
                    report.rows.extend(Row::of(system, metric, vec![bytes]));
                }
                Err(error) => {
                    report
                        .notes
                        .push(format!("{}, {}: no row: {error:#}", system.name(), metric.name()))
                }
            }
        }
    }
    report.rows.retain(|row| options.metrics.contains(&row.metric));
    let text = serde_json::to_string_pretty(&report.rows)? + "\n";
    fs::write(options.folder.join("sip.json"), text)?;
    Ok(report)
}

/// Servers whose ceiling has been looked for; they still run.
fn searched(
    site: &mut Site,
    options: &Options,
    systems: &[System],
    role: Role,
    rates: Rates,
    users: Option<&Path>,
) -> anyhow::Result<Vec<Candidate>> {
    // Servers that wait for their turn take nothing worth the name.
    let mut candidates = systems
        .iter()
        .map(|&system| {
            Ok(Candidate {
                role,
                server: site.start(system, role)?,
                ceiling: Ceiling::new(rates.first, rates.step, rates.max, options.runs),
                outcomes: Vec::new(),
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    search(&mut candidates, site, users, options.duration)?;
    Ok(candidates)
}

fn stop(candidates: &mut Vec<Candidate>) -> anyhow::Result<()> {
    candidates
        .drain(..)
        .try_for_each(|candidate| candidate.server.contender.stop())
}

/// Everything that is measured at, or by, the most calls a second.
fn calls(site: &mut Site, options: &Options, systems: &[System], report: &mut Report) -> anyhow::Result<()> {
    let mut found = searched(site, options, systems, Role::Calls, options.calls, None)?;
    for candidate in &found {
        candidate.tell(Metric::CpsSignalling, report);
        report.rows.extend(candidate.cpu_row());
    }
    for candidate in &found {
        let Some(ceiling) = candidate.ceiling.rate() else {
            continue;
        };
        if options.metrics.contains(&Metric::AddedSetupMsP50)
            || options.metrics.contains(&Metric::AddedSetupMsP99)
        {
            strain::half_load(site, &candidate.server, ceiling, options, report)?;
        }
        if options.metrics.contains(&Metric::GoodputShareAt150Percent) {
            strain::overload(site, &candidate.server, ceiling, options, report)?;
        }
    }
    stop(&mut found)
}

/// The most registrations a second; with digest also what a crash leaves.
fn registrations(
    site: &mut Site,
    options: &Options,
    systems: &[System],
    (metric, role): (Metric, Role),
    report: &mut Report,
) -> anyhow::Result<()> {
    let users = site.fields("users-of-sipp.csv", 0, options.users)?;
    let mut found = searched(site, options, systems, role, options.registrations, Some(&users))?;
    let mut lost = None;
    for candidate in &mut found {
        candidate.tell(metric, report);
        let Some(rate) = candidate.ceiling.rate() else {
            continue;
        };
        if (role, candidate.server.system) == (Role::Digest, System::Ringpath) {
            let outage = outage::run(site, &mut candidate.server, &users, options.users, rate)?;
            let said = format!(
                "ringpath, kill -9: {} of {} users registered at {:.0}/s with digest before it, {} were there when it was \
                 back, {} registered again at {:.0}/s.",
                outage.before.tally.successful,
                options.users,
                outage.before.pace,
                outage.kept,
                outage.after.tally.successful,
                outage.after.pace,
            );
            println!("{said}");
            report.notes.push(said.clone());
            if !outage.lost_nobody(options.users) {
                lost = Some(said);
            }
        }
    }
    stop(&mut found)?;
    ensure!(lost.is_none(), "users were lost: {}", lost.unwrap_or_default());
    Ok(())
}
