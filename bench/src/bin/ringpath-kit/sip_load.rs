use std::path::PathBuf;
use std::time::Duration;

use ringpath_bench::sip_load::bench::{self, Options};

/// Calls a second of the control plane and of Kamailio on one core, with SIPp on another; writes sip.json
#[derive(clap::Args)]
pub struct Arguments {
    /// The first rate, in calls a second
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    first: u32,
    /// Steps of the search, in calls a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    step: u32,
    /// The highest rate that is tried
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate_max: u32,
    /// Seconds of one run
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    time_s: u64,
    /// Leaves out the search with a media node
    #[arg(long)]
    without_media: bool,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Measures and prints.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let report = bench::run(&Options {
        first: arguments.first,
        step: arguments.step,
        rate_max: arguments.rate_max,
        duration: Duration::from_secs(arguments.time_s),
        with_media: !arguments.without_media,
        folder: arguments.folder,
    })?;
    println!("\n| system | metric | value | runs | spread |\n|---|---|---:|---:|---:|");
    for row in &report.rows {
        println!("{row}");
    }
    println!();
    for note in &report.notes {
        println!("- {note}");
    }
    Ok(())
}
