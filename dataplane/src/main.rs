//! The media node `ringpath-dataplane`: arguments, configuration, and the wiring of workers, gRPC and operators' HTTP.
#![forbid(unsafe_code)]

mod app;
mod arguments;
mod bell;
mod config;
mod doctor;
mod file_limit;
mod grpc;
mod journal;
mod kernel;
mod metrics;
mod node;
mod setting_up;
mod start;
mod steering;
mod takeover;
mod tap;
mod worker;

use std::process::ExitCode;

use arguments::{Arguments, Command, Run};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use config::Config;

/// Exit status for a configuration that cannot be used, and, from clap, for wrong arguments.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (&arguments.command, &arguments.run) {
        (Some(Command::Doctor(doctor)), _) => ended(doctor::run(doctor)),
        (Some(Command::Tap(tap)), _) => ended(tap::run(tap)),
        (None, Some(run)) => node(run),
        (None, None) => Arguments::command()
            .error(
                ErrorKind::MissingRequiredArgument,
                "--config <FILE> is needed to run the node",
            )
            .exit(),
    }
}

/// The status of a subcommand.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("ringpath-dataplane: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs the node, or checks its configuration.
fn node(arguments: &Run) -> ExitCode {
    let config = match read_config(arguments) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check_config {
        return ExitCode::SUCCESS;
    }
    match app::run(config, arguments.takeover) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whole, with every cause; logging may not have started.
            eprintln!("ringpath-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration, with what the arguments override, checked as far as it can be without starting anything.
fn read_config(arguments: &Run) -> Result<Config, String> {
    let mut config: Config = ops::config::load(&arguments.config, config::ENVIRONMENT_PREFIX)
        .map_err(|error| error.to_string())?;
    setting_up::load(config.dtls.files().as_ref(), None)
        .map_err(|error| format!("{}: {error:#}", arguments.config.display()))?;
    grpc::check_tls(&config.grpc).map_err(|error| format!("{}: {error:#}", arguments.config.display()))?;
    if let Some(backend) = arguments.backend {
        config.workers.backend = backend;
    }
    Ok(config)
}
