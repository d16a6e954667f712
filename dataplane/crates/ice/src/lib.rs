//! ICE (RFC 8445, RFC 8838, RFC 7675) for one media line: which pair of addresses media takes, without sockets and clock.
//!
//! An [`Agent`] takes STUN datagrams and time, and gives STUN datagrams, the time of its next timer, and [`Event`]s: the pair
//! that was nominated, or why there is none. Nothing is learned from a datagram whose integrity is not proven with the
//! password of the description. Checks, pairs and nomination are `is`'s.
//!
//! Lite by default: a node with a public address answers checks and lets the party do the rest. Everything is one component,
//! as with rtcp-mux (RFC 5761), which browsers insist on.
#![forbid(unsafe_code)]

mod agent;
mod event;
mod settings;
mod transactions;

pub use agent::{Agent, CANDIDATES_MAX, SOURCES_MAX, Transmit};
pub use event::{CandidateError, Event, Failure, Refusal};
pub use settings::Settings;
