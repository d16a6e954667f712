use sip::Transmit;

use crate::{Cdr, MediaRequest};

/// What the shell shall do, in the order in which it comes.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a message.
    Send(Transmit),
    /// Ask the media plane.
    Media(MediaRequest),
    /// Keep a record. It must be durable before anything that follows is sent: a party that was told that its call
    /// is over may rely on the record.
    Cdr(Box<Cdr>),
}
