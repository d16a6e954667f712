//! The control plane's side of the gRPC contract: which media nodes there are, how they are, and who takes a call.
//!
//! [`start`] gives a [`Client`] and the receiver of its [`Report`]s. [`Client::request`] never waits: it starts a
//! bounded number of requests and refuses more. For each node there is a poll of its health and capacity, a renewal of
//! its calls' leases, a watch of its events and a sweep of what an unclear outcome may have left on it.
//!
//! What is promised:
//! - every request that was taken is answered once, within [`Config::deadline`] and a little;
//! - a node that refuses for want of capacity, cannot be reached or is late is passed over, and the next is tried;
//! - what may have been made on a node that was passed over is deleted there later, the lease being the last resort;
//! - a call that its node does not have any more is reported once, unless it was being deleted.
//!
//! Absent from this crate: SIP, SDP and any decision about a call.
#![forbid(unsafe_code)]

mod choose;
mod client;
mod config;
mod counters;
mod create;
mod exchange;
mod follow;
mod health;
mod node;
mod orphans;
mod outcome;
mod pauses;
mod renew;
mod request;
mod watch;

pub use client::{Client, Overloaded, View, start};
pub use config::{Config, NodeConfig, NodeConfigError, Tls};
pub use counters::{Counters, Operation};
pub use node::{Health, NodeStatus};
pub use request::{Answer, Failure, Kind, Report, Request};
