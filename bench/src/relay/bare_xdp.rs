//! XDP without a node: the bare echo, which is the floor, and the kernel path's own program with its flows installed by
//! hand, which checks the node's row: what the node adds to the program's cost is the difference.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use ebpf::{Attachment, FlowSpec, Media, Mode, NextHop, Program, Relay, RelayConfig};

use crate::binary;
use crate::process::Process;
use crate::relay::bare_epoll;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The rewrite, and nothing else.
    Echo,
    /// The kernel path's.
    Relay,
}

/// What is started at the relay's end.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The program
    #[arg(long, value_enum)]
    kind: Kind,
    /// The interface that it is attached to
    #[arg(long)]
    interface: String,
    /// Address of the relay's ports
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

/// Starts it as a process of its own, by way of `before`, attached. Its ports are [`bare_epoll::faces`].
pub fn start(
    before: &[OsString],
    kind: Kind,
    interface: &str,
    local: Ipv4Addr,
    calls: u32,
    parties: [SocketAddr; 2],
    folder: &Path,
) -> anyhow::Result<Process> {
    let mut words = before.to_vec();
    words.push(binary::find("ringpath-kit")?.into());
    words.push("bare-xdp".into());
    words.push(
        match kind {
            Kind::Echo => "--kind=echo",
            Kind::Relay => "--kind=relay",
        }
        .into(),
    );
    words.push(format!("--interface={interface}").into());
    words.push(format!("--local={local}").into());
    words.push(format!("--calls={calls}").into());
    words.push(format!("--caller={}", parties[0]).into());
    words.push(format!("--callee={}", parties[1]).into());
    let mut process = Process::start("bare-xdp", &words[0], &words[1..], &[], folder)?;
    process.wait_for_line(READY_WITHIN, |line| (line == "ready").then_some(()))?;
    Ok(process)
}

/// Attaches the program, calls `ready`, and waits to be killed.
pub fn run(options: &Options, ready: impl FnOnce()) -> anyhow::Result<()> {
    let parties = [options.caller, options.callee];
    match options.kind {
        Kind::Echo => {
            let program = Program::load_bare(parties.map(|party| party.port()))?;
            wait_with(&program, &options.interface, ready)
        }
        Kind::Relay => {
            let relay = with_flows(options, parties)?;
            wait_with(relay.program(), &options.interface, ready)
        }
    }
}

fn with_flows(options: &Options, parties: [SocketAddr; 2]) -> anyhow::Result<Relay> {
    let relay = Relay::load(&RelayConfig {
        flows_max: options.calls * 2,
        ..RelayConfig::default()
    })?;
    // The routing table answers only at interfaces that forward.
    let forwarding = format!("/proc/sys/net/ipv4/conf/{}/forwarding", options.interface);
    std::fs::write(&forwarding, "1").context(forwarding)?;
    for call in 0..options.calls {
        let faces = bare_epoll::faces(options.local, call)?;
        for side in [0, 1] {
            let other = 1 - side;
            let spec = FlowSpec {
                next_hop: NextHop::Routing,
                ..FlowSpec::new(
                    faces[side],
                    parties[side],
                    faces[other],
                    parties[other],
                    Media::Rtp(vec![(8, 8_000)]),
                )
            };
            relay.table().install(&spec, &[])?;
        }
    }
    Ok(relay)
}

fn wait_with(program: &Program, interface: &str, ready: impl FnOnce()) -> anyhow::Result<()> {
    let _attachment = Attachment::new(program, interface, &[Mode::Native])?;
    ready();
    loop {
        std::thread::park();
    }
}
