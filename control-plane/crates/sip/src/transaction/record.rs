use bytes::Bytes;

use super::fingerprint::Fingerprint;
use super::machine::Machine;
use super::timers::Timer;
use crate::Destination;
use crate::message::Message;

/// All that is kept of one transaction. Once it has its final response it collapses: the request goes, and the wire
/// image stays only in states that may have to send it again.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) machine: Machine,
    /// Which timer each role of the schedule stands for.
    pub(super) repeat: Timer,
    pub(super) limit: Timer,
    /// How often the repeating timer has been set again.
    pub(super) step: u8,
    pub(super) cancel: Cancel,
    /// Made by the layer itself (CANCEL, and the answer to one): the user hears nothing of it.
    pub(super) is_internal: bool,
    pub(super) destination: Destination,
    pub(super) fingerprint: Fingerprint,
    /// By which a second copy of the request is known as merged. Servers only.
    pub(super) merged: Option<Fingerprint>,
    /// Of the latest response that a server sent: the ACK of an RFC 2543 client repeats its To tag.
    pub(super) to_tag: u64,
    /// What a retransmission sends.
    pub(super) held: Bytes,
    pub(super) request: Option<Box<Message>>,
}

/// How far the cancelling of an INVITE is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// Client: the user wants it, but no provisional response has come yet (§9.1). The value of its `Reason`.
    Waiting(Option<Box<str>>),
    /// Client: sent. Server: the user was told.
    Done,
}

impl Record {
    pub(super) fn collapse(&mut self) {
        if !self.machine.is_pending() {
            self.request = None;
            self.cancel = Cancel::Done;
        }
        if !self.machine.holds_message() {
            self.held = Bytes::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_less_than_half_of_its_budget() {
        // Budget of an active one: 512 bytes beside its messages. Add two schedule nodes and a peer link.
        assert!(
            size_of::<Record>() + 2 * 24 + 8 <= 256,
            "{} bytes",
            size_of::<Record>()
        );
    }
}
