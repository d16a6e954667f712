//! The control plane `ringpath-control`: arguments, configuration, and the wiring of SIP, calls, media nodes, call
//! records and operators' HTTP.
#![forbid(unsafe_code)]

mod app;
mod arguments;
mod challenge;
mod config;
mod direct;
mod draining;
mod media;
mod metrics;
mod operators;
mod overview;
mod plan;
mod record;
mod registration;
mod reload;
mod routing;
mod shell;
mod standing;
mod trunks;
mod users;

use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser as _;
use config::Config;
use mimalloc::MiMalloc;

/// A call takes some fifty blocks of many sizes, and those of finished calls stay for half a minute: glibc's allocator spends its time on
/// joining cold neighbours (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit status for a configuration that cannot be used, and, from clap, for wrong arguments.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config: Config = match ops::config::load(&arguments.config, config::ENVIRONMENT_PREFIX) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check_config {
        return ExitCode::SUCCESS;
    }
    if let Some(file) = &arguments.import_users {
        return match users::import(&config, file) {
            Ok(users) => {
                println!("{users} users imported");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("ringpath-control: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match app::run(config, arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whole, with every cause; logging may not have started.
            eprintln!("ringpath-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}
