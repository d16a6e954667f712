//! Copies of one call's packets for people who look for a fault: `ringpath-dataplane tap` and the RPC `TapCall`.
//!
//! A worker copies what comes and goes by the call's ports into a ring of fixed size ([`copier`]), the kernel's table what comes
//! and goes by its flows ([`kernel`]); a task of the control thread
//! takes it out and streams it ([`session`]); the subcommand writes it to a file ([`client`], [`pcapng`]). Number, time, packets and
//! memory are bounded by `limits.tap…`. docs/operations/tap.md tells its users about it.

mod admission;
mod client;
mod copier;
mod kernel;
mod packet;
mod pcapng;
mod record;
mod session;
mod shared;

pub use admission::Admission;
pub use client::{Arguments, run};
pub use copier::{Copier, Order};
pub use kernel::KernelTaps;
