use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Backend;
use crate::doctor;
use crate::tap;

/// The Ringpath media node: relays RTP and RTCP between the legs of calls that a control plane asks for over gRPC.
#[derive(Debug, Parser)]
#[command(name = "ringpath-dataplane", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Something else than running the node.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How the node runs.
    #[command(flatten)]
    pub run: Option<Run>,
}

/// What the program does besides being the node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell what of this machine costs media packets, and how to change it.
    Doctor(doctor::Arguments),
    /// Write the packets of one call of a running node to a file.
    Tap(tap::Arguments),
}

/// Running the node.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Configuration file (TOML). Environment variables RINGPATH_DATAPLANE__<SECTION>__<KEY> override it.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Packet back-end, instead of the one in the configuration.
    #[arg(long, value_enum)]
    pub backend: Option<Backend>,

    /// Take the place of the process that is this node, with its calls, sockets and listeners, and without losing a packet. When
    /// none runs, start as ever.
    #[arg(long)]
    pub takeover: bool,

    /// Check the configuration and the files that it names, then exit: 0 when it can be used, 2 with one line a problem
    /// when not.
    #[arg(long)]
    pub check_config: bool,
}
