//! The gRPC front of the node: where it listens, who may come in, and the service.

mod commands;
mod exchange;
mod incoming;
mod server;
mod service;
mod watch;

pub use incoming::Incoming;
pub use server::{check_tls, serve};
pub use service::Service;
