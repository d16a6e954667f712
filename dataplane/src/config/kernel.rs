use std::path::PathBuf;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// The most flows that a node's table may have; a flow takes some 2 kB of kernel memory.
const FLOWS_MAX: u32 = 1 << 20;
/// The fewest packets and bytes a second that a flow may be limited to: below these no codec gets through.
const PACKETS_PER_S_MIN: u64 = 10;
const BYTES_PER_S_MIN: u64 = 1_000;
const PER_S_MAX: u64 = 1_000_000_000;

/// The kernel path: relaying plain RTP in XDP, before the kernel makes socket buffers of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// Whether it is used.
    pub mode: Mode,
    /// The ways of attaching to an interface, in the order in which they are tried.
    pub attach: Vec<Attach>,
    /// A directory in a BPF file system. What is pinned there forwards on when the process has ended, and the next process
    /// takes it over. Empty: nothing outlives the process.
    pub pin_directory: PathBuf,
    /// Flows at once; 0 is four for each call of `limits.calls_max`.
    pub flows_max: u32,
    /// What becomes of packets to media ports that no call has.
    pub unowned: Policy,
    /// What becomes of packets that do not fit their flow and that user space would not forward: another source or size.
    pub refused: Policy,
    /// Differentiated services code point of what is forwarded, 0 to 63; absent keeps what packets come with.
    pub dscp: Option<u8>,
    /// Packets that a flow may have in a second; 0 is no limit.
    pub packets_per_s_max: u64,
    /// Bytes of RTP and RTCP that a flow may have in a second; 0 is no limit.
    pub bytes_per_s_max: u64,
}

/// Whether the kernel path is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not at all.
    Off,
    /// On every interface where it works; the rest is left to user space.
    #[default]
    Auto,
    /// On every interface with a media address but loopback ones, or no start.
    Require,
}

/// A way of attaching to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// XDP in the driver.
    Native,
    /// XDP in the stack.
    Generic,
    /// A classifier at the ingress of the traffic control layer.
    Tc,
}

/// What becomes of packets that are not for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// They go up the stack.
    Pass,
    /// They are dropped and counted.
    Drop,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            attach: vec![Attach::Native, Attach::Generic, Attach::Tc],
            pin_directory: "/sys/fs/bpf/ringpath".into(),
            flows_max: 0,
            unowned: Policy::Pass,
            refused: Policy::Drop,
            dscp: None,
            packets_per_s_max: 0,
            bytes_per_s_max: 0,
        }
    }
}

impl Kernel {
    /// Flows at once on a node that takes so many calls.
    pub fn flows_max(&self, calls_max: usize) -> u32 {
        match self.flows_max {
            0 => u32::try_from(calls_max.saturating_mul(4)).map_or(FLOWS_MAX, |flows| flows.min(FLOWS_MAX)),
            flows_max => flows_max,
        }
    }
}

impl Validate for Kernel {
    fn validate(&self, problems: &mut Problems) {
        if self.attach.is_empty() {
            problems.push(
                "attach",
                "must name one way at least; mode = \"off\" switches the kernel path off",
            );
        }
        for (n, attach) in self.attach.iter().enumerate() {
            if self.attach[..n].contains(attach) {
                problems.push("attach", format!("names {attach:?} twice").to_lowercase());
            }
        }
        if !self.pin_directory.as_os_str().is_empty() && !self.pin_directory.is_absolute() {
            problems.push("pin_directory", "must be an absolute path, or empty");
        }
        problems.range("flows_max", self.flows_max, 0..=FLOWS_MAX);
        if let Some(dscp) = self.dscp {
            problems.range("dscp", dscp, 0..=63);
        }
        for (key, value, min) in [
            ("packets_per_s_max", self.packets_per_s_max, PACKETS_PER_S_MIN),
            ("bytes_per_s_max", self.bytes_per_s_max, BYTES_PER_S_MIN),
        ] {
            if value != 0 && !(min..=PER_S_MAX).contains(&value) {
                problems.push(
                    key,
                    format!("must be 0 (no limit) or {min} to {PER_S_MAX}, not {value}"),
                );
            }
        }
    }
}
