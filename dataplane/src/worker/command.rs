use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use media_engine::Restored;
use media_types::{CallId, CallReport, CallSpec, Event, IdempotencyKey, LegSpec, Refusal};

use super::{HandedOver, Handover};
use crate::tap;

/// A call to be made. Shared with the control thread, which journals it when it is there.
#[derive(Debug)]
pub struct Creation {
    /// The caller's key.
    pub key: IdempotencyKey,
    /// The call.
    pub spec: CallSpec,
}

/// New media for a call.
#[derive(Debug)]
pub struct Change {
    /// The caller's key.
    pub key: IdempotencyKey,
    /// The call.
    pub call: CallId,
    /// The legs that change.
    pub legs: Vec<LegSpec>,
}

/// What the control thread asks of a worker. Applied between batches of packets.
#[derive(Debug)]
pub enum Command {
    /// Allocates a call.
    Create(Arc<Creation>),
    /// Makes a call of an earlier process again.
    Restore {
        /// The call.
        call: Arc<Restored>,
        /// The sockets of its ports, when they were handed over.
        sockets: Vec<(SocketAddr, OwnedFd)>,
    },
    /// Gives legs new media.
    Update(Arc<Change>),
    /// Removes a call.
    Delete {
        /// The caller's key.
        key: IdempotencyKey,
        /// The call.
        call: CallId,
    },
    /// Reports on calls, at most [`QUERY_MAX`] at a time; unknown ones are left out of the answer.
    Query(Vec<CallId>),
    /// Renews leases, at most [`RENEW_MAX`] at a time.
    Renew(Vec<CallId>),
    /// Names every call that the worker has.
    Inventory,
    /// Reads copies of RTCP that the kernel has forwarded.
    RtcpCopies(Vec<ebpf::RtcpCopy>),
    /// A step of handing the calls to another process.
    Handover(Handover),
    /// Copies a call's packets.
    Tap(Box<tap::Order>),
    /// Ends every call, closes every port and then the worker.
    Stop,
}

/// Reports in one command: what a worker makes of them in well under a millisecond.
pub const QUERY_MAX: usize = 32;
/// Renewals in one command, for the same reason.
pub const RENEW_MAX: usize = 1_024;

/// What a worker answers to a [`Command`].
#[derive(Debug)]
pub enum Answer {
    /// To `Create`, `Restore` and `Update`.
    Call(Result<Box<CallReport>, Refusal>),
    /// To `Delete`.
    Deleted {
        /// The answer to the caller.
        result: Result<Box<CallReport>, Refusal>,
        /// Whether the worker has no call of that name now. A repeated delete is answered as the first was, also when the
        /// name has a new call since.
        gone: bool,
    },
    /// To `Query`.
    Reports(Vec<CallReport>),
    /// To `Renew`: the calls that the worker does not have.
    Unknown(Vec<CallId>),
    /// To `Inventory`.
    Inventory(Vec<CallId>),
    /// To `RtcpCopies`.
    Read,
    /// To `Handover`.
    Handover(HandedOver),
    /// To `Tap`.
    Tapped(Result<(), Refusal>),
    /// To `Stop`: the last word of a worker.
    Stopped,
}

/// Ties an answer to its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What a worker tells the control thread, in one order: an event of a call never overtakes the answer before it.
#[derive(Debug)]
pub enum Word {
    /// An answer.
    Answer(Ticket, Answer),
    /// Something that the engine tells unasked.
    Event(Event),
}
