use std::path::PathBuf;

use clap::Parser;

use crate::config::Backend;

/// The Ringpath media node: relays RTP and RTCP between the legs of calls that a control plane asks for over gRPC.
#[derive(Debug, Parser)]
#[command(name = "ringpath-dataplane", version)]
pub struct Arguments {
    /// Configuration file (TOML). Environment variables RINGPATH_DATAPLANE__<SECTION>__<KEY> override it.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Packet back-end, instead of the one in the configuration.
    #[arg(long, value_enum)]
    pub backend: Option<Backend>,

    /// Check the configuration and the files that it names, then exit: 0 when it can be used, 2 with one line a problem
    /// when not.
    #[arg(long)]
    pub check_config: bool,
}
