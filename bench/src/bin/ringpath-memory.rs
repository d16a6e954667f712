//! Memory that a call takes in each plane. `make bench-memory`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ringpath_bench::memory;

/// Memory that a call takes in each plane; writes memory.json.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Calls of the first row; a second has as many as the limit of open files leaves, at most 4,000
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=4_000))]
    calls: u32,
    /// Packet back-end of the data plane: auto, uring or socket
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Folder of results, emptied first
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match memory::run(arguments.calls, &arguments.backend, &arguments.folder) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
