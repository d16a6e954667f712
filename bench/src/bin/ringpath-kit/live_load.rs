/// The sending half of `relay`: runs a loaded program on live frames until it is killed
#[derive(clap::Args)]
pub struct Arguments {
    /// The program's number
    #[arg(long)]
    program: u32,
    /// The interface that frames leave by, in this process' network namespace
    #[arg(long)]
    interface: String,
}

/// Sends.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    Ok(ebpf::generate(arguments.program, &arguments.interface)?)
}
