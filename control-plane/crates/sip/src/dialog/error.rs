use thiserror::Error;

use crate::message::HeaderError;

/// Why a message does not fit the dialog, or makes none. All of these are the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DialogError {
    /// A header field that the dialog is made of is missing or cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A request or response that should make a dialog has no Contact, so there is nowhere to send to (§12.1).
    #[error("no Contact")]
    NoContact,
    /// The response has no To tag or is not a 101 to 299, so it makes no dialog.
    #[error("the response makes no dialog")]
    NoDialog,
    /// The request's CSeq is lower than that of an earlier one (§12.2.2).
    #[error("CSeq out of order")]
    OutOfOrder,
    /// More forks answered one INVITE than are allowed.
    #[error("too many forks")]
    TooManyForks,
}

impl DialogError {
    /// The status that answers a request with this fault.
    pub const fn status(self) -> u16 {
        match self {
            Self::Header(_) | Self::NoContact => 400,
            Self::OutOfOrder => 500,
            Self::NoDialog | Self::TooManyForks => 481,
        }
    }
}
