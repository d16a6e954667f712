//! The `sip` crate from outside: messages, transactions and dialogs, alone and over a simulated network.

mod bench;
mod dialog;
mod dialog_sim;
mod digest;
mod message;
mod transaction;
mod transaction_chaos;
mod transaction_sim;
mod world;
