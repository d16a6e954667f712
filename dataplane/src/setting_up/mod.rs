//! The thread that sets lines up (ICE, DTLS), beside the workers: what it costs, no packet waits for.
//!
//! Each worker has three bounded rings with it: orders of its engine, datagrams that came to its lines, and what comes back. What
//! has no place waits where it is (orders, news of a line's course) or is dropped and counted (datagrams, which parties send again, and
//! news of those that were refused).

mod identity;
mod rings;
mod tally;
mod thread;

#[cfg(test)]
pub use identity::no_fingerprint;
pub use identity::{IdentityFiles, load};
pub use rings::{Answer, WorkerEnd};
pub use tally::Tally;
pub use thread::{Plan, start};
