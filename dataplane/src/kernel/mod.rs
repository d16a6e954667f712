//! The kernel path: XDP on the interfaces that hold the media addresses, and what user space does for it.
//!
//! The engines decide which flow goes into the kernel; this gives them the table, and keeps what the table needs.

mod capabilities;
mod interfaces;
mod netlink;
mod start;

pub use capabilities::give_up_all_but;
pub use interfaces::KernelInterface;
pub use start::Kernel;
