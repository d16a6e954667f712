//! TCP, with TLS or without: one task a connection, which reads and writes at the same time. What WebSocket is spoken over begins here, too.

mod accept;
mod connect;
mod connection;
mod stream;
mod table;

pub(crate) use accept::{Tcp, accept};
pub(crate) use connect::Entered;
pub(crate) use connection::LAST_WORDS;
pub(crate) use stream::Stream;
pub(crate) use table::{Handle, Table};
