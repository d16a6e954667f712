use std::path::PathBuf;
use std::time::Duration;

use ringpath_bench::setup;

/// Calls a second allocated and freed over gRPC by a media node on one core; writes setup.json
#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds of each of two nodes: one as it comes, and one without steering and kernel path
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    time_s: u64,
    /// Packet back-end of the data plane: auto, uring or socket
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let duration = Duration::from_secs(arguments.time_s);
    let report = setup::run(duration, &arguments.backend, &arguments.folder)?;
    print!("{report}");
    Ok(())
}
