use std::net::{Ipv4Addr, SocketAddr};

use ringpath_bench::relay::bare_epoll;

/// The yardstick of `relay`: a relay without any check, from port 20000 on, until it is killed
#[derive(clap::Args)]
pub struct Arguments {
    /// Address of the ports
    #[arg(long)]
    local: Ipv4Addr,
    /// Calls
    #[arg(long)]
    calls: u32,
    /// Where the callers of all calls receive
    #[arg(long)]
    caller: SocketAddr,
    /// Where the callees of all calls receive
    #[arg(long)]
    callee: SocketAddr,
}

/// Relays.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let parties = [arguments.caller, arguments.callee];
    bare_epoll::run(arguments.local, arguments.calls, parties, || println!("ready"))
}
