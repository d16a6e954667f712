//! TCP: one task a connection, which reads and writes at the same time.

mod accept;
mod connect;
mod connection;
mod table;

pub(crate) use accept::{Tcp, accept};
pub(crate) use table::Table;
