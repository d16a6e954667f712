//! WebSocket (RFC 6455) with the subprotocol `sip` (RFC 7118), over TCP or TLS: one message of SIP in one of WebSocket. Frames,
//! masks and closing are `tungstenite`'s.

mod connection;
mod frames;
mod metered;
mod upgrade;

pub(crate) use connection::run;
pub(crate) use metered::Metered;
pub(crate) use upgrade::upgrade;
