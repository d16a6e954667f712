//! `ringpathctl`: operators' commands for a control plane, over its admin API.
#![forbid(unsafe_code)]

mod arguments;
mod calls;
mod commands;
mod connection;
mod error;
mod json;
mod roster;
mod table;
mod top;

use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(arguments)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringpathctl: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
