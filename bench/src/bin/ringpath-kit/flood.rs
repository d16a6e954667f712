use std::path::PathBuf;
use std::time::Duration;

use ringpath_bench::sip_flood::stream::Kind;
use ringpath_bench::sip_flood::{self, Options};

/// Requests within established calls, while strangers flood the control plane on one core; writes flood.json
#[derive(clap::Args)]
pub struct Arguments {
    /// What strangers ask without credentials, with commas between
    #[arg(
        long,
        value_delimiter = ',',
        value_enum,
        default_value = "register,invite,options"
    )]
    kinds: Vec<Kind>,
    /// From how many addresses, with commas between
    #[arg(long, value_delimiter = ',', default_value = "1,64", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    sources: Vec<u32>,
    /// Requests a second, of all of them
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Seconds of one run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    time_s: u64,
    /// How often each is run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    rounds: u8,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Measures and prints.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = Options {
        kinds: arguments.kinds,
        sources: arguments.sources,
        rate: arguments.rate,
        duration: Duration::from_secs(arguments.time_s),
        rounds: arguments.rounds,
    };
    let rows = sip_flood::run(&options, &arguments.folder)?;
    println!("\n| flood | sent a second | p50 ms | p99 ms | p99 past the server | unanswered | server |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for row in &rows {
        println!("{row}");
    }
    Ok(())
}
