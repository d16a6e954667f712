use thiserror::Error;

/// Why a request was not sent. Nothing of it is left in the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// `transactions_max` is reached: answer the caller 503.
    #[error("the limit of transactions is reached")]
    AtLimit,
    /// No listener has the destination's transport, so there is nothing to put into the Via.
    #[error("no listener for the transport of the destination")]
    NoListener,
    /// The message is not a request, or its CSeq is unreadable, or the Via made it too long.
    #[error("not a request that can be sent")]
    Unusable,
    /// ACK and CANCEL have methods of their own.
    #[error("an ACK or a CANCEL is no transaction of its own: use ack and cancel")]
    WrongMethod,
}

/// Why a response was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RespondError {
    /// The transaction is gone: it timed out, or the transport failed.
    #[error("the transaction is gone")]
    Gone,
    /// It has a final response already. A 2xx to INVITE may be given again.
    #[error("the transaction has a final response already")]
    Answered,
    /// The message is not a response.
    #[error("not a response")]
    Unusable,
    /// RFC 4320 §4.2: a non-INVITE transaction ends in silence rather than by a 408.
    #[error("408 is not sent to a request other than INVITE")]
    TimeoutToNonInvite,
    /// RFC 4320 §4.1: of the provisional responses only a 100 goes to a non-INVITE request, and that not before the
    /// layer sends it by itself, unless the transport is reliable.
    #[error("no such provisional response to a request other than INVITE")]
    ProvisionalToNonInvite,
}

/// Why there is nothing to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CancelError {
    /// The transaction is gone.
    #[error("the transaction is gone")]
    Gone,
    /// The INVITE has its final response: send a BYE if it was a 2xx.
    #[error("the request has a final response already")]
    Answered,
    /// Only INVITE is cancelled (RFC 3261 §9.1).
    #[error("only an INVITE can be cancelled")]
    NotInvite,
}
