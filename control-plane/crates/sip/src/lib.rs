//! SIP without sockets and clocks: messages, transactions, dialogs, digest (RFC 3261 and its updates).
#![forbid(unsafe_code)]

pub mod dialog;
pub mod digest;
mod emergency;
pub mod message;
mod route;
pub mod transaction;

pub use emergency::EmergencyNumbers;
pub use message::{HeaderName, Message, Method};
pub use route::{Destination, FlowId, Source, Transmit, Transport};
