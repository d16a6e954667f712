use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ringpath_bench::trial::{self, TrialOptions};

/// Places calls with speech both ways; exit status 0 only when no call failed and no packet was lost
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the run, and of its folder under --target
    #[arg(long, default_value = "demo", value_parser = folder_name)]
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

/// The folder is emptied, so it must be one of its own.
fn folder_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "letters, digits, - and _ only".to_owned())
}

/// Runs, prints the table and writes the report; an error when the run was no success.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
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
    let logs = format!("logs are in {}", folder.display());
    let report = trial::run(&options).with_context(|| logs.clone())?;
    println!("{report}");
    let path = trial::write_report(&report, &folder)?;
    println!("report             {}", path.display());
    let problems = report.problems();
    if !problems.is_empty() {
        bail!("FAILED: {}\n{logs}", problems.join("; "));
    }
    Ok(())
}
