//! Who may speak to the control plane, how much, and what is shed first when there is too much: sans-IO.
//!
//! - [`Guard`] stands before the parser: bans, and a token bucket a source.
//! - [`Admission`] stands behind it: while new requests wait too long it tells which are refused, least important first.
//! - [`Throttle`] stands before what we send: it keeps back what overloaded neighbours do not want.
//!
//! Absent from this crate: sockets, clocks, SIP. What is asked with every message costs a hash and one line of memory, and
//! does not allocate.
#![forbid(unsafe_code)]

mod admission;
mod bans;
mod bucket;
mod config;
mod counters;
mod gate;
mod network;
mod offence;
mod sources;
mod throttle;

pub use admission::{Admission, Rank};
pub use bans::{Ban, Change};
pub use bucket::Bucket;
pub use config::Config;
pub use counters::{Counters, Refusal};
pub use gate::Guard;
pub use network::Network;
pub use offence::{Evidence, Offence};
pub use throttle::{Feedback, Throttle};
