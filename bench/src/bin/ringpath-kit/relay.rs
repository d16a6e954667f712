use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ringpath_bench::relay::comparison::{self, Options};
use ringpath_bench::relay::contender::System;
use ringpath_bench::relay::load;
use ringpath_bench::relay::markdown::markdown;

/// Compares relays under the same load, in two network namespaces that vanish with this process; needs root
#[derive(clap::Args)]
pub struct Arguments {
    /// Numbers of calls, 50 packets a second both ways each
    #[arg(long, value_delimiter = ',', default_value = "100,500,1000,2000", value_parser = clap::value_parser!(u32).range(1..=11_000))]
    calls: Vec<u32>,
    /// Further numbers of calls, for systems whose packets do not leave the kernel
    #[arg(long, value_delimiter = ',', default_value = "5000,10000", value_parser = clap::value_parser!(u32).range(1..=11_000))]
    kernel_calls: Vec<u32>,
    /// Calls of the kernel path's long run, for a packet lost; 0 leaves it out
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=11_000))]
    long_calls: u32,
    /// Seconds of it
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    long_s: u64,
    /// What to compare, such as `ringpath/uring,bare-epoll`. If absent, everything but `ringpath-program`, a check of the kernel
    /// path's own row, and what has SRTP
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Measurements of each system and number of calls; the systems take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of one measurement; fewer, at least two, when the time would not do for everything
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    measure_s: u64,
    /// The most calls that are tried for loss; 0 leaves that part out
    #[arg(long, default_value_t = 11_000, value_parser = clap::value_parser!(u32).range(0..=11_000))]
    calls_max: u32,
    /// Seconds for all, shared out up front to rounds, long run and searches; nothing is begun that would not be over by then
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time_s: u64,
    /// Where the load comes from
    #[arg(long, value_enum, default_value_t)]
    load: load::Kind,
    /// Let the relay's receive work share the core evenly with the relay, instead of running ahead of it as softirq does
    #[arg(long)]
    receive_shares: bool,
    /// What the files of results are called before their endings
    #[arg(long, default_value = "relay")]
    name: String,
    /// Folder of results
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// What the build was made from, for the report
    #[arg(long, default_value = "")]
    commit: String,
}

/// Compares, writes relay.json, relay-machine.json, relay.md, relay-cpu.svg and relay-latency.svg, and prints the table.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = Options {
        systems: match arguments.systems {
            none if none.is_empty() => System::ALL
                .into_iter()
                .filter(|&system| system != System::RelayProgram && !system.is_secured())
                .collect(),
            some => some,
        },
        calls: arguments.calls,
        kernel_calls: arguments.kernel_calls,
        long: (arguments.long_calls, Duration::from_secs(arguments.long_s)),
        rounds: arguments.rounds,
        measure: Duration::from_secs(arguments.measure_s),
        calls_max: arguments.calls_max,
        load: arguments.load,
        receive_first: !arguments.receive_shares,
        time: Duration::from_secs(arguments.time_s),
        folder: arguments.folder,
        name: arguments.name,
        commit: arguments.commit,
    };
    let comparison = comparison::run(&options)?;
    comparison
        .write(&options.folder, &options.name)
        .context("the results cannot be written")?;
    println!("\n{}", markdown(&comparison));
    println!("results in {}", options.folder.display());
    if !comparison.failures.is_empty() {
        bail!("FAILED: {}", comparison.failures.join("; "));
    }
    Ok(())
}
