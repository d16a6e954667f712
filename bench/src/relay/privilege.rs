//! What a test bed needs of the host.

use std::fs;

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};

/// Programs that the bed runs, and their Debian packages.
const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("taskset", "util-linux"),
    ("chrt", "util-linux"),
];

/// Capabilities with their numbers in `linux/capability.h`.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_SYS_NICE", 23)];

/// The core of the load and the core of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Of the load generator.
    pub load: usize,
    /// Of the relay under test.
    pub relay: usize,
}

/// Whether a bed can be made here, and on which cores. Makes and changes nothing.
///
/// # Errors
/// Everything that is missing, in one message.
pub fn check() -> anyhow::Result<Cores> {
    let mut missing = Vec::new();
    let effective = effective_capabilities()?;
    for (name, number) in CAPABILITIES {
        if effective & (1 << number) == 0 {
            missing.push(format!("{name} (run as root)"));
        }
    }
    for (program, package) in PROGRAMS {
        if !is_installed(program) {
            missing.push(format!(
                "the program {program} (`make bench-bootstrap` installs {package})"
            ));
        }
    }
    let allowed = allowed_cores()?;
    if allowed.len() < 2 {
        missing.push("a second core: one is for the load, one for the relay".to_owned());
    }
    ensure!(
        missing.is_empty(),
        "no test bed can be made here; missing:\n  {}",
        missing.join("\n  ")
    );
    Ok(Cores {
        load: allowed[0],
        relay: allowed[allowed.len() - 1],
    })
}

/// Whether a program is on the path.
pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
}

/// The cores that this thread may use, in ascending order.
pub fn allowed_cores() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

fn effective_capabilities() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .context("no CapEff")?;
    Ok(u64::from_str_radix(line.trim(), 16)?)
}
