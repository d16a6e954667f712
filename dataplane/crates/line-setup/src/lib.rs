//! What sets a media line up before media passes: ICE finds the addresses, DTLS the keys. Without sockets and clock.
//!
//! A [`LineSetup`] is that of one line, a [`Desk`] all of a node's with what they share: timers, and the limit of handshakes at
//! once. Orders and news are the media engine's ([`media_engine::SetupOrder`], [`media_engine::SetupNews`]).
//!
//! Handshakes allocate and take a millisecond of cryptography, so nothing here is for the packet loop: a thread of its own
//! drives the desk.
#![forbid(unsafe_code)]

mod admission;
mod config;
mod desk;
mod line_setup;
mod refused;

pub use admission::Refused;
pub use config::Config;
pub use desk::{Desk, Key, Output};
pub use line_setup::LineSetup;
