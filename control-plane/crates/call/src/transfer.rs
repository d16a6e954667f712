use std::sync::Arc;

use sip::Message;
use sip::transaction::ServerKey;

use crate::b2bua::{CallKey, Side};

/// What a REFER of a party leads to (RFC 3515), and an INVITE with `Replaces` (RFC 3891).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TransferPolicy {
    /// 403: the party may not say where a call goes.
    #[default]
    Refuse,
    /// We transfer the call ourselves: the other party stays in its dialog and hears somebody else.
    Local,
    /// The other party gets the REFER and decides.
    Pass,
}

/// Which party of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Who sent the INVITE to us.
    Caller,
    /// Whom we sent an INVITE to.
    Callee,
}

impl Party {
    pub(crate) const fn side(self) -> Side {
        match self {
            Self::Caller => Side::Caller,
            Self::Callee => Side::Callee,
        }
    }
}

/// Somebody a call shall be transferred or redirected to: the shell says where that is by [`B2bua::located`](crate::B2bua::located),
/// before it tells the B2BUA of anything else.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The URI, without headers and with a scheme that can be called.
    pub uri: String,
    pub(crate) call: CallKey,
    /// The party that goes.
    pub(crate) by: Side,
    /// The REFER that asks for it; `None` if it is an operator's wish.
    pub(crate) refer: Option<(ServerKey, Message)>,
    /// It is the target of a redirection.
    pub(crate) redirected: Option<Arc<crate::Called>>,
}

/// Why an operator's transfer is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// No call has that name.
    #[error("there is no such call")]
    UnknownCall,
    /// The call is not answered yet, is ending, is being transferred, or its other party has gone.
    #[error("the call cannot be transferred now")]
    Busy,
    /// It has been transferred as often as the limit allows.
    #[error("the call has been transferred as often as it may be")]
    TooOften,
    /// The target is no SIP or telephone URI.
    #[error("the target is not a SIP or telephone URI")]
    BadTarget,
    /// Neither a user nor a route fits the target, or nobody is there.
    #[error("the target leads nowhere")]
    NoRoute,
}

impl TransferError {
    /// What the transferor is told (RFC 3515 §2.4.2). Where it may not transfer to is 403, whatever the reason.
    pub(crate) const fn sip_status(self) -> u16 {
        match self {
            Self::UnknownCall => 481,
            Self::Busy => 491,
            Self::BadTarget => 400,
            Self::TooOften | Self::NoRoute => 403,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_status() {
        use TransferError::{BadTarget, Busy, NoRoute, TooOften, UnknownCall};
        let statuses = [UnknownCall, Busy, TooOften, BadTarget, NoRoute].map(TransferError::sip_status);
        assert_eq!(statuses, [481, 491, 403, 400, 403]);
    }
}
