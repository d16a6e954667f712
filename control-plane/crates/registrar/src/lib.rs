//! The registrar and its location service (RFC 3261 §10): who may register, where users are, and where a call to
//! one of them goes.
//!
//! [`Registrar`] is sans-IO: requests come with the time, responses are values, and what has to be kept over a restart
//! comes out as [`Change`]s.
#![forbid(unsafe_code)]

mod asked;
mod binding;
mod calls;
mod change;
mod config;
mod counters;
mod domains;
mod gruu;
mod location;

mod refusal;
mod registrar;
mod reply;
mod target;
mod uri;
mod users;

pub use binding::Binding;
pub use calls::Located;
pub use change::Change;
pub use config::{Calls, Config, PathWithoutSupport};
pub use counters::Counters;
pub use guard::Network as Prefix;
pub use refusal::Refusal;
pub use registrar::Registrar;
pub use target::Target;
pub use uri::is_same_uri;
pub use users::{Secrets, Users};
