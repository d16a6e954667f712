//! Transactions: one request, its retransmissions, and all responses to it (RFC 3261 §17).
//!
//! [`Layer`] owns them all. The four kinds have a file each, a pure function from state and event to state and
//! actions: `client_invite`, `client_non_invite`, `server_invite`, `server_non_invite`.

mod action;
mod client_invite;
mod client_non_invite;
mod config;
mod counters;
mod error;
mod event;
mod fingerprint;
mod generated;
mod layer;
mod machine;
mod peers;
mod record;
mod schedule;
mod server_invite;
mod server_non_invite;
mod slots;
mod timers;
mod via;

pub use config::{Config, Listener};
pub use counters::Counters;
pub use error::{CancelError, RespondError, SendError};
pub use event::{ClientKey, Event, ServerKey};
pub use layer::Layer;
pub use timers::{Timer, Timers};
pub use via::response_destination;
