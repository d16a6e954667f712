//! The kit's runs, behind `make demo`, `make load`, `make run` and `make bench-memory`. One program, since each one takes
//! as long to link as a plane.

mod demo;
mod memory;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tries Ringpath out.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Memory(memory::Arguments),
    Run(run::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Memory(arguments) => memory::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
