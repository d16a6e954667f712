//! The machine and the versions that figures belong to.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

use crate::relay::privilege::{Cores, allowed_cores};
use crate::relay::rtpengine;

/// What a reader needs to compare figures with others.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Cores that the run may use.
    pub cores: usize,
    /// The core of the load.
    pub load_core: usize,
    /// The core of the relay.
    pub relay_core: usize,
    /// Whether the kernel runs under a hypervisor.
    pub is_virtual: bool,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Ringpath's version, with the commit when the build knew it.
    pub ringpath: String,
    /// rtpengine's version, when it is installed.
    pub rtpengine: Option<String>,
    /// The hard limit of open files, which bounds the calls of relays with a socket a port.
    pub open_files_max: String,
}

impl Machine {
    /// Reads it from the kernel. To be asked before the calling thread is pinned.
    pub fn read(cores: Cores, commit: &str) -> anyhow::Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let limits = fs::read_to_string("/proc/self/limits")?;
        let value = |text: &str, key: &str| {
            text.lines()
                .find(|line| line.starts_with(key))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let total = value(&memory, "MemTotal").context("no MemTotal")?;
        let kilobytes: u64 = total.trim_end_matches(" kB").parse()?;
        let version = env!("CARGO_PKG_VERSION");
        Ok(Self {
            processor: value(&processors, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: allowed_cores()?.len(),
            load_core: cores.load,
            relay_core: cores.relay,
            is_virtual: value(&processors, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_bytes: kilobytes * 1_024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            ringpath: match commit {
                "" => version.to_owned(),
                commit => format!("{version} ({commit})"),
            },
            rtpengine: rtpengine::is_installed().then(rtpengine::version).transpose()?,
            open_files_max: limits
                .lines()
                .find(|line| line.starts_with("Max open files"))
                .and_then(|line| line.split_whitespace().nth(4))
                .unwrap_or("unknown")
                .to_owned(),
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}{}, {} cores (load on core {}, relay on core {}), {:.1} GB, Linux {}, {} open files at most; ringpath {}, \
             rtpengine {}",
            self.processor,
            if self.is_virtual { " (virtual machine)" } else { "" },
            self.cores,
            self.load_core,
            self.relay_core,
            self.memory_bytes as f64 / 1e9,
            self.kernel,
            self.open_files_max,
            self.ringpath,
            self.rtpengine.as_deref().unwrap_or("not installed"),
        )
    }
}
