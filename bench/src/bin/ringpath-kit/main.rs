//! The kit's runs, behind `make demo`, `make load`, `make run` and `make bench-*`. One program, since each one takes
//! as long to link as a plane.

mod bare_epoll;
mod bare_xdp;
mod demo;
mod flood;
mod handshakes;
mod live_load;
mod memory;
mod relay;
mod run;
mod setup;
mod sip_load;
mod soak;

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
    BareEpoll(bare_epoll::Arguments),
    BareXdp(bare_xdp::Arguments),
    Demo(demo::Arguments),
    Flood(flood::Arguments),
    Handshakes(handshakes::Arguments),
    LiveLoad(live_load::Arguments),
    Memory(memory::Arguments),
    Relay(relay::Arguments),
    Run(run::Arguments),
    Setup(setup::Arguments),
    SipLoad(sip_load::Arguments),
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Each endpoint is two sockets, and the usual soft limit is 1,024.
    if let Err(error) = ops::process::raise_file_limit() {
        eprintln!("ringpath-kit: the limit of open files stays as it is: {error}");
    }
    let result = match arguments.command {
        Command::BareEpoll(arguments) => bare_epoll::run(&arguments),
        Command::BareXdp(arguments) => bare_xdp::run(&arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Flood(arguments) => flood::run(arguments),
        Command::Handshakes(arguments) => handshakes::run(&arguments),
        Command::LiveLoad(arguments) => live_load::run(&arguments),
        Command::Memory(arguments) => memory::run(&arguments),
        Command::Relay(arguments) => relay::run(arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments),
        Command::SipLoad(arguments) => sip_load::run(arguments),
        Command::Soak(arguments) => soak::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
