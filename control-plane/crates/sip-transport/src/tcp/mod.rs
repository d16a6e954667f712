//! TCP, with TLS or without: one task a connection, which reads and writes at the same time.

mod accept;
mod connect;
mod connection;
mod stream;
mod table;

pub(crate) use accept::{Tcp, accept};
pub(crate) use stream::Stream;
pub(crate) use table::Table;
