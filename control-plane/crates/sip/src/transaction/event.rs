use super::slots::SlotKey;
use crate::Source;
use crate::message::Message;

/// Names a client transaction. Never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub(super) SlotKey);

/// Names a server transaction. Never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey(pub(super) SlotKey);

/// What a [`Layer`](super::Layer) tells the transaction user.
///
/// Each key ends with exactly one `ClientTerminated` or `ServerTerminated`, after all its other events.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request. It wants one final response by [`respond`](super::Layer::respond): an INVITE at any time; any
    /// other within 64*T1, after which the client has given up.
    Request {
        /// The server transaction.
        key: ServerKey,
        /// Where it came from.
        source: Source,
        /// The request, `received` and `rport` added to its top Via.
        message: Message,
    },
    /// An ACK that is not for a failure that we sent, so for a 2xx (RFC 3261 §13.2.2.4) or for nothing. It may
    /// arrive more than once, and has no answer.
    Ack {
        /// Where it came from.
        source: Source,
        /// The ACK.
        message: Message,
    },
    /// The caller cancels an INVITE that has no final response yet. The CANCEL itself is already answered 200; the
    /// INVITE wants a 487 (Request Terminated) by [`respond`](super::Layer::respond). At most once an INVITE.
    Cancelled {
        /// The INVITE.
        invite: ServerKey,
        /// Where the CANCEL came from.
        source: Source,
        /// The CANCEL: its `Reason` says why (RFC 3326).
        message: Message,
    },
    /// A response to our request. Retransmissions are absorbed, with one exception: every copy of a 2xx to INVITE
    /// comes up for as long as timer M runs, since each wants an ACK (RFC 3261 §13.2.2.4), and a fork sends its own.
    Response {
        /// The client transaction.
        key: ClientKey,
        /// Where it came from.
        source: Source,
        /// The response.
        message: Message,
    },
    /// No final response: none by timer B or F, or none within 64*T1 of a CANCEL. Counts as a 408 (§8.1.3.1).
    TimedOut {
        /// The client transaction.
        key: ClientKey,
    },
    /// The transport could not send our request, or the ACK for a failure. Counts as a 503 (§8.1.3.1).
    TransportFailed {
        /// The client transaction.
        key: ClientKey,
    },
    /// The transaction is gone. Nothing more comes of it.
    ClientTerminated {
        /// The client transaction.
        key: ClientKey,
    },
    /// No ACK came for our failure response to an INVITE by timer H (§17.2.1).
    Unacknowledged {
        /// The server transaction.
        key: ServerKey,
    },
    /// The transport could not send our response. A response to INVITE is tried again with the next retransmission;
    /// for the others it is the end.
    ResponseUndelivered {
        /// The server transaction.
        key: ServerKey,
    },
    /// The user gave no final response to a request other than INVITE in 64*T1. Nothing is sent (RFC 4320 §4.2).
    Abandoned {
        /// The server transaction.
        key: ServerKey,
    },
    /// The transaction is gone, and its key with it: a response would go nowhere.
    ServerTerminated {
        /// The server transaction.
        key: ServerKey,
    },
}
