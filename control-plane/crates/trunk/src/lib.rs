//! Trunks as a carrier runs them: we register with them (RFC 3261 §10.2), refresh, and take it back at the end; and we ask their
//! servers by OPTIONS whether they are there.
//!
//! [`Trunks`] is sans-IO: it makes requests without a Via, whoever has the transactions sends them and tells what became of
//! them. Absent from this crate: sockets, clock, calls.
#![forbid(unsafe_code)]

mod config;
mod probe;
mod registration;
mod request;
mod status;
mod trunk;
mod trunks;

pub use config::{ProbeTerms, RegistrationTerms, Server, TrunkTerms};
pub use status::{Counters, RegistrationStatus, ServerStatus, Status};
pub use trunks::{NoAnswer, Output, Trunks};
