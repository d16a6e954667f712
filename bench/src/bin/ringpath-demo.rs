//! Places calls with SIPp and speech both ways through both planes, and says what came of them. `make demo`, `make load`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ringpath_bench::trial::{self, TrialOptions};

/// Calls with speech both ways through both planes. Exit status 0 only when no call failed and no packet was lost.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Name of the run, and of its folder under --target
    #[arg(long, default_value = "demo")]
    name: String,
    /// Calls
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    calls: u32,
    /// Calls started a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Seconds of speech each way
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=600))]
    talk_s: u64,
    /// Packet back-end of the data plane: auto, uring or socket
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Folder of results; a run empties its own folder in it
    #[arg(long, default_value = "target")]
    target: PathBuf,
    /// Of the streams' numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let folder = arguments.target.join(&arguments.name);
    let options = TrialOptions {
        name: arguments.name,
        calls: arguments.calls,
        rate: arguments.rate,
        talk: Duration::from_secs(arguments.talk_s),
        backend: arguments.backend,
        folder: folder.clone(),
        seed: arguments.seed,
    };
    let report = match trial::run(&options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error:#}\nlogs are in {}", folder.display());
            return ExitCode::FAILURE;
        }
    };
    println!("{report}");
    match trial::write_report(&report, &folder) {
        Ok(path) => println!("report             {}", path.display()),
        Err(error) => {
            eprintln!("the report cannot be written: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    let problems = report.problems();
    for problem in &problems {
        eprintln!("FAILED: {problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("logs are in {}", folder.display());
        ExitCode::FAILURE
    }
}
