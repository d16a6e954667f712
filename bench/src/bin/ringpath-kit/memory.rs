use std::path::PathBuf;

use ringpath_bench::memory;

/// Memory that a call takes in each plane; writes memory.json
#[derive(clap::Args)]
pub struct Arguments {
    /// Calls of the first row of a path; a second has 10,000, or as many as the limit of open files leaves without steering
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=4_000))]
    calls: u32,
    /// Packet back-end beside the control plane's rows: auto, uring or socket
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Folder of results; the folders that a run makes in it are emptied first
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let report = memory::run(arguments.calls, &arguments.backend, &arguments.folder)?;
    println!("{report}");
    Ok(())
}
