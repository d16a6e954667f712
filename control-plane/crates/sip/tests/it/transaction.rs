//! What one transaction layer does with what it gets, by the sections of RFC 3261, 3581, 4320 and 6026.

mod client;
mod server;
