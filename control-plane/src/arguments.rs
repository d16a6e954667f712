use std::path::PathBuf;

use clap::Parser;

/// The Ringpath control plane: speaks SIP, decides, and has media nodes relay the calls' media.
#[derive(Debug, Parser)]
#[command(name = "ringpath-control", version)]
pub struct Arguments {
    /// Configuration file (TOML). Environment variables RINGPATH_CONTROL__<SECTION>__<KEY> override it.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Check the configuration and the files that it names, then exit: 0 when it can be used, 2 with one line a problem
    /// when not.
    #[arg(long)]
    pub check_config: bool,

    /// Put the users of a file (a line each, `name;password`) into the database of the configuration, then exit. A control
    /// plane that runs takes note within `registrar.users_refresh_s`.
    #[arg(long, value_name = "FILE")]
    pub import_users: Option<PathBuf>,
}
