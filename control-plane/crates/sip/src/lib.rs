//! SIP without sockets and clocks: messages, transactions, dialogs (RFC 3261 and its updates).
#![forbid(unsafe_code)]

mod route;

pub use route::{Destination, FlowId, Source, Transmit, Transport};
