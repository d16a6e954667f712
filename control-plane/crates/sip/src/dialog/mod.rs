//! Dialogs: what two user agents remember of each other between transactions (RFC 3261 §12), the repetition of 2xx
//! responses and their ACKs (§13), and reliable provisional responses (RFC 3262), and
//! session timers (RFC 4028).

mod accept_retransmit;
#[expect(
    clippy::module_inception,
    reason = "the noun of the file is the noun of the folder"
)]
mod dialog;
mod error;
mod id;
mod provisional;
mod route_set;
mod session_timer;
mod set;

pub use accept_retransmit::{AcceptRetransmit, AcceptStep};
pub use dialog::{Dialog, DialogState};
pub use error::DialogError;
pub use id::{DialogId, new_call_id, new_tag};
pub use provisional::{
    ProvisionalError, ProvisionalOrder, ProvisionalStep, RELIABLE, Rack, Received, ReliableProvisionals,
    reliable_rseq,
};
pub use session_timer::{
    MIN_SE_S, Refresher, SessionAgreed, SessionExpires, SessionPolicy, SessionStep, SessionTimer, TIMER,
};
pub use set::{DialogSet, SetChange};
