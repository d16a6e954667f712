//! The `sip` crate from outside: transactions and dialogs, alone and over a simulated network.

mod bench;
mod transaction;
