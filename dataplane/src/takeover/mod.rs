//! An upgrade on purpose: a new process takes the place of the one that runs, with its sockets, calls and listeners.
//!
//! ```text
//! new (--takeover)                                       old
//!   Hello ───────────────────────────────────────────────▶  same user? same version?
//!   ◀──────────────────── Welcome: lock, listeners; Shared: sockets of each worker
//!   workers built, held
//!   Begin ───────────────────────────────────────────────▶  commands refused, workers let go of the sockets
//!   ◀────────────────────────── Call: record, state, sockets; … ; End      from here packets wait in the sockets
//!   Taken ───────────────────────────────────────────────▶  for good
//!   ◀─────────────────────────────────────────────────────  Done
//!   workers receive, listeners serve                        ends with 0
//! ```
//!
//! Until it has said `Done` the old process can go on, and does when the connection ends: sockets were copied, its engines still
//! have the calls, and what came meanwhile waits in the sockets. Flows in the kernel notice nothing.

mod channel;
mod giver;
mod message;
mod security;
mod socket;
mod state;
mod taker;

pub use giver::{Given, Giver};
pub use taker::{Inheritance, Inherited, Taker};
