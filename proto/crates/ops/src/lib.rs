//! What both planes show to those who operate them, in one way: configuration files, logs, health, metrics, signals.
//!
//! Used by the two binaries only. Nothing here knows calls or packets.
#![forbid(unsafe_code)]

mod bounded;
pub mod checksum;
pub mod clock;
pub mod config;
pub mod connection;
pub mod http;
pub mod logging;
pub mod process;
pub mod random;
pub mod signal;
