//! What operators are served with over gRPC: `ringpath.admin.v1.ControlPlane` of `proto/admin/v1/admin.proto`.
//!
//! The server runs on a thread of its own and knows neither SIP nor calls. It and the thread that does meet at a
//! [`Desk`]: bounded commands one way, bounded changes the other. What one operator reads slowly, or all of them ask,
//! changes nothing for a call.
#![forbid(unsafe_code)]

mod config;
mod counters;
mod desk;
mod feeder;
mod incoming;
mod mirror;
mod server;
mod service;
mod token;
mod watcher;

pub use config::{Config, Tls};
pub use counters::{Counted, Counters, Operation};
pub use desk::{Changes, Command, Desk, HangUp, NotTransferred, Reply, Transfer};
pub use server::{Server, start};
