use ringpath_bench::relay::bare_xdp;

/// The floor and the cross-check of `relay`: an XDP program alone on an interface, until it is killed
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    options: bare_xdp::Options,
}

/// Attaches, says `ready`, and waits.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    bare_xdp::run(&arguments.options, || println!("ready"))
}
