use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Sees and orders calls of a Ringpath control plane, over its admin API.
///
/// Exit status: 0 done, 1 refused, 2 wrong usage, 3 no control plane there, 4 no such call or ban, 5 not let in.
#[derive(Debug, Parser)]
#[command(name = "ringpathctl", version)]
pub struct Arguments {
    /// Where the control plane is.
    #[command(flatten)]
    pub server: Server,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the control plane is, and what proves us to it.
#[derive(Debug, Args)]
pub struct Server {
    /// Address of the admin API: http://host:port, or https://host:port.
    #[arg(
        long,
        global = true,
        env = "RINGPATH_SERVER",
        default_value = "http://127.0.0.1:7290",
        value_name = "URL"
    )]
    pub server: String,
    /// File with the token, when the control plane wants one.
    #[arg(long, global = true, env = "RINGPATH_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Authorities that may have signed the control plane's certificate (PEM).
    #[arg(long, global = true, env = "RINGPATH_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our certificate, for mutual TLS (PEM).
    #[arg(
        long,
        global = true,
        env = "RINGPATH_CERTIFICATE",
        value_name = "FILE",
        requires = "key"
    )]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(
        long,
        global = true,
        env = "RINGPATH_KEY",
        value_name = "FILE",
        requires = "certificate"
    )]
    pub key: Option<PathBuf>,
    /// The name in the control plane's certificate, when it is not the host of the address.
    #[arg(long, global = true, env = "RINGPATH_DOMAIN", value_name = "NAME")]
    pub domain: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The calls that there are
    Calls {
        /// Go on with what changes, a line each
        #[arg(long, short)]
        watch: bool,
        #[command(flatten)]
        output: Output,
    },
    /// One call, with all that is known of it
    Call {
        /// Its name, as `calls` shows it
        id: String,
        #[command(flatten)]
        output: Output,
    },
    /// End a call
    Hangup {
        /// Its name, as `calls` shows it
        id: String,
        /// The Q.850 cause that both parties get
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=127))]
        cause: u8,
        /// What both parties and the record are told, at most 64 printable ASCII characters
        #[arg(long, default_value = "")]
        text: String,
        #[command(flatten)]
        output: Output,
    },
    /// Connect one party of a call with somebody else; the other one leaves
    Transfer {
        /// Its name, as `calls` shows it
        id: String,
        /// Whom to connect with: a sip: or tel: URI
        target: String,
        /// The party that leaves
        #[arg(long, value_enum, default_value_t = Party::Callee)]
        leaves: Party,
        #[command(flatten)]
        output: Output,
    },
    /// The contacts of users
    Registrations {
        /// Only this user's
        user: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Take no new calls, and wait until those that exist are over
    Drain {
        /// Take calls again
        #[arg(long, conflicts_with = "no_wait")]
        cancel: bool,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Where calls go: the next hops of the routing table
    Trunks {
        #[command(flatten)]
        output: Output,
    },
    /// Networks that are not listened to
    Bans {
        #[command(flatten)]
        output: Output,
    },
    /// Listen to a network no longer, or no longer for so long
    Ban {
        /// An address, or a network such as 192.0.2.0/24
        network: String,
        /// For how many seconds
        #[arg(long = "for", default_value_t = 3_600, value_name = "SECONDS")]
        lasts_s: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Listen to a network again
    Unban {
        /// The network, as `bans` shows it
        network: String,
    },
    /// Which control plane it is, and how it stands
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// The calls in a live view
    Top,
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// One of the two parties of a call.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Party {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// JSON in place of a table; with changes, an object a line
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_every_shell_gets_a_completion() {
        Arguments::command().debug_assert();
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "ringpathctl", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("hangup"), "{shell}");
        }
    }
}
