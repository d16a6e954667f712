//! SIP over UDP, TCP, TLS and WebSocket on Tokio (RFC 3261 §18, RFC 7118).
//!
//! [`Transport::bind`] opens the listeners. What comes in is parsed here and handed over by [`Transport::receive`], in
//! an order that serves calls that exist before new ones; [`Transport::send`] sends and never waits.
//!
//! Handled here, without the owner: malformed requests (answered without state where the RFC wants an answer),
//! keep-alives, sources that are banned or send too much, scanners, new requests beyond what the owner keeps up with (503
//! with `Retry-After`, least important first), connections that are idle, too many, too slow in what they send or too slow in what they take. Each has a counter.
//!
//! A [`sip::Destination`] is an address: [`dns`] finds those of a name (RFC 3263).
//!
//! Every limit is in [`Config`]. Absent from this crate: transactions, dialogs, calls.
#![forbid(unsafe_code)]

mod answer;
mod class;
mod config;
mod counters;
mod defence;
pub mod dns;
mod inbox;
mod intake;
mod kernel;
mod large;
mod outgoing;
mod overload;
mod recent;
mod stun;
mod tcp;
mod tls;
mod transport;
mod udp;
mod ws;

pub use config::{Config, Listen, SCANNERS, Tls, WebSocket};
pub use counters::{Direction, Drop, MessageCount, Snapshot};
pub use inbox::Inbound;
pub use tls::{ClientAuth, Files as TlsFiles, LoadError};
pub use transport::{BindError, Bound, Transport, View};
