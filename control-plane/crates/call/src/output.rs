use sip::transaction::ServerKey;
use sip::{Message, Source, Transmit};

use crate::{Cdr, MediaRequest, NextHop, Srtp, TransferPolicy, Wanted};

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
    /// A REGISTER, for a registrar: answer by [`B2bua::respond`](crate::B2bua::respond).
    Register(Box<Asked>),
    /// An INVITE that would begin a call: say where it goes by [`B2bua::place`](crate::B2bua::place).
    Place(Box<Asked>),
    /// Somebody whom a call shall be transferred or redirected to: say where that is by [`B2bua::located`](crate::B2bua::located).
    Locate(Box<Wanted>),
    /// What became of a request that was sent by [`B2bua::send_request`](crate::B2bua::send_request).
    Answered(Box<Answered>),
}

/// The end of a request that is no call's.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The number that it was sent with.
    pub id: u64,
    /// The final response.
    pub response: Result<Message, Lost>,
}

/// Why there is no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// None came in time (timer F).
    TimedOut,
    /// The transport could not send it, or the transaction layer is full.
    NotSent,
}

/// A request that the shell decides on. The answer must come before the B2BUA is told of anything else.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its transaction.
    pub key: ServerKey,
    /// Where it came from.
    pub source: Source,
    /// All of it.
    pub request: Message,
    /// What a REFER of its sender will lead to, and an INVITE with `Replaces`. The shell may change it for users.
    pub transfer: TransferPolicy,
    /// What is agreed with its sender about SRTP. The shell may change it for users.
    pub srtp: Srtp,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub enum Placement {
    /// Where the routing table says.
    Routed,
    /// To these, in this order; none is 480.
    To(Vec<NextHop>),
    /// Nowhere: this is the response.
    Refused(Message),
}
