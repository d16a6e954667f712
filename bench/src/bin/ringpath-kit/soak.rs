use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use ringpath_bench::soak;

/// Churn against a real media node: fails when a packet is lost, and when memory, ports, files or entries of BPF maps are not back where they were
#[derive(clap::Args)]
pub struct Arguments {
    /// Minutes of churn, after a warm-up of less than a minute
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Churns, writes soak.json, and prints what was found.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let report = soak::run(Duration::from_secs(arguments.minutes * 60), &arguments.folder)?;
    println!("{report}");
    if !report.failures.is_empty() {
        bail!("FAILED: {}", report.failures.join("; "));
    }
    Ok(())
}
