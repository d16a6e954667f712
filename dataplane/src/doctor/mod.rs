//! `ringpath-dataplane doctor`: what of this machine costs media packets or keeps a path from working, and how to change
//! it. It reads; `--apply` changes what may be changed while traffic runs, and `--undo` takes that back.
//! docs/operations/tuning.md tells its users about it.

mod apply;
mod calls;
mod checks;
mod finding;
mod setting;
mod undo;
mod view;
mod wanted;

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use crate::config::{Config, ENVIRONMENT_PREFIX, STATE_DIRECTORY};
use crate::worker;
use apply::Step;
use calls::ThisMachine;
use finding::{Finding, Status};
use view::{MediaRange, View};

/// The record of what was applied, in the state directory. Best gone with a restart of the machine, as the changes are.
const UNDO_FILE: &str = "doctor-undo.json";

/// Looks at this machine as a media node needs it, and only reads. Exit status: 0, or 1 when there are problems.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The node's configuration: the interfaces that hold its media addresses, its ports and its workers are looked at.
    /// Without it, all interfaces.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A list of objects in place of text.
    #[arg(long)]
    json: bool,

    /// Only these checks.
    #[arg(long, value_name = "CHECK", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(checks::ALL.iter().map(|(name, _)| *name)))]
    only: Vec<String>,

    /// Change what may be changed while traffic runs: sysctls, interrupts, queues, hash fields, offloads. Until the next
    /// start of the machine. More queues interrupt an interface's traffic for a moment.
    #[arg(long, conflicts_with = "undo")]
    apply: bool,

    /// Restore what was there before `--apply`.
    #[arg(long, conflicts_with = "only")]
    undo: bool,

    /// With `--undo`: restore also what somebody changed since.
    #[arg(long, requires = "undo")]
    force: bool,

    /// Where `--apply` notes what was there before, and `--undo` finds it: without this doctor-undo.json in the
    /// configuration's state_directory, or in /run/ringpath.
    #[arg(long, value_name = "FILE")]
    undo_file: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// When it cannot ask the kernel at all, or the undo record is of no use.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let machine = ThisMachine::open().context("no socket to ask about interfaces")?;
    let mut view = View::new(Path::new("/"), &machine);
    view.addresses = addresses().context("the kernel does not tell the interfaces' addresses")?;
    let mut state_directory = None;
    if let Some(path) = &arguments.config {
        match ops::config::load::<Config>(path, ENVIRONMENT_PREFIX) {
            Ok(config) => {
                configure(&mut view, &config)?;
                state_directory = config.state_directory.filter(|path| !path.as_os_str().is_empty());
            }
            Err(problems) => {
                eprintln!("{problems}");
                return Ok(ExitCode::from(crate::EXIT_CONFIG));
            }
        }
    }
    let undo_file = arguments.undo_file.clone().unwrap_or_else(|| {
        let directory = state_directory.unwrap_or_else(|| STATE_DIRECTORY.into());
        directory.join(UNDO_FILE)
    });
    let steps = match (arguments.apply, arguments.undo) {
        (true, _) => apply::apply(&view, &arguments.only, &undo_file)?,
        (_, true) => apply::undo(&view, &undo_file, arguments.force)?,
        _ => return report(&checks::run(&view, &arguments.only), arguments.json),
    };
    print_steps(&steps, arguments.json)?;
    let refused = steps.iter().any(|step| !step.refused.is_empty());
    Ok(ExitCode::from(u8::from(refused)))
}

/// What the configuration says of ports and workers.
fn configure(view: &mut View<'_>, config: &Config) -> anyhow::Result<()> {
    for interface in &config.interfaces {
        let (first, last) = interface.ports.ports().into_inner();
        let of_address = |address: &crate::config::Address| MediaRange {
            address: address.local,
            first,
            last,
        };
        view.media.extend(interface.addresses.iter().map(of_address));
    }
    let allowed =
        worker::allowed_cores().context("the kernel does not say which cores this process may use")?;
    let count = config.workers.number(&allowed);
    view.workers = worker::assign(count, &config.workers.cores, &allowed);
    view.workers.sort_unstable();
    view.workers.dedup();
    Ok(())
}

/// The interfaces of this network namespace with their addresses.
fn addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let held = nix::ifaddrs::getifaddrs()?.filter_map(|entry| {
        let address = entry.address?;
        let ip = if let Some(v4) = address.as_sockaddr_in() {
            IpAddr::V4(v4.ip())
        } else {
            IpAddr::V6(address.as_sockaddr_in6()?.ip())
        };
        Some((entry.interface_name, ip))
    });
    Ok(held.collect())
}

fn report(findings: &[Finding], json: bool) -> anyhow::Result<ExitCode> {
    let count = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let problems = count(Status::Problem);
    if json {
        print_json(&findings)?;
    } else {
        let mut out = io::stdout().lock();
        for finding in findings {
            writeln!(out, "{finding}")?;
        }
        writeln!(
            out,
            "{} ok, {} advice, {problems} problems, {} unknown",
            count(Status::Ok),
            count(Status::Advice),
            count(Status::Unknown)
        )?;
    }
    Ok(ExitCode::from(u8::from(problems > 0)))
}

fn print_steps(steps: &[Step], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&steps);
    }
    let mut out = io::stdout().lock();
    for step in steps {
        writeln!(out, "{step}")?;
    }
    if steps.is_empty() {
        writeln!(out, "nothing to change")?;
    }
    Ok(())
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests;
