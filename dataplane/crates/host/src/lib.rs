//! What the kernel tells of a machine through system calls only, for `ringpath-dataplane doctor`: a network interface's
//! queues, hash fields and offloads (ethtool's ioctl), and whether the clock is synchronised (adjtimex). Everything else is
//! in /proc and /sys, where no unsafe code is needed.
//!
//! # Unsafe code
//!
//! 1. [`Ethtool`] gives the kernel a pointer to a live `&mut [u32]` through one `ifreq`. How much the kernel writes depends on
//!    the command and on counts in the buffer; each command's function sizes its buffer for the most, and the test on a real
//!    interface runs every command that reads.
//! 2. [`time_sync`] gives it a live `timex` of libc, with no mode set, so nothing changes.
//!
//! Every bit pattern is valid for what the kernel writes into.

mod ethtool;
mod time;

pub use ethtool::{Channels, Ethtool, Feature, UdpFlow, hash};
pub use time::{TimeSync, time_sync};
