//! The `sip` crate from outside: messages, transactions and dialogs, alone and over a simulated network.

mod bench;
mod message;
mod transaction;
