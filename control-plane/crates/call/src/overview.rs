use crate::Cdr;

/// How far a call is, for those who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// A media node is asked for ports.
    Reserving,
    /// A next hop has the INVITE, and nobody rings yet.
    Calling,
    /// The caller was told that the callee rings.
    Ringing,
    /// The callee answered; the media node is told.
    Answering,
    /// The caller has the 2xx.
    Answered,
    /// It is over: what is left is to tell the parties and the media node.
    Ended,
}

/// A call at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// How far it is.
    pub progress: Progress,
    /// What its record would say now; its stage means nothing here.
    pub record: Cdr,
}

/// What has changed since the changes were polled last: see [`B2bua::watch`](crate::B2bua::watch).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Changes {
    /// The list begins anew: what was told before counts no more.
    pub restart: bool,
    /// Calls that are new or have changed, as they are now.
    pub changed: Vec<Overview>,
    /// Calls that are gone, as they were at the end. Nothing more will be told of them.
    pub gone: Vec<Overview>,
    /// Every call has been told since the restart.
    pub complete: bool,
}
