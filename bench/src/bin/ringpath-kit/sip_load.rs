use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;
use ringpath_bench::sip_load::bench::{self, Options};
use ringpath_bench::sip_load::contender::System;
use ringpath_bench::sip_load::row::Metric;
use ringpath_bench::sip_load::search::Rates;

/// What SIP costs the control plane and Kamailio on one core, with SIPp on another; writes sip.json
#[derive(clap::Args)]
pub struct Arguments {
    /// What to measure, with commas between; everything by default
    #[arg(long, value_delimiter = ',', value_enum)]
    metrics: Vec<Metric>,
    /// Of what, with commas between; both by default
    #[arg(long, value_delimiter = ',', value_enum)]
    systems: Vec<System>,
    /// The first rate, in calls a second; with media half of it
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    first: u32,
    /// Steps of the search, in calls a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    step: u32,
    /// The highest rate that is tried
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate_max: u32,
    /// The first rate of registrations a second
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    register_first: u32,
    /// Steps of their search
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    register_step: u32,
    /// The highest rate of theirs that is tried
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    register_max: u32,
    /// Seconds of one run
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    time_s: u64,
    /// How often a ceiling must hold
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    runs: u8,
    /// Seconds for which servers keep finished transactions; Kamailio's default
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=32))]
    linger_s: u64,
    /// Users that register
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Registrations whose memory is measured
    #[arg(long, default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(10..=150_000))]
    registered: u32,
    /// Ringing and held calls whose memory is measured
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(10..=9_000))]
    held: u32,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Measures and prints.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let metrics = if arguments.metrics.is_empty() {
        Metric::value_variants().to_vec()
    } else {
        arguments.metrics
    };
    let systems = if arguments.systems.is_empty() {
        System::value_variants().to_vec()
    } else {
        arguments.systems
    };
    let report = bench::run(&Options {
        metrics,
        systems,
        calls: Rates {
            first: arguments.first,
            step: arguments.step,
            max: arguments.rate_max,
        },
        registrations: Rates {
            first: arguments.register_first,
            step: arguments.register_step,
            max: arguments.register_max,
        },
        duration: Duration::from_secs(arguments.time_s),
        runs: arguments.runs.into(),
        linger: Duration::from_secs(arguments.linger_s),
        users: arguments.users,
        held: arguments.held,
        registered: arguments.registered,
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
