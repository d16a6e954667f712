//! The kernel path: XDP on the interfaces that hold the media addresses, and what user space does for it.
//!
//! The engines decide which flow goes into the kernel; this gives them the table, and keeps what the table needs.

mod attaching;
mod backing;
mod capabilities;
mod copies;
mod hops;
mod interfaces;
mod keeper;
mod netlink;
mod pins;
mod reasons;
mod start;
mod status;
mod streams;
mod table;
mod terms;
mod ways;
mod worker_flows;
mod xdp_sockets;

pub use capabilities::give_up_all_but;
pub use interfaces::KernelInterface;
pub use start::Kernel;
pub use status::{Status, Unowned};
pub use worker_flows::PortTable;
pub use xdp_sockets::NodeXdp;
