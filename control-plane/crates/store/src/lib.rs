//! Call detail records: a journal that a record reaches before the SIP answer that ends the call goes out, and an
//! SQLite database that the journal is drained into.
//!
//! [`open`] replays what an earlier process left, closes its unfinished calls and gives two halves:
//!
//! - [`Journal`]: `append` is one `write(2)`, made by the signalling thread. From its return on the record survives
//!   the death of this process, however it comes. It does not wait for a disk: after a *power* failure the records of
//!   the last moments, those that the drain had not committed, can be missing.
//! - [`Drain`]: a task that moves records into the database in batches (WAL, one transaction a batch, upsert by call)
//!   and gives journal space back only after the commit.
//!
//! Absent from this crate: SIP, media, clocks. Times are arguments.
#![forbid(unsafe_code)]

mod counters;
mod database;
mod drain;
mod error;
mod frame;
mod journal;
mod open;
mod record;
mod segment;

pub use counters::{Counters, Snapshot};
pub use database::Database;
pub use drain::Drain;
pub use error::{AppendError, StoreError};
pub use frame::RECORD_BYTES_MAX;
pub use journal::Journal;
pub use open::{Options, Recovery, Store, open};
pub use record::{CallRecord, LegQuality, Party, ReleasedBy};
