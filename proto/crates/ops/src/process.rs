//! What a process of either plane does around its work: a runtime, lines for whoever started it, a word before a panic
//! ends it, its limit of open files.

use std::io::{self, Write as _};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::logging::{self, LogConfig};

/// Starts logging and runs `serve` on a current-thread runtime. Tasks that are left when it ends are dropped, not
/// awaited.
///
/// # Errors
/// When logging or the runtime cannot be started, and what `serve` says.
pub fn run(log: &LogConfig, serve: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    logging::init(log)?;
    log_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve);
    runtime.shutdown_background();
    result
}

/// A line on standard output, at once: whoever started the process reads them.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    // A reader that went away is no reason not to serve.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Raises the soft limit of open files to the hard one, which needs no privilege. Returns what it is now.
///
/// # Errors
/// When the kernel refuses; the soft limit then stays.
pub fn raise_file_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Panics go to the log, too, before the process aborts (release) or the thread's end is noticed (development).
fn log_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(thread = std::thread::current().name().unwrap_or("?"), "{panic}");
        default(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_becomes_the_hard_one() {
        let raised = raise_file_limit().expect("no privilege is needed");
        let now = getrlimit(Resource::Nofile);
        assert_eq!(
            (now.current, now.current.unwrap_or(u64::MAX)),
            (now.maximum, raised)
        );
    }
}
