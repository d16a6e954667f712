//! The back-to-back user agent: a call is two independent dialogs and the media between them (RFC 7092).
//!
//! It is sans-IO. The shell feeds it messages, media answers, media events and the time, and carries out its outputs in
//! their order.
#![forbid(unsafe_code)]

mod cause;
mod cdr;
mod config;
mod media;
mod output;
mod routes;

pub use cause::{Cause, Released, q850_of_status};
pub use cdr::{Cdr, LegQuality, Quality, Stage, Times};
pub use config::{Config, MediaTimeout};
pub use media::{MediaAnswer, MediaError, MediaKind, MediaRequest, MediaRequestId};
pub use output::Output;
pub use routes::{NextHop, Route, Routes};
