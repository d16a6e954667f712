//! The back-to-back user agent: a call is two independent dialogs and the media between them (RFC 7092).
//!
//! [`B2bua`] is sans-IO: the shell feeds it messages, media answers, media events and the time, and carries out what
//! [`B2bua::poll_output`] gives, in that order.
#![forbid(unsafe_code)]

mod b2bua;
mod cause;
mod cdr;
mod config;
mod counters;
mod media;
mod output;
mod overview;
mod peer;
mod routes;
mod srtp;
mod transfer;
mod trunk;

pub use b2bua::B2bua;
pub use cause::{Cause, Released, q850_of_status, status_of_q850};
pub use cdr::{Cdr, LegQuality, Quality, Stage, Times, Transferred};
pub use config::{Config, MediaTimeout};
pub use counters::Counters;
pub use media::{MediaAnswer, MediaError, MediaKind, MediaRequest, MediaRequestId};
pub use output::{Answered, Asked, Lost, Output, Placement};
pub use overview::{Changes, Overview, Progress};
pub use peer::{History, Named, Peer, Redirect};
pub use routes::{Called, Contact, NextHop, Place, Route, Routes};
pub use sdp::sdes::{SrtpPolicy, SrtpSuite};
pub use sip::digest::Login;
pub use srtp::{Dtls, KeysOver, Srtp};
pub use transfer::{Party, TransferError, TransferPolicy, Wanted};
pub use trunk::{Failover, TrunkId, TrunkLimits, TrunkUse};
