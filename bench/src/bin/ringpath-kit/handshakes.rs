use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use ringpath_bench::handshakes;

/// DTLS handshakes completed while established calls go on, by a media node on one core; writes handshakes.json
#[derive(clap::Args)]
pub struct Arguments {
    /// Handshakes a second, one after the other
    #[arg(long, value_delimiter = ',', default_value = "100,500,800", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rates: Vec<u32>,
    /// Calls that go on meanwhile
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    established: u32,
    /// Seconds of each
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    time_s: u64,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Measures, prints, and fails when a handshake does or an established call loses a packet.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let duration = Duration::from_secs(arguments.time_s);
    let report = handshakes::run(
        &arguments.rates,
        arguments.established,
        duration,
        &arguments.folder,
    )?;
    println!("without handshakes: {}", report.alone);
    for note in &report.notes {
        println!("{note}");
    }
    println!("results in {}", arguments.folder.display());
    let failures = report.failures();
    if !failures.is_empty() {
        bail!("FAILED: {}", failures.join("; "));
    }
    Ok(())
}
